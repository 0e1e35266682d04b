//! Settings out of a config's tree, credentials on a request, and texts that show nothing they should not.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rollbackd_core::config::node::{Fields, Node, Place, Problems, Value};

use super::*;

fn scalar(text: &str) -> Node {
    Node { place: Place::default(), value: Value::Scalar { text: text.to_owned(), quoted: false } }
}

fn map(entries: Vec<(&str, Node)>) -> Node {
    let entries = entries.into_iter().map(|(key, node)| (scalar(key), node)).collect();
    Node { place: Place::default(), value: Value::Map(entries) }
}

fn decode(entries: Vec<(&str, Node)>) -> (HttpSettings, Vec<String>) {
    let (node, mut problems) = (map(entries), Problems::default());
    let mut fields = Fields::of(&node, "`prometheus`", &mut problems).unwrap();
    let settings = HttpSettings::decode(&mut fields, &mut problems, Duration::from_secs(5));
    fields.finish(&mut problems);
    (settings, problems.0.into_iter().map(|problem| problem.message).collect())
}

#[test]
fn all_keys_are_read_and_none_is_needed() {
    assert_eq!(decode(vec![]), (HttpSettings::with_timeout(Duration::from_secs(5)), vec![]));
    let basic = map(vec![("username", scalar("u")), ("password_file", scalar("/p"))]);
    let tls = map(vec![("ca_file", scalar("/ca")), ("insecure_skip_verify", scalar("true"))]);
    let headers = map(vec![("X-Scope-OrgID", scalar("team"))]);
    let (settings, problems) =
        decode(vec![("timeout", scalar("2s")), ("basic_auth", basic), ("tls", tls), ("headers", headers)]);
    let expected = HttpSettings {
        timeout: Duration::from_secs(2),
        bearer_token_file: None,
        basic_auth: Some(BasicAuth { username: "u".to_owned(), password_file: "/p".into() }),
        tls: Tls { ca_file: Some("/ca".into()), cert_file: None, key_file: None, insecure_skip_verify: true },
        headers: BTreeMap::from([("X-Scope-OrgID".to_owned(), "team".to_owned())]),
    };
    assert_eq!((settings, problems), (expected, vec![]));
}

#[test]
fn mistakes_in_settings_are_named() {
    let basic = || map(vec![("username", scalar("u")), ("password_file", scalar("/p"))]);
    let table = [
        (vec![("timeout", scalar("0s"))], "longer than 0s"),
        (vec![("bearer_token_file", scalar("/t")), ("basic_auth", basic())], "not both"),
        (vec![("basic_auth", map(vec![("username", scalar("u"))]))], "no `password_file`"),
        (vec![("tls", map(vec![("cert_file", scalar("/c"))]))], "together, or neither"),
        (vec![("tls", map(vec![("ca", scalar("/c"))]))], "unknown key `ca`"),
        (vec![("headers", map(vec![("Authorization", scalar("Bearer x"))]))], "can't be set here"),
        (vec![("headers", map(vec![("a b", scalar("x"))]))], "no name of a header"),
        (vec![("headers", map(vec![("X-A", scalar("x\ny"))]))], "no header may have"),
    ];
    for (entries, expected) in table {
        let (_, problems) = decode(entries);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?} should say {expected:?}");
        assert!(!problems.iter().any(|problem| problem.contains("Bearer x")), "{problems:?}");
    }
}

#[test]
fn an_endpoint_shows_no_more_than_its_server() {
    let endpoint = Endpoint::parse("https://hooks.example/T1/s3cret?key=s3cret").unwrap();
    assert_eq!(endpoint.to_string(), "https://hooks.example");
    assert_eq!(format!("{endpoint:?}"), "Endpoint(https://hooks.example)");
    assert_eq!(endpoint.url().path(), "/T1/s3cret");
}

