//! What the points up to a slot add up to, so that judging can go on from there without asking for them again.
//!
//! Never holds what may still change: the newest points are left out, since their samples may not all have come in.

use super::{Arming, Fired, Rule, Verdict};
use crate::reading::{Look, Point};
use crate::time::Timestamp;

/// Points of the last so many intervals may still change, as samples come late: a watch that has seen nothing for as
/// long is blind.
pub const SETTLES_AFTER_INTERVALS: u32 = super::BLIND_INTERVALS;

/// What the points up to a slot add up to. It holds for one deploy and one config only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoFar {
    /// The last slot that it stands for.
    pub until: Timestamp,
    /// The first of its slots that had no answer.
    gap_at: Option<Timestamp>,
    /// The first of its slots at which nothing counted any traffic: that is an answer, until samples come late.
    uncounted_at: Option<Timestamp>,
    /// The config's by which they were judged.
    pub generation: u32,
    seen_at: Option<Timestamp>,
    arming: Arming,
    breaching_since: Option<Timestamp>,
    said_breaching_since: Option<Timestamp>,
    clear_at: Option<Timestamp>,
    fired: Option<Fired>,
    did_not_help: bool,
}

/// The same of slots in which nothing breached, has fired or did not help: so it is with nearly all of a fleet, and it
/// takes half the memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Calm {
    until: Timestamp,
    gap_at: Option<Timestamp>,
    uncounted_at: Option<Timestamp>,
    generation: u32,
    seen_at: Option<Timestamp>,
    arming: Arming,
    clear_at: Option<Timestamp>,
}

impl From<Calm> for SoFar {
    fn from(calm: Calm) -> Self {
        let Calm { until, gap_at, uncounted_at, generation, seen_at, arming, clear_at } = calm;
        Self {
            until,
            gap_at,
            uncounted_at,
            generation,
            seen_at,
            arming,
            breaching_since: None,
            said_breaching_since: None,
            clear_at,
            fired: None,
            did_not_help: false,
        }
    }
}

impl SoFar {
    /// The same, where it is calm.
    pub(crate) fn calm(self) -> Option<Calm> {
        let Self { until, gap_at, uncounted_at, generation, seen_at, arming, clear_at, .. } = self;
        let calm = Calm { until, gap_at, uncounted_at, generation, seen_at, arming, clear_at };
        (Self::from(calm) == self).then_some(calm)
    }

    /// The first of its slots that may be filled in later, and so has to be asked for again at times.
    #[must_use]
    pub fn open_at(&self) -> Option<Timestamp> {
        self.gap_at.into_iter().chain(self.uncounted_at).min()
    }

    /// Whether a slot had no answer.
    pub(super) const fn has_gap(&self) -> bool {
        self.gap_at.is_some()
    }

    /// The last of its points that said something.
    pub(super) const fn seen_at(&self) -> Option<Timestamp> {
        self.seen_at
    }

    /// Puts a verdict where judging these points has led to. A trigger that has fired since stays spent.
    pub(super) fn resume(&self, arming: Arming, verdict: &mut Verdict) {
        let spent = arming == Arming::Spent;
        verdict.arming = if spent { Arming::Spent } else { self.arming };
        verdict.breaching_since = self.breaching_since;
        verdict.said_breaching_since = self.said_breaching_since;
        verdict.clear_at = self.clear_at;
        verdict.fired = self.fired.filter(|_| !spent);
        verdict.did_not_help = self.did_not_help;
    }
}

/// Follows a judgement from point to point.
pub(super) struct Follows {
    so_far: Option<SoFar>,
    settled_until: Option<Timestamp>,
    answered_before: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    gap_at: Option<Timestamp>,
    uncounted_at: Option<Timestamp>,
}

impl Follows {
    /// A look that failed as a whole says nothing about its slots, so that nothing is added by it.
    pub(super) fn new(
        rule: &Rule,
        so_far: Option<&SoFar>,
        points: &[Point],
        answered_before: Option<Timestamp>,
        more_until: Option<Timestamp>,
    ) -> Self {
        let failed = points.iter().all(|point| matches!(point.look, Look::Error | Look::Partial));
        let latest = points.last().filter(|_| !failed).map(|point| more_until.unwrap_or(point.at));
        Self {
            so_far: so_far.copied(),
            settled_until: latest.map(|at| at - rule.interval * SETTLES_AFTER_INTERVALS),
            answered_before,
            seen_at: so_far.and_then(|known| known.seen_at),
            gap_at: so_far.and_then(|known| known.gap_at),
            uncounted_at: so_far.and_then(|known| known.uncounted_at),
        }
    }

    /// A point was judged.
    pub(super) fn take(&mut self, rule: &Rule, point: Point, verdict: &Verdict) {
        let is_missing = point.look.is_blind() && self.answered_before.is_none_or(|until| point.at > until);
        if !is_missing {
            self.seen_at = Some(point.at);
        }
        if is_missing && !rule.since_deploy {
            self.gap_at.get_or_insert(point.at);
        }
        if point.look == Look::NoTraffic && !rule.since_deploy {
            self.uncounted_at.get_or_insert(point.at);
        }
        let is_slot = point.at.floor(rule.step) == point.at;
        if !is_slot || verdict.arming == Arming::Unknown || self.settled_until.is_none_or(|until| point.at > until) {
            return;
        }
        self.so_far = Some(SoFar {
            until: point.at,
            gap_at: self.gap_at,
            uncounted_at: self.uncounted_at,
            generation: 0,
            seen_at: self.seen_at,
            arming: verdict.arming,
            breaching_since: verdict.breaching_since,
            said_breaching_since: verdict.said_breaching_since,
            clear_at: verdict.clear_at,
            fired: verdict.fired,
            did_not_help: verdict.did_not_help,
        });
    }

    /// What it has come to.
    pub(super) const fn so_far(self) -> Option<SoFar> {
        self.so_far
    }
}
