//! What is shown of the state: the answers of `status` and of `GET /v1/services`, with the words of the design.

mod rehearsal;
mod trigger;

use serde::Serialize;

use crate::board::Board;
use crate::config::{Condition, Config, Limit, Metric, Mode, Service};
use crate::deploy::{Migration, WatchEnd};
use crate::estimate::{NextRun, estimate};
use crate::firing::{Attempt, Firing, Stage};
use crate::name::{DeployId, FiringId, PageId, PagerName, PathName, RehearsalId, ServiceName, TriggerName, Version};
use crate::rollback::word;
use crate::state::{ServiceState, State, Watch};
use crate::time::Timestamp;

pub use rehearsal::{RehearsalPlanView, RehearsalView, RehearsedView};
pub use trigger::TriggerView;

/// One service, as `GET /v1/services/NAME` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Whether the daemon runs dry: then no path runs and nobody is paged, whatever fires.
    pub dry_run: bool,
    /// The version that serves.
    pub running: Option<Version>,
    /// The version that it would return to.
    pub target: Option<Version>,
    /// The watch that is open.
    pub watch: Option<WatchView>,
    /// How the last watch ended.
    pub last: Option<WatchEnd>,
    /// Its triggers.
    pub triggers: Vec<TriggerView>,
    /// Until when automatic rollback is held, and why.
    pub frozen: Option<FreezeView>,
    /// The rehearsal that is under way, or the last one.
    pub rehearsal: Option<RehearsalView>,
    /// How it rehearses; none where the config says nothing of that.
    pub rehearsal_plan: Option<RehearsalPlanView>,
    /// Its paths, preferred first.
    pub paths: Vec<PathView>,
    /// The firings that are still to end.
    pub firings: Vec<FiringView>,
    /// The pages that are not over.
    pub pages: Vec<PageView>,
}

/// A watch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WatchView {
    /// The deploy.
    pub deploy: DeployId,
    /// Its version.
    pub version: Version,
    /// When it was deployed.
    pub deployed_at: Timestamp,
    /// When the watch ends.
    pub until: Timestamp,
    /// `watching`, `firing`, `rolling_back`, `verifying` or `paged`.
    pub state: &'static str,
    /// Whether the deploy migrated data.
    pub migration: Migration,
}

/// A freeze.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FreezeView {
    /// Until then.
    pub until: Timestamp,
    /// Why.
    pub why: String,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathView {
    /// Its name.
    pub name: PathName,
    /// Its adapter.
    pub kind: &'static str,
    /// Its timeout, in seconds.
    pub timeout_seconds: f64,
    /// How long its last successful runs took, in seconds, latest last.
    pub took_seconds: Vec<f64>,
    /// How long the next run takes by these; `None` where there were none.
    pub next: Option<NextRun>,
    /// What its rehearsals showed; none where it was never rehearsed.
    pub rehearsed: Option<RehearsedView>,
    /// When its next rehearsal is due, where the config says how often: at once, where it was never rehearsed.
    pub rehearsal_due_at: Option<Timestamp>,
}

