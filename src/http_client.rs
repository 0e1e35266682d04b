//! HTTP as a client: settings from the config, the one way to build a client, credentials, and bodies that end.
//!
//! Never keeps a secret: the settings hold the names of files, which are read at each request, so that a rotated
//! secret counts at once. Never follows a redirect, so no secret goes where the config did not send it.

mod endpoint;
mod settings;
mod tls;
mod to;

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Identity, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;

pub use endpoint::Endpoint;
pub use settings::{BasicAuth, HttpSettings, Tls, timeout};
pub use tls::connector;
pub use to::To;

/// A server that does not even accept a connection in this time is as good as down; the rest of a request's timeout
/// is for answering.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Longer than any token or password in use; a file that is longer is the wrong file.
const SECRET_LIMIT_BYTES: u64 = 64 * 1024;

/// A local file answers in milliseconds; a pipe or a dead network mount must not hold a page back for ever.
const SECRET_TIMEOUT: Duration = Duration::from_secs(2);

/// What stands for the name of a file in errors where the PEM came without one.
const INLINE: &str = "(inline)";

/// As much of a remote's text as fits on a line of a log.
const LINE_LIMIT: usize = 300;

/// What could not be done over HTTP. Holds no secret, and of a URL no more than the server's name.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the settings can't be read.
    #[error("could not read the {what} {}: {source}", file.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// Its name.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the settings holds something else.
    #[error("the {what} {} can't be used: expected {expected}", file.display())]
    Contents {
        /// What the file is for.
        what: &'static str,
        /// Its name.
        file: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// A text that is no usable URL; the text is not repeated, since it may hold a secret.
    #[error("{0}")]
    Url(String),
    /// The client could not be made of its settings.
    #[error("could not build an HTTP client: {0}")]
    Build(String),
    /// TLS could not be set up as the settings ask for.
    #[error("could not set up TLS: {0}")]
    Tls(String),
    /// The request got no answer.
    #[error("{0}")]
    Transport(String),
    /// The answer's body is longer than what is read.
    #[error("the answer is longer than {limit_bytes} bytes, which is all that is read")]
    TooLong {
        /// As much as would have been read.
        limit_bytes: usize,
    },
}

