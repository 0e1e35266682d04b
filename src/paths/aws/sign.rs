//! Signs a request as AWS asks for it: Signature Version 4, with all of its headers and its whole body.
//!
//! Never sends anything, and never shows a secret key: what comes out holds a signature alone.
//!
//! Source: AWS, "Signature Version 4 for API requests: create a signed AWS API request"; the test's vector is computed
//! by botocore.

use aws_lc_rs::{digest, hmac};
use rollbackd_core::time::Timestamp;
use secrecy::ExposeSecret;

use super::credentials::Credentials;

/// Where a signature counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// Such as `eu-central-1`.
    pub(super) region: &'a str,
    /// The name by which the service signs, such as `ecs`.
    pub(super) service: &'a str,
}

/// A request that changes no more, as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    /// The path of its URL, as it is sent.
    pub(super) path: &'a str,
    /// Its headers, names in lower case and in their order.
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) body: &'a [u8],
}

/// An instant as AWS writes it, `20261129T175645Z`.
pub(super) fn basic_time(at: Timestamp) -> String {
    let seconds: String = at.to_string().chars().take("2026-11-29T17:56:45".len()).collect();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

/// The value of the header `Authorization`. `at` is the instant in the header `x-amz-date`.
pub(super) fn authorization(request: Request<'_>, scope: Scope<'_>, at: &str, credentials: &Credentials) -> String {
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let day = at.get(..8).unwrap_or(at);
    let scoped = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hashed = hash(canonical(request, &names).as_bytes());
    let signature = hex(&sign(&key(day, scope, credentials), &format!("AWS4-HMAC-SHA256\n{at}\n{scoped}\n{hashed}")));
    let key_id = &credentials.key_id;
    format!("AWS4-HMAC-SHA256 Credential={key_id}/{scoped}, SignedHeaders={names}, Signature={signature}")
}

fn canonical(request: Request<'_>, names: &str) -> String {
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let Request { method, path, body, .. } = request;
    format!("{method}\n{path}\n\n{headers}\n{names}\n{}", hash(body))
}

/// The key of one day, region and service.
fn key(day: &str, scope: Scope<'_>, credentials: &Credentials) -> Vec<u8> {
    let secret = format!("AWS4{}", credentials.secret_key.expose_secret()).into_bytes();
    [day, scope.region, scope.service, "aws4_request"].iter().fold(secret, |key, part| sign(&key, part))
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_that_botocore_computes() {
        let credentials = Credentials::fixed("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let headers = [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", "ecs.us-east-1.amazonaws.com".to_owned()),
            ("x-amz-date", "20150830T123600Z".to_owned()),
            ("x-amz-target", "AmazonEC2ContainerServiceV20141113.DescribeServices".to_owned()),
        ];
        let body = br#"{"cluster": "prod", "services": ["shop"]}"#;
        let request = Request { method: "POST", path: "/", headers: &headers, body };
        let scope = Scope { region: "us-east-1", service: "ecs" };
        let signed = authorization(request, scope, "20150830T123600Z", &credentials);
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/ecs/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
            Signature=f2a67dabfaaa4e2e9ac6b83203b94729bc2bb5dec46a4be655264b5d3ee80ee8";
        assert_eq!(signed, expected);
        assert!(!signed.contains("EXAMPLEKEY"));
    }

    #[test]
    fn an_instant_is_written_as_aws_writes_it() {
        let at: Timestamp = "2026-11-29T17:56:45.123Z".parse().unwrap();
        assert_eq!(basic_time(at), "20261129T175645Z");
    }
}
