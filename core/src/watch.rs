//! One watch: what looks turn its triggers to, what they fire, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use crate::comparison::{self, Scene};
use crate::config::{Action, Config, Metric, Observed, Service, Trigger};
use crate::deploy::WatchEnd;
use crate::draft::Draft;
use crate::firing::{Firing, FiringEnd, Origin, Stage};
use crate::name::{DeployId, TriggerName};
use crate::page::{self, PageReason};
use crate::proof::{self, ClearRow};
use crate::reading::{Answer, Answers, Look, Point};
use crate::record::WatchRecord;
use crate::rollback::{self, Observation};
use crate::state::{ServiceState, TriggerWatch, Turn, Watch};
use crate::time::Timestamp;
use crate::trigger::{self, Arming, BLIND_INTERVALS, Rule, SoFar, Verdict};
use crate::wants;

/// The rule of a trigger for the judgement of one watch.
pub(crate) fn rule(trigger: &Trigger, metric: &Metric, watch: &Watch, interval: Duration) -> Rule {
    let (window, interval) = match metric.comparison {
        // Its samples come one step apart.
        Some(_) => (metric.window + trigger.hold, interval.max(metric.step)),
        None => (metric.window, interval),
    };
    Rule {
        hold: trigger.row(),
        step: metric.step,
        window,
        interval,
        deploy_at: watch.at,
        since_deploy: wants::names_since_deploy(metric),
    }
}

/// The expression before the deploy was read. A value is kept, and never asked for again; that there is none is kept
/// until there is one: the data may come back later (design, R7).
pub(crate) fn baseline_read(draft: &mut Draft<'_>, deploy: &DeployId, name: &TriggerName, answers: &Answers) {
    let Some((_, known, _, metric)) = watched(draft, deploy, name) else { return };
    let usable = answers.all().all(|answer| matches!(answer, Answer::Series(_)));
    if !usable {
        return;
    }
    let baseline = trigger::baseline(metric, answers);
    let is_news = known.baseline.is_none_or(|known| known.value.is_none() && baseline.value.is_some());
    if is_news {
        draft.watch_record(WatchRecord::BaselineKept { trigger: name.clone(), baseline });
    }
}

fn watched<'d, 'a>(
    draft: &'d Draft<'a>,
    deploy: &DeployId,
    name: &TriggerName,
) -> Option<(&'d Watch, TriggerWatch, &'a Trigger, &'a Metric)> {
    let watch = draft.own().watch.as_ref().filter(|watch| &watch.deploy == deploy)?;
    let known = *watch.triggers.get(name)?;
    let service: &'a Service = draft.service;
    let trigger = service.trigger(name)?;
    let Observed::Metric(metric) = &trigger.observed else { return None };
    Some((watch, known, trigger, metric))
}

/// What a look at a trigger brought.
pub(crate) struct Seen<'a> {
    pub(crate) answers: &'a Answers,
    pub(crate) besides: &'a [Answers],
    pub(crate) answered_until: Option<Timestamp>,
    pub(crate) so_far: Option<&'a SoFar>,
    pub(crate) more_until: Option<Timestamp>,
}

impl Seen<'_> {
    /// The points at the slots and besides them, in the order of time. What is missing besides the slots is no gap:
    /// nobody has promised it.
    fn points(&self, metric: &Metric, limit: Option<f64>) -> Vec<Point> {
        let mut points = trigger::looks(metric, limit, self.answers);
        for answers in self.besides {
            let said = trigger::looks(metric, limit, answers).into_iter().filter(|point| !point.look.is_blind());
            points.extend(said);
        }
        if !self.besides.is_empty() {
            // Stable: of two at one instant the slot's own comes first, and stays.
            points.sort_by_key(|point| point.at);
            points.dedup_by_key(|point| point.at);
        }
        points
    }
}

