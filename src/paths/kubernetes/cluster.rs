//! The four requests to an API server that a rollback needs.
//!
//! Never repeats a request by itself, and never reads more than the one workload and its revisions.
//!
//! Source: Kubernetes, "API concepts" (patch types, field managers) and API reference `apps/v1`; Argo Rollouts,
//! `pkg/kubectl-argo-rollouts` (undo, abort).

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::Kubernetes;
use super::credentials::{self, Way};
use super::workload::{Revision, Workload};
use crate::http_client::Endpoint;
use crate::paths::remote::api::{Answer, Api, NoAnswer};

/// Who Kubernetes notes as the owner of what we change.
const FIELD_MANAGER: &str = "rollbackd";

/// The namespace of one workload, as far as it can be asked.
pub(super) struct Cluster<'a> {
    settings: &'a Kubernetes,
    api: Api,
    server: Endpoint,
    token: Option<SecretString>,
    whose: String,
}

impl<'a> Cluster<'a> {
    pub(super) fn open(settings: &'a Kubernetes) -> Result<Self, String> {
        let Way { server, http, pem, token, whose } = credentials::way(settings)?;
        let api = Api::with_certificates("Kubernetes", &http, &pem)?;
        Ok(Self { settings, api, server, token, whose })
    }

    fn request(&self, method: Method, group: (&str, &str), tail: &[&str]) -> RequestBuilder {
        let start = ["apis", group.0, group.1, "namespaces", &self.settings.namespace];
        let segments: Vec<&str> = start.into_iter().chain(tail.iter().copied()).collect();
        let request = self.api.client().request(method, self.server.under(&segments));
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

    /// Shows the workload.
    pub(super) async fn workload(&self) -> Result<Answer, NoAnswer> {
        let kind = self.settings.kind;
        self.api.send(self.request(Method::GET, kind.group(), &[kind.resource(), &self.settings.name])).await
    }

    /// Lists the revisions of the workload, and perhaps some of others.
    pub(super) async fn revisions(&self, workload: &Workload) -> Result<Answer, NoAnswer> {
        let request = self.request(Method::GET, ("apps", "v1"), &[workload.kind.revisions()]);
        self.api.send(request.query(&[("labelSelector", workload.selector())])).await
    }

    /// Changes the workload, all of the patch or nothing. `part` is a part of the workload with an address of its own.
    pub(super) async fn patch(&self, part: &[&str], patch: &Value) -> Result<Answer, NoAnswer> {
        let kind = self.settings.kind;
        let tail: Vec<&str> = [kind.resource(), &self.settings.name].into_iter().chain(part.iter().copied()).collect();
        let request = self.request(Method::PATCH, kind.group(), &tail);
        let request = request.query(&[("fieldManager", FIELD_MANAGER)]).body(patch.to_string());
        self.api.send(request.header(CONTENT_TYPE, "application/json-patch+json")).await
    }

    /// What somebody should look at when a request was refused; `verb` as in an RBAC rule.
    pub(super) fn check(&self, status: StatusCode, verb: &str, resource: &str) -> String {
        let Kubernetes { namespace, name, kind, .. } = self.settings;
        let whose = &self.whose;
        match status {
            StatusCode::UNAUTHORIZED => format!("that the credentials {whose} are valid and have not expired"),
            StatusCode::FORBIDDEN => {
                format!("that the credentials {whose} may {verb} {resource} in namespace {namespace}")
            }
            StatusCode::NOT_FOUND => format!("that the {} {namespace}/{name} exists in this cluster", kind.word()),
            _ => format!("the {} {namespace}/{name}", kind.word()),
        }
    }
}

/// The workload in an answer.
pub(super) fn workload_of(settings: &Kubernetes, answer: &Answer) -> Result<Workload, String> {
    answer.json().map(|object| Workload::new(settings.kind, object))
}

/// The workload's revisions in an answer, the newest first.
pub(super) fn revisions_of(workload: &Workload, answer: &Answer) -> Result<Vec<Revision>, String> {
    answer.json().map(|list| Revision::of(workload, &list))
}