/// Makes aws-lc-rs the process' provider of cryptography. Call it first thing in `main`; calling it again does nothing.
pub fn install_crypto() {
    // An error says that one is installed already, which is what is wanted.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// Certificates and a key that are at hand already, as PEM, in place of the settings' files. Not `Debug`: a key is a
/// secret.
#[derive(Default)]
pub(crate) struct Pem {
    /// The only CAs to trust.
    pub(crate) roots: Option<Vec<u8>>,
    /// Our certificate and its private key.
    pub(crate) identity: Option<SecretString>,
}

/// Builds a client, this way or by [`build_without_proxy`] and by no other: it also works on a machine without a single CA file, where
/// `reqwest::Client::new()` would panic. Certificate files are read here and not again until the next build.
///
/// # Errors
/// A certificate or key file can't be read or holds something else.
pub fn build(settings: &HttpSettings) -> Result<Client, Error> {
    prepare(settings, &Pem::default())?.build().map_err(|error| Error::Build(explain(&error)))
}

/// The same, but past any proxy of the environment: for a server beside this machine that answers with secrets, such as
/// a cloud's metadata server.
///
/// # Errors
/// As [`build`].
pub fn build_without_proxy(settings: &HttpSettings) -> Result<Client, Error> {
    prepare(settings, &Pem::default())?.no_proxy().build().map_err(|error| Error::Build(explain(&error)))
}

/// Builds a client, with these certificates.
///
/// # Errors
/// As [`build`], and where the PEM holds something else.
pub(crate) fn build_with(settings: &HttpSettings, pem: &Pem) -> Result<Client, Error> {
    // One request after the other is made with it: a second idle connection would be an older one.
    prepare(settings, pem)?.pool_max_idle_per_host(1).build().map_err(|error| Error::Build(explain(&error)))
}

fn prepare(settings: &HttpSettings, pem: &Pem) -> Result<ClientBuilder, Error> {
    install_crypto();
    let mut builder = Client::builder()
        .user_agent(concat!("rollbackd/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .timeout(settings.timeout)
        .connect_timeout(settings.timeout.min(CONNECT_TIMEOUT));
    builder = match (&pem.roots, &settings.tls.ca_file) {
        (Some(pem), _) => builder.tls_certs_only(certificates(pem, Path::new(INLINE))?),
        (None, Some(file)) => builder.tls_certs_only(certificates(&read_pem("CA file", file)?, file)?),
        (None, None) => builder.tls_certs_merge(public_roots()?),
    };
    if let Some(pem) = &pem.identity {
        builder = builder.identity(identity(pem.expose_secret().as_bytes(), Path::new(INLINE))?);
    } else if let (Some(cert_file), Some(key_file)) = (&settings.tls.cert_file, &settings.tls.key_file) {
        let mut pem = read_pem("certificate file", cert_file)?;
        pem.push(b'\n');
        pem.extend(read_pem("key file", key_file)?);
        builder = builder.identity(identity(&pem, key_file)?);
    }
    if settings.tls.insecure_skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

fn public_roots() -> Result<Vec<Certificate>, Error> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let roots: Result<Vec<_>, _> = roots.map(|root| Certificate::from_der(root)).collect();
    roots.map_err(|error| Error::Build(explain(&error)))
}

fn certificates(pem: &[u8], file: &Path) -> Result<Vec<Certificate>, Error> {
    let found = Certificate::from_pem_bundle(pem).unwrap_or_default();
    if found.is_empty() {
        let expected = "certificates as PEM";
        return Err(Error::Contents { what: "CA file", file: file.to_owned(), expected });
    }
    Ok(found)
}

fn identity(pem: &[u8], file: &Path) -> Result<Identity, Error> {
    let expected = "a private key as PEM, and its certificate in the certificate file";
    Identity::from_pem(pem).map_err(|_| Error::Contents { what: "key file", file: file.to_owned(), expected })
}

fn read_pem(what: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|source| Error::File { what, file: file.to_owned(), source })
}

/// Puts the settings' headers and credentials on a request. Reads the secret files now.
///
/// # Errors
/// A secret file can't be read, or holds nothing that fits into a header.
pub async fn authorize(settings: &HttpSettings, mut request: RequestBuilder) -> Result<RequestBuilder, Error> {
    request = request.headers(plain_headers(settings));
    if let Some(file) = &settings.bearer_token_file {
        let what = "bearer token file";
        let token = secret(what, file).await?;
        let expected = "a token on one line";
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
        let mut value = value.map_err(|_| Error::Contents { what, file: file.clone(), expected })?;
        value.set_sensitive(true);
        return Ok(request.header(reqwest::header::AUTHORIZATION, value));
    }
    if let Some(basic) = &settings.basic_auth {
        let password = secret("password file", &basic.password_file).await?;
        return Ok(request.basic_auth(&basic.username, Some(password.expose_secret())));
    }
    Ok(request)
}

/// Sensitive all of them: which of them is an API key only their writer knows.
fn plain_headers(settings: &HttpSettings) -> HeaderMap {
    let checked = settings.headers.iter().filter_map(|(name, value)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    });
    checked.collect()
}

/// The secret in a file, without white space around it. `what` names the file in errors ("token file").
///
/// # Errors
/// The file can't be read within 2 s, is empty, is no UTF-8 or is longer than any secret.
pub async fn secret(what: &'static str, file: &Path) -> Result<SecretString, Error> {
    let unreadable = |source| Error::File { what, file: file.to_owned(), source };
    let unusable = |expected| Error::Contents { what, file: file.to_owned(), expected };
    let read = async {
        let mut bytes = Vec::new();
        tokio::fs::File::open(file).await?.take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    let read = tokio::time::timeout(SECRET_TIMEOUT, read).await;
    let bytes = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(unreadable)?;
    if bytes.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(unusable("at most 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("UTF-8"))?.trim();
    if text.is_empty() {
        return Err(unusable("a secret, not an empty file"));
    }
    Ok(SecretString::from(text))
}

/// The whole body of an answer, if it is not longer than `limit_bytes` (after decompression, so no bomb goes off).
///
/// # Errors
/// It is longer, or it broke off.
pub async fn body_within(mut response: Response, limit_bytes: usize) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Error::Transport(explain(&error)))? {
        if chunk.len() > limit_bytes.saturating_sub(body.len()) {
            return Err(Error::TooLong { limit_bytes });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What went wrong with a request, on one line and without its URL.
#[must_use]
pub fn explain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let what = if error.is_connect() {
        "could not connect"
    } else if error.is_builder() {
        "the request could not be made"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the request failed"
    };
    // From the first source on: reqwest's own text has the URL in it.
    let sources = std::iter::successors(error.source(), |error| (*error).source());
    let last = sources.last().map(|last| format!(": {last}")).unwrap_or_default();
    one_line(&format!("{what}{last}"))
}

/// The beginning of a text that a remote wrote, fit for one line of a log: no line breaks, no control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let printable = text.trim().chars().map(|each| if each.is_control() { ' ' } else { each });
    let mut line: String = printable.take(LINE_LIMIT).collect();
    if text.trim().chars().nth(LINE_LIMIT).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
