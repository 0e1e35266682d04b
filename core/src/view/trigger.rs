//! What is shown of a trigger: its value against its limit, what it comes to, and whether anybody has looked.

use serde::Serialize;

use super::is_percentage;
use crate::board::{Board, Shown};
use crate::config::{Action, Condition, Observed, Service, Trigger};
use crate::firing::Firing;
use crate::name::TriggerName;
use crate::reading::Look;
use crate::state::{ServiceState, Turn};
use crate::time::Timestamp;
use crate::trigger::{self, Arming};

/// A trigger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TriggerView {
    /// Its name.
    pub name: TriggerName,
    /// The value at the last look.
    pub value: Option<f64>,
    /// The limit that it is compared with.
    pub limit: Option<f64>,
    /// Which values are a breach: those `above` or `below` the limit, or `any`; none where it is observed by reports.
    pub breach: Option<&'static str>,
    /// Whether the limit was written as a percentage.
    pub percentage: bool,
    /// When, by the data, it fired for this deploy.
    pub observed_at: Option<Timestamp>,
    /// `clear`, `breaching`, `fired`, `low_traffic`, `no_data`, `error` or `disarmed`.
    pub state: &'static str,
    /// Whether anything was seen of it since the deploy that is watched; `None` where nobody looks: no watch is open, or
    /// it is observed by reports.
    pub seen: Option<bool>,
    /// Since when it has been breaching.
    pub breaching_since: Option<Timestamp>,
    /// `rollback`, `page` or `shadow`.
    pub action: &'static str,
    /// `for`, in seconds.
    pub for_seconds: f64,
    /// The budget, in seconds.
    pub budget_seconds: Option<f64>,
    /// Whether it is observed by reports.
    pub observed_by_report: bool,
}

pub(super) fn view(plan: &Service, own: &ServiceState, board: &Board, trigger: &Trigger) -> TriggerView {
    let known = own.watch.as_ref().and_then(|watch| watch.triggers.get(&trigger.name));
    let latest = own.watch.as_ref().and_then(|_| board.get(&plan.name, &trigger.name));
    let metric = match &trigger.observed {
        Observed::Report => None,
        Observed::Metric(metric) => Some(metric.as_ref()),
    };
    let observed_at = own.watch.as_ref().and_then(|watch| {
        let about = |firing: &&Firing| firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy);
        let mut firings = own.firings.iter().filter(about);
        firings.find_map(|firing| {
            let joined = firing.joined.iter().find(|(name, _)| name == &trigger.name).map(|(_, at)| *at);
            (firing.trigger == trigger.name).then_some(firing.observed_at).or(joined)
        })
    });
    let observed_at = observed_at.or_else(|| known.and_then(|known| known.shadowed_at));
    TriggerView {
        name: trigger.name.clone(),
        value: latest.and_then(|shown| shown.look).and_then(Look::value),
        limit: metric.and_then(|metric| trigger::limit(metric, known.and_then(|known| known.baseline.as_ref()))),
        breach: metric.map(|metric| match metric.condition {
            Condition::Above(_) => "above",
            Condition::Below(_) => "below",
            Condition::Any => "any",
        }),
        percentage: metric.is_some_and(is_percentage),
        observed_at,
        state: state(observed_at, known.map(|known| (known.arming, known.turn)), latest),
        seen: metric.and(known).map(|known| is_seen(known.turn, latest)),
        breaching_since: latest.and_then(|shown| shown.breaching_since),
        action: match trigger.action {
            Action::Rollback => "rollback",
            Action::Page => "page",
            Action::Shadow => "shadow",
        },
        for_seconds: trigger.hold.as_secs_f64(),
        budget_seconds: trigger.budget.map(|budget| budget.as_secs_f64()),
        observed_by_report: metric.is_none(),
    }
}

fn state(observed_at: Option<Timestamp>, known: Option<(Arming, Turn)>, latest: Option<Shown>) -> &'static str {
    if observed_at.is_some() || matches!(known, Some((Arming::Spent, _))) {
        return "fired";
    }
    if matches!(known, Some((Arming::Disarmed, _))) {
        return "disarmed";
    }
    match latest.and_then(|shown| shown.look) {
        Some(Look::Breach(_)) => "breaching",
        Some(Look::Clear(_)) => "clear",
        Some(Look::LowTraffic | Look::NoTraffic) => "low_traffic",
        Some(Look::NoData) => "no_data",
        Some(Look::Error | Look::Partial) => "error",
        None => match known.map(|(_, turn)| turn) {
            Some(Turn::Breaching { .. }) => "breaching",
            Some(Turn::LowTraffic) => "low_traffic",
            Some(Turn::Blind | Turn::Unseen) => "no_data",
            // Nothing was reported, or no watch is open: nothing is the matter.
            Some(Turn::Clear) | None => "clear",
        },
    }
}

/// Whether a look has said anything of the version under watch. The first looks reach back behind the deploy: a value of
/// theirs may be that of the version before.
fn is_seen(turn: Turn, latest: Option<Shown>) -> bool {
    match latest.and_then(|shown| shown.look) {
        None | Some(Look::Clear(_) | Look::Breach(_)) => turn != Turn::Unseen,
        Some(Look::LowTraffic | Look::NoTraffic | Look::NoData | Look::Error | Look::Partial) => true,
    }
}