/// A firing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FiringView {
    /// Its id.
    pub id: FiringId,
    /// The service.
    pub service: ServiceName,
    /// The trigger.
    pub trigger: TriggerName,
    /// `veto`, `paged`, `rolling_back`, `verifying` or `ended`.
    pub state: &'static str,
    /// Why a human was asked.
    pub why: Option<String>,
    /// The deployed version.
    pub version: Option<Version>,
    /// The version to return to.
    pub target: Option<Version>,
    /// What was said by whoever reported it, or why a rehearsal wants its version to go.
    pub note: Option<String>,
    /// When, by the data, it fired: the clock started here.
    pub observed_at: Timestamp,
    /// When the budget is spent.
    pub budget_ends_at: Option<Timestamp>,
    /// When production was back.
    pub recovered_at: Option<Timestamp>,
    /// `recovered`, `paged`, `dismissed` or `not_recovered`, once it ended.
    pub outcome: Option<&'static str>,
    /// The number of its receipt, once it ended.
    pub receipt: Option<u64>,
    /// Whether the receipt's files are there.
    pub receipt_published: bool,
    /// Whether a human acknowledged.
    pub acknowledged: bool,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// The rehearsal that its version was deployed in.
    pub rehearsal: Option<RehearsalId>,
    /// The value that fired.
    pub value: Option<f64>,
    /// The limit it was compared with.
    pub limit: Option<f64>,
    /// The runs of paths.
    pub attempts: Vec<Attempt>,
    /// What a dry run would have run.
    pub would_run: Vec<Attempt>,
    /// The story so far.
    pub story: Vec<crate::firing::Step>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PageView {
    /// Its id.
    pub id: PageId,
    /// Why.
    pub reason: &'static str,
    /// What happened.
    pub summary: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When a human said that they have seen it.
    pub acknowledged_at: Option<Timestamp>,
    /// When it goes to the next level, where nobody says so before.
    pub escalates_at: Option<Timestamp>,
    /// Who it is for.
    pub pagers: Vec<PagerName>,
    /// Who has not taken it yet.
    pub undelivered: Vec<PagerName>,
}

/// One service; `None` where the config has none of that name.
#[must_use]
pub fn service(
    config: &Config,
    state: &State,
    board: &Board,
    name: &ServiceName,
    now: Timestamp,
) -> Option<ServiceView> {
    let plan = config.services.get(name)?;
    let own = state.service(name);
    Some(ServiceView {
        name: name.clone(),
        dry_run: config.mode == Mode::DryRun,
        running: own.running.clone(),
        target: target(&own),
        watch: own.watch.as_ref().map(|watch| watch_view(&own, watch)),
        last: own.last,
        triggers: plan.triggers.iter().map(|trigger| trigger::view(plan, &own, board, trigger)).collect(),
        frozen: own.frozen(now).map(|freeze| FreezeView { until: freeze.until, why: freeze.why.clone() }),
        rehearsal: rehearsal::view(&own),
        rehearsal_plan: plan.rehearsal.as_deref().map(rehearsal::plan),
        paths: paths(plan, &own, now),
        firings: own.open_firings().map(|each| firing(name, each)).collect(),
        pages: own
            .pages
            .iter()
            .filter(|page| page.resolved_at.is_none() || !page.undelivered.is_empty())
            .map(page_view)
            .collect(),
    })
}

/// All firings that are remembered, of all services.
#[must_use]
pub fn firings(state: &State) -> Vec<FiringView> {
    let of_service =
        |name, own: &ServiceState| -> Vec<FiringView> { own.firings.iter().map(|each| firing(name, each)).collect() };
    state.services.iter().flat_map(|(name, own)| of_service(name, own)).collect()
}

/// The version that would be returned to now, as far as the ledger tells; `None` where there is none.
#[must_use]
pub fn target(own: &ServiceState) -> Option<Version> {
    match (&own.watch, &own.running) {
        (Some(watch), _) => watch.target.as_ref().map(|target| target.version.clone()),
        (None, Some(running)) => own.ledger.latest_passed(running).cloned(),
        (None, None) => None,
    }
}

fn watch_view(own: &ServiceState, watch: &Watch) -> WatchView {
    let about: Vec<&Firing> = own
        .open_firings()
        .filter(|firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy))
        .collect();
    let any = |wanted: fn(&Stage) -> bool| about.iter().any(|firing| wanted(&firing.stage));
    let state = if any(|stage| matches!(stage, Stage::Rolling)) {
        "rolling_back"
    } else if any(|stage| matches!(stage, Stage::Verifying { .. })) {
        "verifying"
    } else if any(|stage| matches!(stage, Stage::Veto { .. })) {
        "firing"
    } else if any(|stage| matches!(stage, Stage::Paged { .. })) {
        "paged"
    } else {
        "watching"
    };
    WatchView {
        deploy: watch.deploy.clone(),
        version: watch.version.clone(),
        deployed_at: watch.at,
        until: watch.until,
        state,
        migration: own.ledger.entry(&watch.deploy).map(|entry| entry.deploy.migration).unwrap_or_default(),
    }
}

