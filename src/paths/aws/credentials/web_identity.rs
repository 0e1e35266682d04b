//! Temporary credentials for a token that a cluster gave to a program (EKS: IAM roles for service accounts), from STS.
//!
//! Never sends the token anywhere but to STS.
//!
//! Source: AWS, "Security Token Service API Reference: AssumeRoleWithWebIdentity".

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::ExposeSecret;

use super::{Credentials, Environment, Temporary, address, said};
use crate::http_client::{self, HttpSettings};
use crate::paths::remote::api::{Api, NoAnswer};

/// How long the request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The version of STS' API.
const VERSION: &str = "2011-06-15";

/// What the session is called where the environment does not say.
const SESSION_NAME: &str = "rollbackd";

/// A role, and the file with the token that may assume it.
pub(super) struct Role {
    arn: String,
    token_file: PathBuf,
    session_name: String,
    sts: Url,
}

impl Role {
    /// The role that the environment names, if it names one.
    pub(super) fn of(environment: Environment<'_>, region: &str) -> Result<Option<Self>, String> {
        let Some(token_file) = environment("AWS_WEB_IDENTITY_TOKEN_FILE") else { return Ok(None) };
        let Some(arn) = environment("AWS_ROLE_ARN") else {
            return Err("the environment has AWS_WEB_IDENTITY_TOKEN_FILE and no AWS_ROLE_ARN".to_owned());
        };
        let sts = match environment("AWS_ENDPOINT_URL_STS") {
            Some(text) => address("AWS_ENDPOINT_URL_STS", &text)?,
            None => address("the region", &crate::paths::aws::public_url("sts", region))?,
        };
        let session_name = environment("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION_NAME.to_owned());
        Ok(Some(Self { arn, token_file: token_file.into(), session_name, sts }))
    }

    /// Asks STS for credentials of the role.
    pub(super) async fn assume(&self) -> Result<Credentials, String> {
        let token = http_client::secret("web identity token file", &self.token_file).await;
        let token = token.map_err(|error| said(&error))?;
        let api = Api::new("AWS STS", &HttpSettings::with_timeout(TIMEOUT))?;
        let request = api.client().post(self.sts.clone()).form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", VERSION),
            ("RoleArn", &self.arn),
            ("RoleSessionName", &self.session_name),
            ("WebIdentityToken", token.expose_secret()),
        ]);
        let answer = api.send(request).await.map_err(NoAnswer::why)?;
        let text = answer.text();
        if !answer.status.is_success() {
            let why = element(&text, "Message").map(http_client::one_line).unwrap_or_default();
            return Err(format!("{}: {why}; check the role {} and its trust policy", answer.complaint(), self.arn));
        }
        temporary(&text).map(Credentials::from).ok_or_else(|| "the answer of AWS STS has no credentials".to_owned())
    }
}

/// The credentials in an answer. None of their characters is ever escaped in XML.
fn temporary(text: &str) -> Option<Temporary> {
    let credentials = element(text, "Credentials")?;
    let part = |name: &str| element(credentials, name).map(|found| found.trim().to_owned());
    Some(Temporary {
        access_key_id: part("AccessKeyId")?,
        secret_access_key: part("SecretAccessKey")?,
        token: part("SessionToken")?,
        expiration: part("Expiration")?.parse().ok()?,
    })
}

/// What stands in the first element of this name.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    after.split_once(&format!("</{name}>")).map(|(inside, _)| inside)
}
