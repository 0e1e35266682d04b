//! What a rollback path and a source of deploys share of Kubernetes: where the API server is, as whom it is asked, and
//! how workloads and their revisions read.
//!
//! Never sends a request, and never runs `kubectl` or a plugin of it.

pub(crate) mod credentials;
mod kubeconfig;
pub(crate) mod workload;

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Fields, Node, Problems};

use crate::http_client::{Endpoint, HttpSettings};

/// The longest name that Kubernetes takes (RFC 1123 subdomains).
const LONGEST_NAME: usize = 253;

/// Where the API server is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// At this URL, with the credentials of the settings.
    Url(Endpoint),
    /// As a kubeconfig file says, which is read each time.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// Which of its contexts; its own `current-context` where none is named.
        context: Option<String>,
    },
    /// We run in a pod of the cluster: its service account.
    InCluster,
}

impl Access {
    /// Reads `url`, or `kubeconfig` and `context`, or neither; and what goes with them: credentials, headers, `timeout`.
    pub(crate) fn decode(
        fields: &mut Fields<'_>,
        problems: &mut Problems,
        timeout: std::time::Duration,
    ) -> Option<(Self, HttpSettings)> {
        let access = Self::place(fields, problems);
        let http = HttpSettings::decode(fields, problems, timeout);
        check_credentials(fields, &http, access.as_ref(), problems);
        Some((access?, http))
    }

    fn place(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Self> {
        let (url, file, context) = (fields.optional("url"), fields.optional("kubeconfig"), fields.optional("context"));
        if let (Some(context), None) = (context, file) {
            problems.error(context.place, "`context` is one of a `kubeconfig`, which is missing");
        }
        match (url, file) {
            (Some(url), None) => Endpoint::decode(url, problems).map(Self::Url),
            (None, Some(file)) => {
                let file = PathBuf::from(node::text(file, problems)?);
                let context = context.map(|at| node::text(at, problems).map(str::to_owned));
                Some(Self::Kubeconfig { file, context: context.map_or(Some(None), |context| context.map(Some))? })
            }
            (None, None) => Some(Self::InCluster),
            (Some(_), Some(file)) => {
                problems.error(file.place, "expected `url` or `kubeconfig`, not both");
                None
            }
        }
    }
}

/// Credentials of the config go with its `url` alone: elsewhere they would silently stand against others.
fn check_credentials(fields: &Fields<'_>, http: &HttpSettings, access: Option<&Access>, problems: &mut Problems) {
    let elsewhere = match access {
        Some(Access::Kubeconfig { .. }) => "the kubeconfig",
        Some(Access::InCluster) => "the pod's service account",
        Some(Access::Url(_)) | None => return,
    };
    let given = [
        ("bearer_token_file", http.bearer_token_file.is_some()),
        ("basic_auth", http.basic_auth.is_some()),
        ("tls", fields.has("tls")),
    ];
    for (key, _) in given.iter().filter(|(_, given)| *given) {
        problems.error(fields.key_place(key), format!("`{key}` goes with `url` alone: {elsewhere} brings its own"));
    }
}

/// The name of an object or of a namespace.
pub(crate) fn object_name(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let allowed = |each: char| each.is_ascii_lowercase() || each.is_ascii_digit() || matches!(each, '-' | '.');
    let ends_well = |each: &str| !each.starts_with(['-', '.']) && !each.ends_with(['-', '.']);
    let is_name =
        !written.is_empty() && written.len() <= LONGEST_NAME && written.chars().all(allowed) && ends_well(written);
    if !is_name {
        problems
            .error(at.place, format!("expected a name as Kubernetes takes it, such as capstone-api, not {written:?}"));
    }
    is_name.then(|| written.to_owned())
}