/// The queries of a trigger came back.
pub(crate) fn looked(draft: &mut Draft<'_>, deploy: &DeployId, name: &TriggerName, seen: &Seen<'_>) {
    let Some((watch, known, trigger, metric)) = watched(draft, deploy, name) else { return };
    let generation = draft.config.generation;
    if seen.so_far.is_some_and(|so_far| so_far.generation != generation || metric.comparison.is_some()) {
        // What came before was judged by another config, or as a whole: only the whole window says what it is.
        return;
    }
    let limit = trigger::limit(metric, known.baseline.as_ref());
    let points = points(watch, &known, metric, limit, seen);
    let rule = rule(trigger, metric, watch, draft.config.evaluation_interval);
    let until = watch.until;
    let (answered_until, more_until) = (seen.answered_until, seen.more_until);
    let mut verdict = trigger::judge_piece(&rule, known.arming, seen.so_far, &points, answered_until, more_until);
    verdict.so_far = verdict.so_far.filter(|_| metric.comparison.is_none());
    if let Some(so_far) = &mut verdict.so_far {
        so_far.generation = generation;
    }
    // A piece that leads no further is judged as it is: else nobody would learn that the watch is blind.
    if more_until.is_some() && verdict.so_far.as_ref() != seen.so_far {
        draft.verdict = Some(verdict.so_far_alone());
        return;
    }
    draft.verdict = Some(verdict);
    turn(draft, name, &known, &verdict);
    if let Some(fired) = verdict.fired.filter(|fired| fired.breach_at <= until) {
        let observation = Observation {
            trigger: name.clone(),
            origin: Origin::Metric,
            breach_at: fired.breach_at,
            observed_at: fired.observed_at(rule.hold),
            value: Some(fired.value),
            limit,
            note: None,
        };
        rollback::fire(draft, trigger, observation);
    }
    if trigger.action != Action::Shadow {
        tell_humans(draft, trigger, &verdict);
    }
    settle(draft, name, metric, &verdict);
    if let Some(said) = verdict.said.filter(|_| draft.own().open_firings().next().is_some()) {
        match said.look {
            Look::Clear(_) => proof::trigger_clear(draft, name, &clear_row(&rule, &points, said.at)),
            Look::Breach(_) => proof::trigger_breaching(draft, name, said.at),
            Look::LowTraffic | Look::NoTraffic | Look::NoData | Look::Error | Look::Partial => {}
        }
    }
}

/// What there was since the last breach before this instant, at which it was clear. Not further back than looks are apart:
/// where it was not looked at for longer, nobody could see, and the clock goes on until somebody does.
fn clear_row(rule: &Rule, points: &[Point], at: Timestamp) -> ClearRow {
    let (before, _) = points.split_at(points.partition_point(|point| point.at <= at));
    let is_breach = |point: &&Point| matches!(point.look, Look::Breach(_));
    let broke_at = before.iter().rfind(is_breach).map(|point| point.at).filter(|at| *at > rule.deploy_at);
    let begin = broke_at.unwrap_or(rule.deploy_at).max(at - rule.between_looks() - Duration::from_millis(1));
    let clear = before.iter().filter(|point| point.at > begin && matches!(point.look, Look::Clear(_)));
    ClearRow { broke_at, instants: clear.map(|point| point.at).collect() }
}

/// The look at each slot, by the limit or by comparison.
fn points(watch: &Watch, known: &TriggerWatch, metric: &Metric, limit: Option<f64>, seen: &Seen<'_>) -> Vec<Point> {
    if let Some(comparison) = &metric.comparison {
        let scene = Scene {
            deploy_at: watch.at,
            healthy_before: watch.healthy_before,
            until: watch.until,
            version: &watch.version,
            target: watch.target.as_ref().map(|target| &target.version),
            arming: known.arming,
        };
        return comparison::looks(metric, comparison, &scene, seen.answers);
    }
    let mut points = seen.points(metric, limit);
    if metric.baseline_window().is_some() && known.baseline.is_none() {
        not_compared(&mut points);
    }
    points
}

/// The baseline was not read yet, so that no value could be compared: that is a failed look, and not missing data.
fn not_compared(points: &mut [Point]) {
    for point in points.iter_mut().filter(|point| point.look == Look::NoData) {
        point.look = Look::Error;
    }
}

/// Journals what a trigger turned to, where it did.
fn turn(draft: &mut Draft<'_>, name: &TriggerName, known: &TriggerWatch, verdict: &Verdict) {
    let turn = match verdict.said.map(|said| said.look) {
        _ if verdict.blind => Turn::Blind,
        Some(Look::Breach(_)) => verdict.said_breaching_since.map_or(known.turn, |since| Turn::Breaching { since }),
        Some(Look::Clear(_)) => Turn::Clear,
        Some(Look::LowTraffic | Look::NoTraffic) => Turn::LowTraffic,
        Some(Look::NoData | Look::Error | Look::Partial) | None => known.turn,
    };
    let seen_clear = verdict.clear_at.is_some();
    if turn != known.turn || verdict.arming != known.arming || (seen_clear && !known.seen_clear) {
        let value = verdict.latest.and_then(|latest| latest.look.value());
        let trigger = name.clone();
        draft.watch_record(WatchRecord::Turned { trigger, turn, arming: verdict.arming, seen_clear, value });
    }
}

