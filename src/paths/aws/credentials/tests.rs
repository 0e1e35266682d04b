//! Each source of credentials, against a stand-in of it on loopback, by the environment that AWS gives to a program.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;

use super::*;

/// An answer as the metadata services give it, with names of AWS' documentation.
const TEMPORARY: &str = r#"{"Code": "Success", "LastUpdated": "2026-11-29T11:00:00Z", "Type": "AWS-HMAC",
    "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s3cret", "Token": "t0ken", "Expiration": "2126-11-29T17:00:00Z"}"#;

/// As in "Security Token Service API Reference: AssumeRoleWithWebIdentity", "Sample Response".
const ASSUMED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">
    <AssumeRoleWithWebIdentityResult><SubjectFromWebIdentityToken>x</SubjectFromWebIdentityToken><Credentials>
    <SessionToken>t0ken</SessionToken><SecretAccessKey>s3cret</SecretAccessKey><Expiration>2126-11-29T17:00:00Z</Expiration>
    <AccessKeyId>ASIAEXAMPLE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>
    </AssumeRoleWithWebIdentityResponse>";

type Requests = Arc<Mutex<Vec<String>>>;

/// Answers with what the function says of `METHOD PATH HEADERS BODY`; what was asked is noted.
async fn stand_in(answer: fn(&str) -> (u16, &'static str)) -> (String, Requests) {
    let requests = Requests::default();
    let noted = Arc::clone(&requests);
    let respond = move |request: Request| {
        let noted = Arc::clone(&noted);
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 65536).await.unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let asked = format!("{} {} {:?} {body}", parts.method, parts.uri, parts.headers);
            let (status, text) = answer(&asked);
            noted.lock().unwrap().push(asked);
            let response: Response = (StatusCode::from_u16(status).unwrap(), text).into_response();
            response
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(respond)).await });
    (url, requests)
}

/// What is found in an environment with these variables alone.
async fn fetch(chain: &Chain, variables: &[(&str, &str)]) -> Result<Credentials, String> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    chain.fetch("eu-central-1", &environment).await
}

async fn found(variables: &[(&str, &str)]) -> (String, String, Option<String>) {
    parts(&fetch(&Chain::default(), variables).await.unwrap())
}

fn parts(found: &Credentials) -> (String, String, Option<String>) {
    let token = found.token.as_ref().map(|token| token.expose_secret().to_owned());
    (found.key_id.clone(), found.secret_key.expose_secret().to_owned(), token)
}

fn temporary() -> (String, String, Option<String>) {
    ("ASIAEXAMPLE".to_owned(), "s3cret".to_owned(), Some("t0ken".to_owned()))
}

#[tokio::test]
async fn a_file_of_the_config_counts_alone_and_its_profile_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let text = "# ours\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s3cret=1\n[ci]\n\
        AWS_ACCESS_KEY_ID = AKIA2\naws_secret_access_key = s3cret2\naws_session_token = t0ken2\n[sso]\nsso_session = x\n";
    std::fs::write(&file, text).unwrap();
    let chain = |profile: Option<&str>| Chain { file: Some(file.clone()), profile: profile.map(str::to_owned) };
    let environment = [("AWS_ACCESS_KEY_ID", "AKIA3"), ("AWS_SECRET_ACCESS_KEY", "s3cret3")];
    let read = fetch(&chain(None), &environment).await.unwrap();
    assert_eq!(parts(&read), ("AKIA1".to_owned(), "s3cret=1".to_owned(), None));
    let read = fetch(&chain(Some("ci")), &environment).await.unwrap();
    assert_eq!(parts(&read), ("AKIA2".to_owned(), "s3cret2".to_owned(), Some("t0ken2".to_owned())));
    for (profile, expected) in [("sso", "has no static keys"), ("other", "has no section [other]")] {
        let why = fetch(&chain(Some(profile)), &environment).await.unwrap_err();
        assert!(why.contains(expected) && !why.contains("s3cret"), "{why}");
    }
    let shown = format!("{read:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
}

