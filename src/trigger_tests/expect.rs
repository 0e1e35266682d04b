//! What must be true at a time, and whether it is.
//!
//! Never changes the replay that it looks at.

use std::collections::BTreeSet;
use std::time::Duration;

use rollbackd_core::config::node::Place;
use rollbackd_core::firing::Firing;
use rollbackd_core::name::{PagerName, PathName, ServiceName, TriggerName, Version};
use rollbackd_core::page::Page;
use rollbackd_core::record::{PageRecord, Record};
use rollbackd_core::replay::Replay;
use rollbackd_core::time::{Timestamp, show_duration};
use rollbackd_core::view::{self, ServiceView, TriggerView};

use super::production::Production;
use super::report::Mismatch;

/// The state of every trigger while no watch is open. `status` says `clear` then, which would let a test that looks too late
/// pass for one that saw health.
pub(super) const NOT_WATCHED: &str = "not_watched";

/// What must be true at one time.
pub(super) struct Expectation {
    pub(super) at: Duration,
    pub(super) place: Place,
    pub(super) claims: Vec<Claim>,
}

/// One thing that must be true.
pub(super) enum Claim {
    /// The state of a trigger, as `status` shows it.
    State(TriggerName, &'static str),
    /// When, by the data, a trigger fired.
    ObservedAt(TriggerName, Duration),
    /// The paths that were started by then, in their order.
    Runs(Vec<PathName>),
    /// The same, as what they run.
    Commands(Vec<String>),
    /// Who was paged by then.
    Pages(BTreeSet<PagerName>),
    /// For what, in the order of the first page of each.
    PageReasons(Vec<&'static str>),
    /// How the last firing ended, or that it is open.
    Outcome(&'static str),
    /// How the last watch ended.
    Last(&'static str),
    /// What the watch is doing.
    Watch(&'static str),
    /// The version that would be returned to.
    Target(Version),
}

/// A replay at the instant that is looked at.
pub(super) struct Seen<'a> {
    pub(super) replay: &'a Replay<Production>,
    pub(super) service: &'a ServiceName,
    pub(super) start: Timestamp,
}

impl Claim {
    /// What differs, where anything does.
    pub(super) fn check(&self, seen: &Seen<'_>) -> Option<Mismatch> {
        let (what, expected, got, detail) = match self {
            Self::State(name, expected) => seen.state(name, expected),
            Self::ObservedAt(name, expected) => {
                let got = seen.observed_at(name).map_or("not observed".to_owned(), show_duration);
                (format!("trigger {name} observed_at"), show_duration(*expected), got, String::new())
            }
            Self::Runs(expected) => {
                let got = seen.attempts().map(|attempt| attempt.path.to_string()).collect();
                plain("runs", listed(expected.iter()), list(got))
            }
            Self::Commands(expected) => {
                let got = seen.attempts().map(|attempt| attempt.shown.clone()).collect();
                plain("commands", listed(expected.iter()), list(got))
            }
            Self::Pages(expected) => {
                let opened = seen.pages().flat_map(|page| &page.pagers);
                let got: BTreeSet<&PagerName> = opened.chain(seen.escalated_to()).collect();
                plain("pages", listed(expected.iter()), listed(got.into_iter()))
            }
            Self::PageReasons(expected) => {
                let mut got: Vec<&str> = Vec::new();
                for reason in seen.pages().map(|page| page.reason.word()) {
                    if !got.contains(&reason) {
                        got.push(reason);
                    }
                }
                plain("page_reasons", listed(expected.iter()), listed(got.iter()))
            }
            Self::Outcome(expected) => plain("outcome", (*expected).to_owned(), seen.outcome()),
            Self::Last(expected) => plain("last", (*expected).to_owned(), seen.last()),
            Self::Watch(expected) => plain("watch", (*expected).to_owned(), seen.watch()),
            Self::Target(expected) => {
                let got = seen.view().and_then(|view| view.target).map_or("none".to_owned(), |known| known.to_string());
                plain("target", expected.to_string(), got)
            }
        };
        (expected != got).then(|| Mismatch { what, expected, got: got + &detail })
    }
}

type Compared = (String, String, String, String);

fn plain(what: &str, expected: String, got: String) -> Compared {
    (what.to_owned(), expected, got, String::new())
}

fn listed(items: impl Iterator<Item = impl ToString>) -> String {
    list(items.map(|item| item.to_string()).collect())
}

fn list(items: Vec<String>) -> String {
    format!("[{}]", items.join(", "))
}

impl Seen<'_> {
    fn view(&self) -> Option<ServiceView> {
        let replay = self.replay;
        view::service(replay.config(), replay.state(), replay.board(), self.service, replay.now())
    }

    fn state(&self, name: &TriggerName, expected: &str) -> Compared {
        let view = self.view().filter(|view| view.watch.is_some());
        let trigger = view.and_then(|view| view.triggers.into_iter().find(|trigger| &trigger.name == name));
        let (got, detail) = match trigger {
            Some(trigger) => (trigger.state.to_owned(), self.detail(&trigger)),
            None => (NOT_WATCHED.to_owned(), String::new()),
        };
        (format!("trigger {name} state"), expected.to_owned(), got, detail)
    }

    /// What helps to see why: the value against its limit, since when.
    fn detail(&self, trigger: &TriggerView) -> String {
        let since = |at: Timestamp| show_duration(at.since(self.start));
        let mut told = Vec::new();
        if let Some(value) = trigger.value {
            told.push(trigger.limit.map_or(format!("value {value}"), |limit| format!("value {value}, limit {limit}")));
        }
        told.extend(trigger.breaching_since.map(|at| format!("breaching since {}", since(at))));
        told.extend(trigger.observed_at.map(|at| format!("observed at {}", since(at))));
        if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
    }

    fn firings(&self) -> impl Iterator<Item = &Firing> {
        self.replay.firings().iter().map(|(_, firing)| firing)
    }

    fn attempts(&self) -> impl Iterator<Item = &rollbackd_core::firing::Attempt> {
        self.firings().flat_map(|firing| &firing.attempts)
    }

    fn observed_at(&self, name: &TriggerName) -> Option<Duration> {
        let own = self.firings().filter(|firing| &firing.trigger == name).map(|firing| firing.observed_at);
        let joined = self.firings().flat_map(|firing| &firing.joined).filter(|(joined, _)| joined == name);
        let shadowed = self.view().and_then(|view| {
            view.triggers.iter().find(|trigger| &trigger.name == name).and_then(|trigger| trigger.observed_at)
        });
        let first = own.chain(joined.map(|(_, at)| *at)).chain(shadowed).min()?;
        Some(first.since(self.start))
    }

    fn page_records(&self) -> impl Iterator<Item = &PageRecord> {
        self.replay.story().iter().filter_map(|line| match &line.record {
            Record::Page(record) => Some(record),
            Record::Fired(_)
            | Record::Firing { .. }
            | Record::Ledger(_)
            | Record::Watch(_)
            | Record::Rehearsal(_)
            | Record::Frozen { .. }
            | Record::Thawed => None,
        })
    }

    fn pages(&self) -> impl Iterator<Item = &Page> {
        self.page_records().filter_map(|record| match record {
            PageRecord::Opened { page } => Some(page.as_ref()),
            PageRecord::Delivered { .. }
            | PageRecord::Acknowledged { .. }
            | PageRecord::Escalated { .. }
            | PageRecord::Resolved { .. } => None,
        })
    }

    /// The pagers of further levels, which were told where nobody acknowledged in time.
    fn escalated_to(&self) -> impl Iterator<Item = &PagerName> {
        let levels = self.page_records().filter_map(|record| match record {
            PageRecord::Escalated { pagers, .. } => Some(pagers),
            PageRecord::Opened { .. }
            | PageRecord::Delivered { .. }
            | PageRecord::Acknowledged { .. }
            | PageRecord::Resolved { .. } => None,
        });
        levels.flatten()
    }

    fn outcome(&self) -> String {
        let last = self.firings().last().map(|firing| view::firing(self.service, firing));
        last.map_or("none", |firing| firing.outcome.unwrap_or("open")).to_owned()
    }

    fn last(&self) -> String {
        let last = self.view().and_then(|view| view.last);
        // As the API says it.
        let word = last.and_then(|last| serde_json::to_value(last).ok());
        word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_else(|| "no watch has ended".to_owned())
    }

    fn watch(&self) -> String {
        self.view().and_then(|view| view.watch).map_or("none", |watch| watch.state).to_owned()
    }
}
