//! Where the token comes from that Google's API is asked with.
//!
//! Never asks for one by a proxy of the environment at the metadata server, never sends a key or what it signed anywhere
//! but to the key file's own `token_uri`, and never shows a token.
//!
//! Source: Google, "Authenticate workloads by the metadata server" (`computeMetadata/v1`), "Using OAuth 2.0 for server to
//! server applications" (the assertion and its exchange; RFC 7523).

use std::path::{Path, PathBuf};
use std::time::Duration;

use rollbackd_core::config::node::{self, Fields, Problems};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::clock::now;
use crate::http_client::{self, Endpoint, HttpSettings};
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::short_lived::ShortLived;
use crate::paths::remote::signed;

/// Google's name for the server beside each of its machines, and beside each pod with a workload identity.
const METADATA_URL: &str = "http://metadata.google.internal";

/// What a token is asked for; what it may do is said by the roles of its account.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// By what name a token is kept for the attempt after a pre-flight.
const TOKEN: &str = "Google Cloud's token";

/// What is asked for with a signed assertion (RFC 7523, 2.1).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How long an assertion is valid: it is exchanged at once.
const ASSERTION_LASTS: Duration = Duration::from_secs(600);

/// Who vouches for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The machine, or the pod's workload identity: a server beside it gives the token.
    Metadata(Endpoint),
    /// A service account, whose key is in this file.
    Key(PathBuf),
    /// Somebody else, who keeps a token in the file that the settings name.
    TokenFile,
}

/// The part of a service account's key file that is used.
#[derive(Deserialize)]
struct Key {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key: SecretString,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

/// A token, as both servers give it.
#[derive(Deserialize)]
struct Issued {
    access_token: SecretString,
    /// In seconds.
    expires_in: u64,
}

/// One attempt's token, asked for when it is needed.
pub(super) struct Tokens<'a> {
    access: &'a Access,
    /// Whom to ask for it; `None` where it is in a file.
    issuer: Option<Api>,
    kept: Option<ShortLived>,
    ready: &'a Ready,
}

impl Access {
    /// Reads `key_file` and `metadata_url`; `http` has `bearer_token_file`.
    pub(super) fn decode(fields: &mut Fields<'_>, http: &HttpSettings, problems: &mut Problems) -> Option<Self> {
        let key_file = fields.optional("key_file");
        let metadata = fields.optional("metadata_url");
        match (http.bearer_token_file.is_some(), key_file, metadata) {
            (true, None, None) => Some(Self::TokenFile),
            (false, Some(at), None) => node::text(at, problems).map(|file| Self::Key(PathBuf::from(file))),
            (false, None, Some(at)) => Endpoint::decode(at, problems).map(Self::Metadata),
            (false, None, None) => Endpoint::parse(METADATA_URL).ok().map(Self::Metadata),
            (true, Some(at), _) | (true, None, Some(at)) | (false, Some(_), Some(at)) => {
                let message = "expected one of `key_file`, `bearer_token_file` and `metadata_url`";
                problems.error(at.place, message);
                None
            }
        }
    }
}

impl<'a> Tokens<'a> {
    /// Gets ready; nothing is asked for yet. `http` is how the API is reached.
    pub(super) fn new(access: &'a Access, http: &HttpSettings, ready: &'a Ready) -> Result<Self, String> {
        let mut settings = HttpSettings::with_timeout(http.timeout);
        let issuer = match access {
            Access::Metadata(_) => Some(Api::beside("the metadata server", &settings)?),
            Access::Key(_) => {
                settings.tls = http.tls.clone();
                Some(Api::new("Google's token server", &settings)?)
            }
            Access::TokenFile => None,
        };
        Ok(Self { access, issuer, kept: ready.get(TOKEN), ready })
    }

    /// The token for a request that is sent now; `None` where the settings have it.
    pub(super) async fn token(&mut self) -> Result<Option<SecretString>, NoAnswer> {
        let Some(issuer) = &self.issuer else { return Ok(None) };
        if let Some(token) = self.kept.as_ref().and_then(|kept| kept.at(now())) {
            return Ok(Some(token.clone()));
        }
        let asked_at = now();
        let issued = match self.access {
            Access::Metadata(url) => of_this_machine(issuer, url).await?,
            Access::Key(file) => of_a_key(issuer, file).await?,
            Access::TokenFile => return Ok(None),
        };
        let until = asked_at + Duration::from_secs(issued.expires_in.min(24 * 3600));
        let kept = ShortLived::new(issued.access_token.clone(), until);
        self.ready.keep(TOKEN, &kept);
        self.kept = Some(kept);
        Ok(Some(issued.access_token))
    }
}

async fn of_this_machine(issuer: &Api, url: &Endpoint) -> Result<Issued, NoAnswer> {
    let url = url.under(&["computeMetadata", "v1", "instance", "service-accounts", "default", "token"]);
    let request = issuer.client().get(url).header("metadata-flavor", "Google");
    issued(issuer.send(request).await, "that this machine or pod has a service account, or set `key_file`")
}

async fn of_a_key(issuer: &Api, file: &Path) -> Result<Issued, NoAnswer> {
    let key = read(file).await.map_err(NoAnswer::NoSecret)?;
    let unusable = |why: &str| NoAnswer::NoSecret(format!("the key file {} can't be used: {why}", file.display()));
    let url = Endpoint::parse(&key.token_uri).map_err(|_| unusable("its token_uri is no URL"))?;
    if !url.is_private() {
        return Err(unusable("its token_uri is not https"));
    }
    let issued_at = now().milliseconds() / 1000;
    let claims = json!({
        "iss": key.client_email, "scope": SCOPE, "aud": key.token_uri, "iat": issued_at,
        "exp": issued_at + i64::try_from(ASSERTION_LASTS.as_secs()).unwrap_or_default(),
    });
    let assertion = signed::sign(&key.private_key, key.private_key_id.as_deref(), &claims).map_err(unusable)?;
    let form = [("grant_type", GRANT), ("assertion", assertion.expose_secret())];
    let check = format!("that the key in {} was not deleted, and this machine's clock", file.display());
    issued(issuer.send(issuer.client().post(url.url().clone()).form(&form)).await, &check)
}

async fn read(file: &Path) -> Result<Key, String> {
    let text = http_client::secret("key file", file).await.map_err(|error| error.to_string())?;
    // The parser's own words could repeat what stands in the file.
    let key = serde_json::from_str(text.expose_secret()).ok().filter(|key: &Key| key.kind == "service_account");
    key.ok_or_else(|| {
        let expected = "expected the JSON of a service account's key, with client_email, private_key and token_uri";
        format!("the key file {} can't be used: {expected}", file.display())
    })
}

/// Whatever goes wrong here, nothing was changed; what passes by itself may be tried again.
fn issued(answer: Result<Answer, NoAnswer>, check: &str) -> Result<Issued, NoAnswer> {
    let answer = answer.map_err(|no_answer| NoAnswer::NotSent(format!("there is no token: {}", no_answer.why())))?;
    if answer.status.is_success() {
        return answer.json().map_err(|_| NoAnswer::NotSent("the answer with the token is not as expected".to_owned()));
    }
    let why = format!("there is no token: {}", answer.complaint());
    if let Some(wait) = answer.wait(now()) {
        return Err(NoAnswer::Limited(wait, why));
    }
    let passes = answer.status.is_server_error() || answer.status.as_u16() == 408;
    Err(if passes { NoAnswer::NotSent(why) } else { NoAnswer::NoSecret(format!("{why}; check {check}")) })
}