#[tokio::test]
async fn the_environment_comes_before_the_usual_file_and_half_of_a_key_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let text = "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = s3cret1\n";
    std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
    let home = ("HOME", home.path().to_str().unwrap());
    assert_eq!(found(&[home]).await, ("AKIA1".to_owned(), "s3cret1".to_owned(), None));
    let keys = [home, ("AWS_ACCESS_KEY_ID", "AKIA2"), ("AWS_SECRET_ACCESS_KEY", "s3cret2")];
    assert_eq!(found(&keys).await, ("AKIA2".to_owned(), "s3cret2".to_owned(), None));
    let why = fetch(&Chain::default(), &keys[..2]).await.unwrap_err();
    assert!(why.contains("no AWS_SECRET_ACCESS_KEY"), "{why}");
    let why = fetch(&Chain::default(), &[home, ("AWS_PROFILE", "prod")]).await.unwrap_err();
    assert!(why.contains("has no section [prod]"), "{why}");
}

#[tokio::test]
async fn a_container_is_asked_with_its_token_and_only_beside_this_machine() {
    let (url, requests) = stand_in(|_| (200, TEMPORARY)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "pod-t0ken\n").unwrap();
    let full = format!("{url}/v1/credentials");
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", full.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.to_str().unwrap()),
    ];
    assert_eq!(found(&environment).await, temporary());
    let asked = requests.lock().unwrap().join("\n");
    assert!(asked.starts_with("GET /v1/credentials ") && asked.contains("pod-t0ken"), "{asked}");

    let elsewhere = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://198.51.100.7/s3cret")];
    let why = fetch(&Chain::default(), &elsewhere).await.unwrap_err();
    assert!(why.contains("another machine without https") && !why.contains("s3cret"), "{why}");
    for near in ["http://169.254.170.23/v1", "http://[::1]:80/", "http://127.0.0.2/"] {
        assert!(metadata::is_near(&Url::parse(near).unwrap()), "{near}");
    }
}

#[tokio::test]
async fn a_role_is_assumed_with_the_token_of_the_cluster() {
    let (url, requests) = stand_in(|_| (200, ASSUMED)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "web-t0ken\n").unwrap();
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/rollbackd"),
        ("AWS_ENDPOINT_URL_STS", &url),
    ];
    assert_eq!(found(&environment).await, temporary());
    let asked = requests.lock().unwrap().join("\n");
    for expected in ["Action=AssumeRoleWithWebIdentity", "Version=2011-06-15", "RoleSessionName=rollbackd", "web-t0ken"]
    {
        assert!(asked.contains(expected), "{asked}");
    }

    let refusal =
        |_: &str| (403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>");
    let (url, _) = stand_in(refusal).await;
    let environment = [environment[0], environment[1], ("AWS_ENDPOINT_URL_STS", &url)];
    let why = fetch(&Chain::default(), &environment).await.unwrap_err();
    assert!(why.contains("403: no; check the role arn:aws:iam::123456789012:role/rollbackd"), "{why}");
    assert!(!why.contains("web-t0ken"), "{why}");
}

#[tokio::test]
async fn a_machine_is_asked_by_version_2_of_its_metadata_service() {
    let answer = |asked: &str| match asked {
        asked if asked.starts_with("PUT /latest/api/token ") => (200, "meta-t0ken"),
        asked if !asked.contains("meta-t0ken") => (401, ""),
        asked if asked.starts_with("GET /latest/meta-data/iam/security-credentials/ ") => (200, "app-role"),
        asked if asked.starts_with("GET /latest/meta-data/iam/security-credentials/app-role ") => (200, TEMPORARY),
        _ => (404, ""),
    };
    let (url, requests) = stand_in(answer).await;
    assert_eq!(found(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).await, temporary());
    assert!(requests.lock().unwrap()[0].contains("\"x-aws-ec2-metadata-token-ttl-seconds\": \"60\""));

    let (url, _) = stand_in(|_| (404, "")).await;
    let why = fetch(&Chain::default(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url)]).await.unwrap_err();
    assert!(why.starts_with("no AWS credentials: no `credentials_file`") && why.contains("404"), "{why}");
    let why = fetch(&Chain::default(), &[("AWS_EC2_METADATA_DISABLED", "true")]).await.unwrap_err();
    assert!(why.contains("AWS_EC2_METADATA_DISABLED is set"), "{why}");
}

#[test]
fn temporary_credentials_are_replaced_before_they_end() {
    let end: Timestamp = "2026-11-29T17:00:00Z".parse().unwrap();
    let credentials = Credentials { expires_at: Some(end), ..Credentials::fixed("AKIA", "s3cret") };
    assert!(credentials.last(end - Duration::from_secs(121)));
    assert!(!credentials.last(end - Duration::from_secs(120)));
    assert!(Credentials::fixed("AKIA", "s3cret").last(end));
}
