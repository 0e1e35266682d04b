//! GitLab's deployment events: a deployment that succeeded is a deploy, one that failed is a trigger's report.
//!
//! Never a deploy of our own rollback: the event names no pipeline, so that one is known by the user of its path's token.

use rollbackd_core::config::Config;
use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{About, DeployReport, Event, Happening};
use rollbackd_core::name::{Commit, ServiceName, TriggerName, Version};
use rollbackd_core::time::Timestamp;
use serde::Deserialize;

use super::super::mapping::{self, Deployed, VersionIn};
use super::super::{Translated, Untold, read};
use super::{PATH_KIND, Project, instant};
use crate::link;

/// Deployments of a project to an environment are deploys of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deployment {
    service: ServiceName,
    project: String,
    environment: String,
    version: VersionIn,
    on_failure: Option<TriggerName>,
}

#[derive(Deserialize)]
struct Told {
    status: String,
    status_changed_at: String,
    deployment_id: u64,
    deployable_url: Option<String>,
    environment: String,
    project: Project,
    r#ref: Option<String>,
    short_sha: Option<String>,
    commit_url: Option<String>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
}

impl Deployment {
    pub(super) fn decode(
        node: &Node,
        config: &Config,
        path_user: Option<&str>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut fields = Fields::of(node, "a deployment of GitLab", problems)?;
        let service = mapping::service(&mut fields, config, problems);
        let project = fields.required("project", problems).and_then(|node| mapping::repository(node, problems));
        let environment = fields.required("environment", problems).and_then(|node| mapping::name(node, problems));
        let version = fields.required("version", problems).and_then(|node| version_in(node, problems));
        let on_failure = fields.optional("on_failure");
        fields.finish(problems);
        let service = service?;
        let by_gitlab = service.paths.iter().find(|path| path.kind == PATH_KIND);
        if let (Some(path), None) = (by_gitlab, path_user) {
            let message = format!(
                "the path `{}` of {} rolls back by GitLab: say in `path_user` of `gitlab` whose token it uses, so that its \
                 own rollbacks are not taken for deploys",
                path.name, service.name
            );
            problems.error(node.place, message);
        }
        let on_failure = on_failure.and_then(|node| mapping::trigger(node, service, problems));
        let service = service.name.clone();
        Some(Self { service, project: project?, environment: environment?, version: version?, on_failure })
    }
}

fn version_in(node: &Node, problems: &mut Problems) -> Option<VersionIn> {
    let version = VersionIn::decode(node, problems)?;
    if let VersionIn::Payload(_) = version {
        problems.error(node.place, "GitLab's deployments have no payload: expected sha, sha:N (7 to 64 digits) or tag");
    }
    Some(version)
}

pub(super) fn translate(deployments: &[Deployment], path_user: Option<&str>, body: &[u8]) -> Translated {
    let told: Told = read(body)?;
    let unconcerned = |why: &str| Err(Untold::Unconcerned(why.to_owned()));
    let failed = match told.status.as_str() {
        "success" => false,
        "failed" => true,
        _ => return unconcerned("the deployment has neither succeeded nor failed"),
    };
    let is_of = |mapped: &&Deployment| {
        mapped.project.eq_ignore_ascii_case(&told.project.path_with_namespace) && mapped.environment == told.environment
    };
    let mapped: Vec<&Deployment> = deployments.iter().filter(is_of).collect();
    if mapped.is_empty() {
        return unconcerned("no entry of `sources.gitlab.deployments` has this project and environment");
    }
    if told.is_by(path_user) {
        return unconcerned("a deployment by `path_user` is a rollback, which is followed by its own path");
    }
    let at = instant(&told.status_changed_at)?;
    if failed { told.failures(&mapped, at) } else { told.deploys(&mapped, at) }
}

impl Told {
    fn is_by(&self, path_user: Option<&str>) -> bool {
        let by = self.user.as_ref().and_then(|user| user.username.as_deref());
        by.zip(path_user).is_some_and(|(by, path_user)| by.eq_ignore_ascii_case(path_user))
    }

    fn deploys(&self, mapped: &[&Deployment], at: Timestamp) -> Translated {
        let report = |mapped: &&Deployment| {
            Ok(DeployReport {
                version: self.version(&mapped.version)?,
                previous: None,
                commit: self.commit(),
                migration: Migration::None,
                run_url: self.link(),
                at: Some(at),
                key: Some(format!("gitlab-deployment-{}", self.deployment_id)),
            })
        };
        let event = |mapped: &&Deployment| {
            let what = Happening::Hinted { report: report(mapped)?, run: None };
            Ok(Event { service: mapped.service.clone(), what })
        };
        mapped.iter().map(event).collect()
    }

    fn failures(&self, mapped: &[&Deployment], at: Timestamp) -> Translated {
        let failure = |mapped: &&Deployment| {
            let trigger = mapped.on_failure.clone()?;
            let about = About {
                key: Some(format!("gitlab-deployment-{}-failed", self.deployment_id)),
                at: Some(at),
                since: None,
                version: self.version(&mapped.version).ok(),
                commit: self.commit(),
                run: None,
            };
            let link = self.link().map(|link| format!(": {link}")).unwrap_or_default();
            let note = Some(format!("GitLab says that deployment {} failed{link}", self.deployment_id));
            Some(Event { service: mapped.service.clone(), what: Happening::Reported { trigger, note, about } })
        };
        let events: Vec<Event> = mapped.iter().filter_map(failure).collect();
        if events.is_empty() {
            let why = "the deployment failed, and its entry of `sources.gitlab.deployments` has no `on_failure`";
            return Err(Untold::Unconcerned(why.to_owned()));
        }
        Ok(events)
    }

    fn version(&self, from: &VersionIn) -> Result<Version, Untold> {
        let short = self.short_sha.as_deref();
        let short_will_do = |short: &&str| matches!(from, VersionIn::ShortSha(digits) if *digits <= short.len());
        let deployed = Deployed {
            sha: self.whole_sha().or_else(|| short.filter(short_will_do)),
            git_ref: self.r#ref.as_deref().unwrap_or_default(),
            branch: self.project.default_branch.as_deref(),
            payload: None,
        };
        deployed.version(from)
    }

    fn commit(&self) -> Option<Commit> {
        Commit::new(self.whole_sha().or(self.short_sha.as_deref())?).ok()
    }

    /// The whole commit, which only the URL of its page has.
    fn whole_sha(&self) -> Option<&str> {
        let last = self.commit_url.as_deref()?.rsplit('/').next()?;
        let is_whole = matches!(last.len(), 40 | 64) && last.bytes().all(|each| each.is_ascii_hexdigit());
        let same = self.short_sha.as_deref().is_none_or(|short| last.starts_with(short));
        (is_whole && same).then_some(last)
    }

    fn link(&self) -> Option<String> {
        self.deployable_url.as_deref().and_then(|text| link::checked(text).ok())
    }
}
