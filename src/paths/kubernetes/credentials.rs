//! Where an API server is and as whom it is asked: a URL, a kubeconfig file, or the service account of our own pod.
//!
//! Never keeps a token that a file holds: such files are read at each request, since Kubernetes replaces them hourly.

use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::{Access, Kubernetes, kubeconfig};
use crate::http_client::{Endpoint, HttpSettings, Pem};

/// Where Kubernetes puts a pod's service account (Kubernetes, "Accessing the Kubernetes API from a Pod").
const SERVICE_ACCOUNT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A way to an API server.
pub(super) struct Way {
    pub(super) server: Endpoint,
    pub(super) http: HttpSettings,
    pub(super) pem: Pem,
    /// A token that stands in the kubeconfig itself.
    pub(super) token: Option<SecretString>,
    /// Whose credentials these are, for sentences.
    pub(super) whose: String,
}

/// The way that the config says, as its files say it now.
pub(super) fn way(settings: &Kubernetes) -> Result<Way, String> {
    match &settings.access {
        Access::Url(server) => {
            let file = settings.http.bearer_token_file.as_deref();
            let whose = file.map_or("of the config".to_owned(), |file| format!("in {}", file.display()));
            let http = settings.http.clone();
            Ok(Way { server: server.clone(), http, pem: Pem::default(), token: None, whose })
        }
        Access::Kubeconfig { file, context } => kubeconfig::read(file, context.as_deref(), &settings.http),
        Access::InCluster => {
            let variable = |name| std::env::var(name).ok();
            let server = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
            in_cluster(server, Path::new(SERVICE_ACCOUNT_DIR), &settings.http)
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