#[test]
fn an_endpoint_keeps_its_prefix_and_its_query() {
    let under = |text: &str| Endpoint::parse(text).unwrap().under(&["api", "v1"]).to_string();
    assert_eq!(under("http://h:9090"), "http://h:9090/api/v1");
    assert_eq!(under("http://h/prom/"), "http://h/prom/api/v1");
    assert_eq!(under("http://h/prom?tenant=1"), "http://h/prom/api/v1?tenant=1");
}

#[test]
fn unusable_urls_are_refused_without_being_repeated() {
    for text in ["s3cret", "ftp://h/s3cret", "http://u:s3cret@h/", "http://s3cret@h/", "http://h/#s3cret", ""] {
        let error = Endpoint::parse(text).unwrap_err().to_string();
        assert!(error.starts_with("expected a URL such as") && !error.contains("s3cret"), "{error}");
    }
}

async fn authorized(settings: &HttpSettings) -> Result<reqwest::Request, Error> {
    let request = build(settings).unwrap().get("http://127.0.0.1/");
    Ok(authorize(settings, request).await?.build().unwrap())
}

#[tokio::test]
async fn secrets_are_read_at_each_request_and_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut settings = HttpSettings::with_timeout(Duration::from_secs(1));
    settings.bearer_token_file = Some(file.clone());
    settings.headers.insert("X-Key".to_owned(), "s3cret".to_owned());
    for token in ["first", "second"] {
        fs::write(&file, format!(" {token}\n")).unwrap();
        let request = authorized(&settings).await.unwrap();
        assert_eq!(request.headers()["authorization"], format!("Bearer {token}"));
        let shown = format!("{settings:?} {request:?}");
        assert!(!shown.contains(token) && !shown.contains("s3cret"), "{shown}");
    }
    settings.bearer_token_file = None;
    settings.basic_auth = Some(BasicAuth { username: "Aladdin".to_owned(), password_file: file.clone() });
    fs::write(&file, "open sesame\n").unwrap();
    let request = authorized(&settings).await.unwrap();
    // The example of RFC 7617, section 2.
    assert_eq!(request.headers()["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(request.headers()["authorization"].is_sensitive());
}

#[tokio::test]
async fn an_unusable_secret_file_is_named_and_its_contents_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut settings = HttpSettings::with_timeout(Duration::from_secs(1));
    settings.bearer_token_file = Some(file.clone());
    let missing = authorized(&settings).await.unwrap_err().to_string();
    assert!(missing.contains("could not read the bearer token file") && missing.contains("token"), "{missing}");
    let long = "s3cret".repeat(20_000);
    for contents in ["", " \n", "s3cret\ns3cret", "s3cr\u{7f}et", &long] {
        fs::write(&file, contents).unwrap();
        let error = authorized(&settings).await.unwrap_err().to_string();
        assert!(error.contains("can't be used: expected") && !error.contains("s3cr"), "{error}");
    }
}

#[test]
fn a_certificate_file_that_holds_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, "s3cret").unwrap();
    let with = |tls: Tls| {
        let settings = HttpSettings { tls, ..HttpSettings::with_timeout(Duration::from_secs(1)) };
        build(&settings).unwrap_err().to_string()
    };
    let file: Option<PathBuf> = Some(file);
    let ca = with(Tls { ca_file: file.clone(), ..Tls::default() });
    let key = with(Tls { cert_file: file.clone(), key_file: file, ..Tls::default() });
    let missing = with(Tls { ca_file: Some(dir.path().join("missing")), ..Tls::default() });
    assert!(ca.contains("CA file") && ca.contains("expected certificates as PEM"), "{ca}");
    assert!(key.contains("key file") && !key.contains("s3cret"), "{key}");
    assert!(missing.contains("could not read the CA file"), "{missing}");
}

#[test]
fn what_a_remote_wrote_fits_on_one_line() {
    assert_eq!(one_line(" a\r\nb\u{1b}[31m "), "a  b [31m");
    assert_eq!(one_line(&"é".repeat(1000)).chars().count(), 301);
}