fn tell_humans(draft: &mut Draft<'_>, trigger: &Trigger, verdict: &Verdict) {
    let Some(watch) = &draft.own().watch else { return };
    if verdict.blind && !watch.blind_paged {
        let summary = format!(
            "{}: the watch of {} is blind: {} has had no answer for {BLIND_INTERVALS} intervals; nothing is rolled back for that",
            draft.name(),
            watch.version,
            trigger.name
        );
        page::about_watch(draft, PageReason::Blind, &trigger.name, summary);
    } else if !verdict.blind && watch.blind_paged && watch.triggers.values().all(|known| known.turn != Turn::Blind) {
        page::resolve_watch_pages_for(draft, PageReason::Blind);
    }
    let Some(watch) = &draft.own().watch else { return };
    let told = watch.triggers.get(&trigger.name).is_none_or(|known| known.did_not_help);
    if verdict.did_not_help && !told {
        let summary = format!(
            "{}: {} was breaching before {} was deployed and still is: the deploy did not help",
            draft.name(),
            trigger.name,
            watch.version
        );
        page::about_watch(draft, PageReason::DidNotHelp, &trigger.name, summary);
    }
}

/// The last slot of the watch was answered: this trigger keeps the watch open no longer, unless it is breaching.
fn settle(draft: &mut Draft<'_>, name: &TriggerName, metric: &Metric, verdict: &Verdict) {
    let Some(watch) = &draft.own().watch else { return };
    let last_slot = watch.until.floor(metric.step);
    let answered = verdict.answered_until.is_some_and(|until| until >= last_slot)
        || verdict.latest.is_some_and(|latest| latest.at >= last_slot && !latest.look.is_blind());
    let settled = watch.triggers.get(name).is_some_and(|known| known.settled);
    if answered && !settled {
        draft.watch_record(WatchRecord::Settled { trigger: name.clone() });
    }
}

/// When the watch ends by time alone: not while a firing of its deploy or a breach keeps it open; upon its end where
/// all last looks have come, and else when they are overdue. Nobody looked before the start, so that after a restart
/// they are overdue as long after that.
pub(crate) fn ends_at(config: &Config, service: &Service, own: &ServiceState) -> Option<Timestamp> {
    let watch = own.watch.as_ref()?;
    if own.open_firings().any(|firing| is_about(firing, watch)) {
        return None;
    }
    let mut live = live_triggers(service, watch);
    // A breach that began after the end can't fire any more, so that it has nothing to keep the watch open for.
    let open = |known: &TriggerWatch| matches!(known.turn, Turn::Breaching { since } if since <= watch.until);
    if live.clone().any(|known| known.arming == Arming::Armed && open(known)) {
        return None;
    }
    let since = config.looking_since.unwrap_or(watch.until).max(watch.until);
    let overdue_at = since + config.evaluation_interval * BLIND_INTERVALS;
    Some(if live.all(|known| known.settled) { watch.until } else { overdue_at })
}

fn is_about(firing: &Firing, watch: &Watch) -> bool {
    firing.deploy.as_ref().is_some_and(|deploy| deploy.id == watch.deploy)
}

/// Ends the watch where its time is over and nothing keeps it open.
pub(crate) fn end_if_due(draft: &mut Draft<'_>) {
    let Some(watch) = draft.own().watch.as_ref().filter(|watch| watch.until <= draft.now) else { return };
    if ends_at(draft.config, draft.service, draft.own()).is_none_or(|at| at > draft.now) {
        return;
    }
    let firings = draft.own().firings.iter().filter(|firing| is_about(firing, watch));
    let end = how_it_ended(firings, live_triggers(draft.service, watch));
    page::resolve_watch_pages(draft);
    draft.watch_record(WatchRecord::Ended { end });
}

/// The metric triggers that count for the end: those of the config that are no shadows.
fn live_triggers<'a>(service: &'a Service, watch: &'a Watch) -> impl Iterator<Item = &'a TriggerWatch> + Clone {
    let counts = |trigger: &&Arc<Trigger>| trigger.action != Action::Shadow;
    service.triggers.iter().filter(counts).filter_map(|trigger| watch.triggers.get(&trigger.name))
}

fn how_it_ended<'a>(
    firings: impl Iterator<Item = &'a Firing>,
    mut live: impl Iterator<Item = &'a TriggerWatch> + Clone,
) -> WatchEnd {
    let mut dismissed = false;
    for firing in firings {
        match &firing.stage {
            Stage::Ended { result: FiringEnd::Dismissed, .. } => dismissed = true,
            Stage::Ended { .. }
            | Stage::Veto { .. }
            | Stage::Paged { .. }
            | Stage::Rolling
            | Stage::Verifying { .. } => {
                return WatchEnd::Paged;
            }
        }
    }
    if dismissed {
        return WatchEnd::Dismissed;
    }
    if live.clone().any(|known| !known.settled || known.turn == Turn::Blind) {
        return WatchEnd::Blind;
    }
    let healthy = |known: &TriggerWatch| {
        known.seen_clear && known.arming != Arming::Disarmed && !matches!(known.turn, Turn::Breaching { .. })
    };
    if !live.all(healthy) {
        return WatchEnd::Unproven;
    }
    WatchEnd::Passed
}
