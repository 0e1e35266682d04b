//! Temporary credentials from AWS' own services beside a program: of its container (ECS, EKS Pod Identity), or of its
//! machine (EC2, by version 2 of the metadata service).
//!
//! Never asks version 1 of the metadata service, goes through no proxy, and asks no server elsewhere without TLS.
//!
//! Source: AWS, "Container credential provider" and "Use the Instance Metadata Service to access instance metadata".

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::{Credentials, Environment, Temporary, address, said};
use crate::http_client::HttpSettings;
use crate::http_client::{self, one_line};
use crate::paths::remote::api::{Answer, Api, NoAnswer};

/// How long one request may take: these services are on the same machine.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The agent of ECS, to which a relative address is relative.
const CONTAINER_AGENT: &str = "http://169.254.170.2";

/// What may be asked without TLS beside this machine's own addresses: the agents of ECS and of EKS Pod Identity.
const AGENTS: &[&str] = &["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// The metadata service of a machine.
const INSTANCE: &str = "http://169.254.169.254";

/// Its token is used at once.
const TOKEN_SECONDS: &str = "60";

/// Those of the container this runs in; `None` where it runs in none.
pub(super) async fn of_container(environment: Environment<'_>) -> Result<Option<Credentials>, String> {
    let relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{CONTAINER_AGENT}{path}"));
    let Some(text) = relative.or_else(|| environment("AWS_CONTAINER_CREDENTIALS_FULL_URI")) else { return Ok(None) };
    let url = address("AWS_CONTAINER_CREDENTIALS_FULL_URI", &text)?;
    if url.scheme() == "http" && !is_near(&url) {
        return Err("AWS_CONTAINER_CREDENTIALS_FULL_URI names another machine without https".to_owned());
    }
    let api = Api::beside("the container's credentials endpoint", &HttpSettings::with_timeout(TIMEOUT))?;
    let mut request = api.client().get(url);
    if let Some(token) = container_token(environment).await? {
        request = request.header(reqwest::header::AUTHORIZATION, sensitive(&token)?);
    }
    let given: Temporary = ask(&api, request).await?;
    Ok(Some(given.into()))
}

/// Whether a URL names this machine or one of AWS' agents beside it.
pub(super) fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    loopback || AGENTS.contains(&host)
}

async fn container_token(environment: Environment<'_>) -> Result<Option<SecretString>, String> {
    match environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => {
            let token = http_client::secret("container authorization token file", Path::new(&file)).await;
            token.map(Some).map_err(|error| said(&error))
        }
        None => Ok(environment("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(SecretString::from)),
    }
}

/// Those of the machine this runs on, where its profile gives it a role.
pub(super) async fn of_instance(environment: Environment<'_>) -> Result<Credentials, String> {
    let nowhere = "no AWS credentials: no `credentials_file`, none in the environment or in ~/.aws/credentials, no \
        container's and";
    if environment("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(format!("{nowhere} AWS_EC2_METADATA_DISABLED is set"));
    }
    let named = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    let base = address("AWS_EC2_METADATA_SERVICE_ENDPOINT", named.as_deref().unwrap_or(INSTANCE))?;
    let found = of_metadata_service(&base).await;
    found.map_err(|why| format!("{nowhere} none of this machine's metadata service ({why})"))
}

async fn of_metadata_service(base: &Url) -> Result<Credentials, String> {
    let api = Api::beside("the metadata service", &HttpSettings::with_timeout(TIMEOUT))?;
    let url = |path: &str| base.join(path).map_err(|error| error.to_string());
    let request = api.client().put(url("/latest/api/token")?);
    let token = text(&api, request.header("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)).await?;
    let token = sensitive(&SecretString::from(token))?;
    let get = |url: Url| api.client().get(url).header("x-aws-ec2-metadata-token", token.clone());
    let roles = url("/latest/meta-data/iam/security-credentials/")?;
    let named = text(&api, get(roles.clone())).await?;
    let role = named.lines().next().unwrap_or_default().trim();
    if role.is_empty() || !role.chars().all(|each| each.is_ascii_alphanumeric() || "+=,.@_-".contains(each)) {
        return Err(format!("it names no role: {:?}", one_line(role)));
    }
    let given: Temporary = ask(&api, get(roles.join(role).map_err(|error| error.to_string())?)).await?;
    Ok(given.into())
}

fn sensitive(token: &SecretString) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(token.expose_secret());
    let mut value = value.map_err(|_| "the token has characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn answer(api: &Api, request: RequestBuilder) -> Result<Answer, String> {
    let answer = api.send(request).await.map_err(NoAnswer::why)?;
    if answer.status.is_success() { Ok(answer) } else { Err(answer.complaint()) }
}

async fn text(api: &Api, request: RequestBuilder) -> Result<String, String> {
    Ok(answer(api, request).await?.text())
}

async fn ask<T: DeserializeOwned>(api: &Api, request: RequestBuilder) -> Result<T, String> {
    answer(api, request).await?.json()
}
