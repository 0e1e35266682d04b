//! Where an API server is and as whom it is asked: a URL, a kubeconfig file, or the service account of our own pod.
//!
//! Never keeps a token that a file holds: such files are read at each request, since Kubernetes replaces them hourly.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Access, kubeconfig};
use crate::http_client::{Endpoint, HttpSettings, Pem};

/// Where Kubernetes puts a pod's service account (Kubernetes, "Accessing the Kubernetes API from a Pod").
const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A way to an API server.
pub(crate) struct Way {
    pub(crate) server: Endpoint,
    pub(crate) http: HttpSettings,
    pub(crate) pem: Pem,
    /// A token that stands in the kubeconfig itself.
    pub(crate) token: Option<SecretString>,
    /// Whose credentials these are, for sentences.
    pub(crate) whose: String,
}

impl Way {
    /// A request for what lies at these segments, with the token that stands in the kubeconfig itself. The settings'
    /// credentials are put on where it is sent.
    pub(crate) fn request(&self, client: &Client, method: Method, segments: &[&str]) -> RequestBuilder {
        let request = client.request(method, self.server.under(segments));
        let token = self.token.as_ref().map(|token| HeaderValue::try_from(format!("Bearer {}", token.expose_secret())));
        match token {
            Some(Ok(mut value)) => {
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            // One that fits into no header is no token: the server says so.
            Some(Err(_)) | None => request,
        }
    }

    /// What somebody should look at when a request about an object was refused. `verb` and `resource` are as in an RBAC
    /// rule; `object` is its kind, its namespace and its name.
    pub(crate) fn check(
        &self,
        status: StatusCode,
        (verb, resource): (&str, &str),
        object: (&str, &str, &str),
    ) -> String {
        let ((kind, namespace, name), whose) = (object, &self.whose);
        match status {
            StatusCode::UNAUTHORIZED => format!("that the credentials {whose} are valid and have not expired"),
            StatusCode::FORBIDDEN => {
                format!("that the credentials {whose} may {verb} {resource} in namespace {namespace}")
            }
            StatusCode::NOT_FOUND => format!("that the {kind} {namespace}/{name} exists in this cluster"),
            _ => format!("the {kind} {namespace}/{name}"),
        }
    }
}

/// The way that the config says, as its files say it now.
pub(crate) fn way(access: &Access, http: &HttpSettings) -> Result<Way, String> {
    match access {
        Access::Url(server) => {
            let file = http.bearer_token_file.as_deref();
            let whose = file.map_or("of the config".to_owned(), |file| format!("in {}", file.display()));
            let http = http.clone();
            Ok(Way { server: server.clone(), http, pem: Pem::default(), token: None, whose })
        }
        Access::Kubeconfig { file, context } => kubeconfig::read(file, context.as_deref(), http),
        Access::InCluster => {
            let variable = |name| std::env::var(name).ok();
            let server = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
            in_cluster(server, Path::new(SERVICE_ACCOUNT_DIR), http)
        }
    }
}

fn in_cluster(server: (Option<String>, Option<String>), dir: &Path, http: &HttpSettings) -> Result<Way, String> {
    let (Some(host), Some(port)) = server else {
        return Err("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod: name a \
                    `kubeconfig` or a `url`"
            .to_owned());
    };
    // An IPv6 address stands in brackets in a URL.
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let server = Endpoint::parse(&format!("https://{host}:{port}")).map_err(|error| error.to_string())?;
    let token_file: PathBuf = dir.join("token");
    let mut http = http.clone();
    http.tls.ca_file = Some(dir.join("ca.crt"));
    let whose = format!("in {}", token_file.display());
    http.bearer_token_file = Some(token_file);
    Ok(Way { server, http, pem: Pem::default(), token: None, whose })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn found(host: Option<&str>, port: Option<&str>) -> Result<Way, String> {
        let server = (host.map(str::to_owned), port.map(str::to_owned));
        in_cluster(server, Path::new("/run/account"), &HttpSettings::with_timeout(Duration::from_secs(1)))
    }

    #[test]
    fn a_pod_asks_its_own_cluster_as_its_service_account() {
        for (host, expected) in [("10.96.0.1", "https://10.96.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")] {
            let way = found(Some(host), Some("6443")).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(way.server.to_string(), expected);
            assert_eq!(way.http.bearer_token_file.as_deref(), Some(Path::new("/run/account/token")));
            assert_eq!(way.http.tls.ca_file.as_deref(), Some(Path::new("/run/account/ca.crt")));
        }
    }

    #[test]
    fn outside_a_pod_it_is_said_what_to_name_instead() {
        let why = found(None, Some("443")).map(|_| ()).unwrap_err();
        assert!(why.contains("no pod") && why.contains("`kubeconfig`"), "{why}");
    }
}
