//! A kubeconfig file: the server and the credentials of one of its contexts.
//!
//! Never runs what a kubeconfig names (exec plugins, auth providers), and never shows what stands in it.
//!
//! Source: Kubernetes, "kubeconfig (v1)" reference.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rollbackd_core::config::node::{Node, Problems, Value};
use secrecy::SecretString;

use super::credentials::Way;
use crate::http_client::{Endpoint, HttpSettings, Pem};
use crate::yaml;

/// Reads the file now. `http` brings what no kubeconfig says: the timeout and further headers.
pub(super) fn read(file: &Path, context: Option<&str>, http: &HttpSettings) -> Result<Way, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("could not read the kubeconfig {}: {error}", file.display()))?;
    Kubeconfig { file, root: parse(file, &text)? }.way(context, http)
}

/// The file's tree. What is wrong with it is told by its place alone: secrets stand in it.
fn parse(file: &Path, text: &str) -> Result<Node, String> {
    let mut problems = Problems::default();
    let root = yaml::parse(text, &mut problems);
    match (problems.0.first(), root) {
        (None, Some(root)) => Ok(root),
        (problem, _) => {
            let at = problem.map(|problem| format!(":{}:{}", problem.place.line, problem.place.column));
            Err(format!("the kubeconfig {}{} is no YAML that can be used", file.display(), at.unwrap_or_default()))
        }
    }
}

struct Kubeconfig<'a> {
    file: &'a Path,
    root: Node,
}

impl Kubeconfig<'_> {
    fn way(&self, context: Option<&str>, http: &HttpSettings) -> Result<Way, String> {
        let context = match context.or_else(|| text(&self.root, "current-context")) {
            Some(name) if !name.is_empty() => self.named("contexts", "context", name)?,
            Some(_) | None => return Err(self.wrong("has no `current-context`: name one as `context`")),
        };
        let cluster = text(context, "cluster").unwrap_or_default();
        let cluster = self.named("clusters", "cluster", cluster)?;
        let name = text(context, "user").unwrap_or_default();
        let user = self.named("users", "user", name)?;
        self.refuse(cluster, user, name)?;

        let server = text(cluster, "server").unwrap_or_default();
        let server =
            Endpoint::parse(server).map_err(|error| self.wrong(&format!("names a server that is none: {error}")))?;
        let mut http = http.clone();
        http.tls.ca_file = self.path(cluster, "certificate-authority");
        http.tls.insecure_skip_verify = text(cluster, "insecure-skip-tls-verify") == Some("true");
        http.tls.cert_file = self.path(user, "client-certificate");
        http.tls.key_file = self.path(user, "client-key");
        // As kubectl has it, a file of a token counts before a token.
        http.bearer_token_file = self.path(user, "tokenFile");
        let token = text(user, "token").filter(|_| http.bearer_token_file.is_none()).map(SecretString::from);
        let pem = Pem { roots: self.data(cluster, "certificate-authority-data")?, identity: self.identity(user)? };
        Ok(Way { server, http, pem, token, whose: format!("of user {name} in {}", self.file.display()) })
    }

    fn wrong(&self, what: &str) -> String {
        format!("the kubeconfig {} {what}", self.file.display())
    }

    /// What stands under `name` in a list of `{name, KEY}`.
    fn named(&self, list: &str, key: &str, name: &str) -> Result<&Node, String> {
        let items = match get(&self.root, list).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            Some(Value::Null | Value::Scalar { .. } | Value::Map(_)) | None => &[],
        };
        let found = items.iter().find(|item| text(item, "name") == Some(name)).and_then(|item| get(item, key));
        found.ok_or_else(|| self.wrong(&format!("has no {key} {name:?}")))
    }

    /// What this reader does not do must not be left out silently: it says how we are let in, or where we go.
    fn refuse(&self, cluster: &Node, user: &Node, name: &str) -> Result<(), String> {
        for key in ["exec", "auth-provider"] {
            if get(user, key).is_some() {
                let what =
                    format!("gets the credentials of user {name} from a program (`{key}`), and rollbackd runs none");
                return Err(
                    self.wrong(&format!("{what}: use a service account's token (`tokenFile`) or a certificate"))
                );
            }
        }
        for (at, key) in [(user, "as"), (user, "username"), (cluster, "proxy-url"), (cluster, "tls-server-name")] {
            if get(at, key).is_some() {
                return Err(self.wrong(&format!("has `{key}`, which rollbackd does not know to follow")));
            }
        }
        Ok(())
    }

    /// A file, by its name beside the kubeconfig; none where the same stands in the kubeconfig as data.
    fn path(&self, at: &Node, key: &str) -> Option<PathBuf> {
        if get(at, &format!("{key}-data")).is_some() {
            return None;
        }
        let dir = self.file.parent().unwrap_or_else(|| Path::new(""));
        text(at, key).map(|file| dir.join(file))
    }

    fn data(&self, at: &Node, key: &str) -> Result<Option<Vec<u8>>, String> {
        let decoded = text(at, key).map(|written| STANDARD.decode(written.trim()));
        decoded.transpose().map_err(|_| self.wrong(&format!("has a `{key}` that is no base64")))
    }

    /// The client's certificate and key, where either stands in the kubeconfig itself.
    fn identity(&self, user: &Node) -> Result<Option<SecretString>, String> {
        let certificate = self.data(user, "client-certificate-data")?;
        let key = self.data(user, "client-key-data")?;
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                let pem = String::from_utf8([certificate, b"\n".to_vec(), key].concat());
                pem.map(|pem| Some(SecretString::from(pem)))
                    .map_err(|_| self.wrong("has a client certificate that is no PEM"))
            }
            (Some(_), None) | (None, Some(_)) => Err(self
                .wrong("has one of `client-certificate-data` and `client-key-data`: expected both, or both as files")),
        }
    }
}

