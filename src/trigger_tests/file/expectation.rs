//! What must be true at a time.
//!
//! Never looks whether it is.

use rollbackd_core::config::Service;
use rollbackd_core::config::node::{self, Fields, Node, Problems, Value};
use rollbackd_core::name::PagerName;
use rollbackd_core::page::PageReason;

use super::{at, no_such, path, trigger, version};
use crate::trigger_tests::expect::{Claim, Expectation, NOT_WATCHED};

/// The states of a trigger, as `status` shows them, and that nothing watches it.
const STATES: [&str; 8] = ["clear", "breaching", "fired", "low_traffic", "no_data", "error", "disarmed", NOT_WATCHED];
/// How the last firing ended; `open` while it is to end, `none` where there was none.
const OUTCOMES: [&str; 6] = ["recovered", "paged", "dismissed", "not_recovered", "open", "none"];
/// How a watch ends.
const ENDS: [&str; 7] = ["passed", "unproven", "blind", "rolled_back", "superseded", "paged", "dismissed"];
/// What a watch is doing.
const WATCHES: [&str; 6] = ["watching", "firing", "rolling_back", "verifying", "paged", "none"];

pub(super) fn expectation(node: &Node, service: &Service, problems: &mut Problems) -> Option<Expectation> {
    let mut fields = Fields::of(node, "an expectation", problems)?;
    let at = at(&mut fields, problems);
    let mut claims = Vec::new();
    trigger_claims(&mut fields, service, &mut claims, problems);
    if let Some(node) = fields.optional("runs") {
        claims.push(Claim::Runs(one_or_more(node).iter().filter_map(|node| path(node, service, problems)).collect()));
    }
    if let Some(node) = fields.optional("commands") {
        let lines = one_or_more(node).iter().filter_map(|node| node::text(node, problems));
        claims.push(Claim::Commands(lines.map(str::to_owned).collect()));
    }
    if let Some(node) = fields.optional("pages") {
        let pagers = one_or_more(node).iter().filter_map(|node| pager(node, service, problems));
        claims.push(Claim::Pages(pagers.collect()));
    }
    if let Some(node) = fields.optional("page_reasons") {
        let words = PageReason::ALL.map(PageReason::word);
        let reasons = one_or_more(node).iter().filter_map(|node| word(node, &words, problems));
        claims.push(Claim::PageReasons(reasons.collect()));
    }
    let mut take = |key, words: &[&'static str], claim: fn(&'static str) -> Claim, problems: &mut Problems| {
        claims.extend(fields.optional(key).and_then(|node| word(node, words, problems)).map(claim));
    };
    take("outcome", &OUTCOMES, Claim::Outcome, problems);
    take("last", &ENDS, Claim::Last, problems);
    take("watch", &WATCHES, Claim::Watch, problems);
    if let Some(version) = fields.optional("target").and_then(|node| version(node, problems)) {
        claims.push(Claim::Target(version));
    }
    if claims.is_empty() && !problems.any_error() {
        problems.error(node.place, "nothing is expected here: expected `trigger` with `state`, `runs`, `pages`, …");
    }
    fields.finish(problems);
    Some(Expectation { at: at?, place: node.place, claims })
}

/// `trigger` with its `state`, and when it was observed.
fn trigger_claims(fields: &mut Fields<'_>, service: &Service, claims: &mut Vec<Claim>, problems: &mut Problems) {
    let named = fields.optional("trigger");
    let state = fields.optional("state").and_then(|node| word(node, &STATES, problems));
    let observed_at = fields.optional("observed_at").and_then(|node| node::duration(node, problems));
    let Some(node) = named else {
        for key in ["state", "observed_at"].into_iter().filter(|key| fields.has(key)) {
            problems.error(fields.key_place(key), format!("`{key}` needs a `trigger` that it is of"));
        }
        return;
    };
    if !fields.has("state") && !fields.has("observed_at") {
        problems.error(node.place, "expected a `state` of this trigger, or when it is `observed_at`");
    }
    let Some(trigger) = trigger(node, service, problems) else { return };
    claims.extend(state.map(|state| Claim::State(trigger.clone(), state)));
    claims.extend(observed_at.map(|at| Claim::ObservedAt(trigger, at)));
}

/// The items of a list; a single value is a list of one.
fn one_or_more(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null | Value::Scalar { .. } | Value::Map(_) => std::slice::from_ref(node),
    }
}

fn pager(node: &Node, service: &Service, problems: &mut Problems) -> Option<PagerName> {
    let written = node::text(node, problems)?;
    let found = service.page.iter().flatten().find(|pager| pager.as_str() == written);
    if found.is_none() {
        problems.error(
            node.place,
            no_such("pager of the service", written, service.page.iter().flatten().map(PagerName::as_str)),
        );
    }
    found.cloned()
}

fn word(node: &Node, words: &[&'static str], problems: &mut Problems) -> Option<&'static str> {
    let pairs: Vec<(&str, &'static str)> = words.iter().map(|word| (*word, *word)).collect();
    node::choice(node, &pairs, problems)
}
