//! The four requests to an API server that a rollback needs.
//!
//! Never repeats a request by itself, and never reads more than the one workload and its revisions.
//!
//! Source: Kubernetes, "API concepts" (patch types, field managers) and API reference `apps/v1`; Argo Rollouts,
//! `pkg/kubectl-argo-rollouts` (undo, abort).

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::Kubernetes;
use crate::kubernetes::credentials::{self, Way};
use crate::kubernetes::workload::{Revision, Workload};
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, Api, NoAnswer};

/// Who Kubernetes notes as the owner of what we change.
const FIELD_MANAGER: &str = "rollbackd";

/// The namespace of one workload, as far as it can be asked.
pub(super) struct Cluster<'a> {
    settings: &'a Kubernetes,
    api: Api,
    way: Way,
}

impl<'a> Cluster<'a> {
    pub(super) fn open(settings: &'a Kubernetes, ready: &Ready) -> Result<Self, String> {
        let way = credentials::way(&settings.access, &settings.http)?;
        let api = Api::kept("Kubernetes", &way.http, &way.pem, ready)?;
        Ok(Self { settings, api, way })
    }

    fn request(&self, method: Method, group: (&str, &str), tail: &[&str]) -> RequestBuilder {
        let start = ["apis", group.0, group.1, "namespaces", &self.settings.namespace];
        let segments: Vec<&str> = start.into_iter().chain(tail.iter().copied()).collect();
        self.way.request(self.api.client(), method, &segments)
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
        self.way.check(status, (verb, resource), (kind.word(), namespace, name))
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