fn get<'a>(at: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &at.value else { return None };
    let (_, value) = entries.iter().find(|(name, _)| scalar(name) == Some(key))?;
    (value.value != Value::Null).then_some(value)
}

fn text<'a>(at: &'a Node, key: &str) -> Option<&'a str> {
    get(at, key).and_then(scalar)
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret;

    use super::*;

    const CONFIG: &str = r#"
apiVersion: v1
kind: Config
current-context: prod
clusters:
- name: prod
  cluster: {server: "https://10.0.0.1:6443", certificate-authority: pki/ca.crt}
- name: lab
  cluster: {server: "https://10.0.0.2:6443", certificate-authority-data: "UEVN", insecure-skip-tls-verify: false}
contexts:
- {name: prod, context: {cluster: prod, user: robot, namespace: shop}}
- {name: lab, context: {cluster: lab, user: cert}}
- {name: cloud, context: {cluster: lab, user: plugin}}
- {name: half, context: {cluster: lab, user: half}}
- {name: lost, context: {cluster: lab, user: nobody}}
- {name: inline, context: {cluster: lab, user: inline}}
users:
- {name: robot, user: {tokenFile: token, token: hunter2}}
- {name: cert, user: {client-certificate-data: "Q0VSVA==", client-key-data: "S0VZ"}}
- {name: plugin, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: gke-gcloud-auth-plugin}}}
- {name: half, user: {client-certificate-data: "Q0VSVA=="}}
- {name: inline, user: {token: hunter2}}
"#;

    fn way(context: Option<&str>) -> Result<Way, String> {
        let file = Path::new("/etc/kube/config");
        let http = HttpSettings::with_timeout(Duration::from_secs(1));
        Kubeconfig { file, root: parse(file, CONFIG)? }.way(context, &http)
    }

    fn found(context: Option<&str>) -> Way {
        way(context).unwrap_or_else(|why| panic!("{why}"))
    }

    fn refused(context: &str) -> String {
        let why = way(Some(context)).map(|_| ()).unwrap_err();
        assert!(why.contains("/etc/kube/config") && !why.contains("hunter2"), "{why}");
        why
    }

    #[test]
    fn the_current_context_counts_and_files_lie_beside_the_kubeconfig() {
        let way = found(None);
        assert_eq!(way.server.to_string(), "https://10.0.0.1:6443");
        assert_eq!(way.http.tls.ca_file.as_deref(), Some(Path::new("/etc/kube/pki/ca.crt")));
        assert_eq!(way.http.bearer_token_file.as_deref(), Some(Path::new("/etc/kube/token")));
        assert!(way.token.is_none(), "the file of a token counts before a token");
        assert!(way.pem.roots.is_none() && way.pem.identity.is_none());
    }

    #[test]
    fn certificates_and_tokens_may_stand_in_it() {
        let way = found(Some("lab"));
        assert_eq!(way.pem.roots.as_deref(), Some(b"PEM".as_slice()));
        assert_eq!(way.pem.identity.map(|pem| pem.expose_secret().to_owned()).as_deref(), Some("CERT\nKEY"));
        assert!(!way.http.tls.insecure_skip_verify);
        assert_eq!(
            found(Some("inline")).token.map(|token| token.expose_secret().to_owned()).as_deref(),
            Some("hunter2")
        );
    }

    #[test]
    fn a_plugin_is_refused_with_what_to_use_instead() {
        let why = refused("cloud");
        assert!(why.contains("`exec`") && why.contains("`tokenFile`"), "{why}");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refused("lost").contains("no user \"nobody\""));
        assert!(refused("staging").contains("no context \"staging\""));
        assert!(refused("half").contains("expected both"));
    }

    #[test]
    fn a_file_that_is_no_yaml_is_told_by_its_place_alone() {
        let why = parse(Path::new("/etc/kube/config"), "users: [token: \"hunter2\n").map(|_| ()).unwrap_err();
        assert!(why.contains("/etc/kube/config:") && !why.contains("hunter2"), "{why}");
    }
}