/// The paths of a service, preferred first.
#[must_use]
pub fn paths(plan: &Service, own: &ServiceState, now: Timestamp) -> Vec<PathView> {
    plan.paths.iter().map(|path| path_view(plan, own, path, now)).collect()
}

fn path_view(plan: &Service, own: &ServiceState, path: &crate::config::PathRule, now: Timestamp) -> PathView {
    let rehearsed = own.rehearsed.get(&path.name);
    let known = own.durations.get(&path.name).map(Vec::as_slice).unwrap_or_default();
    PathView {
        name: path.name.clone(),
        kind: path.kind,
        timeout_seconds: path.timeout.as_secs_f64(),
        took_seconds: known.iter().map(|took| took.0.as_secs_f64()).collect(),
        next: estimate(known.iter().map(|took| took.0)).map(NextRun::from),
        rehearsed: rehearsed.map(|known| rehearsal::rehearsed(plan, path, known)),
        rehearsal_due_at: plan.rehearsal.as_ref().map(|rule| rehearsed.map_or(now, |known| known.at + rule.every)),
    }
}

/// One firing.
#[must_use]
pub fn firing(service: &ServiceName, firing: &Firing) -> FiringView {
    let (state, why) = match &firing.stage {
        Stage::Veto { .. } => ("veto", None),
        Stage::Paged { why, .. } => ("paged", Some(why.clone())),
        Stage::Rolling => ("rolling_back", None),
        Stage::Verifying { .. } => ("verifying", None),
        Stage::Ended { .. } => ("ended", None),
    };
    let (outcome, receipt, receipt_published) = match &firing.stage {
        Stage::Ended { result, receipt, published, .. } => (Some(word(*result)), Some(*receipt), *published),
        Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. } => (None, None, false),
    };
    FiringView {
        id: firing.id.clone(),
        service: service.clone(),
        trigger: firing.trigger.clone(),
        state,
        why,
        version: firing.deploy.as_ref().map(|deploy| deploy.version.clone()),
        target: firing.target.as_ref().map(|target| target.version.clone()),
        note: firing.note.clone(),
        observed_at: firing.observed_at,
        budget_ends_at: firing.budget_ends_at(),
        recovered_at: firing.recovered_at,
        outcome,
        receipt,
        receipt_published,
        acknowledged: firing.acknowledged,
        dry_run: firing.dry_run,
        rehearsal: firing.rehearsal.as_ref().map(|rehearsal| rehearsal.id.clone()),
        value: firing.value,
        limit: firing.limit,
        attempts: firing.attempts.clone(),
        would_run: firing.would_run.clone(),
        story: firing.story.clone(),
    }
}

fn page_view(page: &crate::page::Page) -> PageView {
    PageView {
        id: page.id.clone(),
        reason: page.reason.word(),
        summary: page.summary.clone(),
        opened_at: page.opened_at,
        acknowledged_at: page.acknowledged_at,
        escalates_at: page.escalates_at(),
        pagers: page.pagers.iter().cloned().collect(),
        undelivered: page.undelivered.iter().cloned().collect(),
    }
}

/// Whether a metric's limit was written as a percentage.
#[must_use]
pub const fn is_percentage(metric: &Metric) -> bool {
    match metric.condition {
        Condition::Above(Limit::Fixed { shown_as_percentage, .. })
        | Condition::Below(Limit::Fixed { shown_as_percentage, .. }) => shown_as_percentage,
        Condition::Above(Limit::TimesBaseline { .. })
        | Condition::Below(Limit::TimesBaseline { .. })
        | Condition::Any => false,
    }
}
