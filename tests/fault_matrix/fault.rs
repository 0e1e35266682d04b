//! The rows: what is wrong with Prometheus or with its data, for how long, and how it is brought about.
//!
//! Never makes up an answer where the real thing can be had: a restart ends the process, NaN and stale are scraped.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::world::{Fault as Spoilt, Proxy, Relay, World};

/// How much longer than the fault a healthy watch goes on: what was missed has time to show.
const LONGER: Duration = Duration::from_secs(50);

/// How long a fault lasts that is not said to take longer: more than any `for`, `veto` and path of the matrix.
const USUAL: Duration = Duration::from_secs(28);

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// As the document names it.
    pub(crate) name: &'static str,
    /// How it is brought about.
    pub(crate) kind: Kind,
    /// When it is over.
    pub(crate) lasts: Lasts,
}

/// How a fault is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The proxy spoils answers.
    Answers(Spoilt),
    /// The proxy refuses connections.
    Refused,
    /// The proxy resets connections.
    Reset,
    /// Prometheus is ended with this signal, and started again with its data: it has scraped nothing meanwhile.
    Ended(Signal),
    /// The service exposes NaN.
    NotANumber,
    /// The service exposes its traffic no longer.
    SeriesGone,
    /// The target can't be scraped any more: Prometheus marks its series as stale.
    TargetDown,
}

/// When a fault is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// As soon as every watch has paged that it is blind: long before a `for` is over that was running.
    UntilBlind,
    /// After this time, once everything has happened that goes on without Prometheus.
    AtLeast(Duration),
}

impl Fault {
    /// All rows, in the order of the document.
    pub(crate) fn all() -> Vec<Self> {
        let usual = |name, kind| Self { name, kind, lasts: Lasts::AtLeast(USUAL) };
        let answers = |name, spoilt| usual(name, Kind::Answers(spoilt));
        let short = |name, kind| Self { name, kind, lasts: Lasts::UntilBlind };
        let ended = |name, seconds| Self {
            name,
            kind: Kind::Ended(Signal::TERM),
            lasts: Lasts::AtLeast(Duration::from_secs(seconds)),
        };
        vec![
            answers("slower than `timeout`", Spoilt::Slow),
            usual("connections refused", Kind::Refused),
            usual("connections reset", Kind::Reset),
            answers("HTTP 500", Spoilt::InternalError),
            answers("HTTP 502 from a balancer", Spoilt::BadGateway),
            answers("HTTP 503, query gave up", Spoilt::Unavailable),
            answers("truncated JSON", Spoilt::Truncated),
            answers("partial: `warnings`", Spoilt::Warns),
            answers("partial: `isPartial`", Spoilt::Partial),
            answers("success without series", Spoilt::Empty),
            usual("NaN scraped", Kind::NotANumber),
            usual("stale: series gone", Kind::SeriesGone),
            usual("stale: target down", Kind::TargetDown),
            short("refused, back in the middle of a `for`", Kind::Refused),
            short("killed, back in the middle of a `for`", Kind::Ended(Signal::KILL)),
            ended("restarted, down for 40 s", 40),
            ended("restarted, down for 300 s", 300),
        ]
    }

    /// How long it lasts at least.
    pub(crate) const fn least(&self) -> Duration {
        match self.lasts {
            Lasts::UntilBlind => Duration::ZERO,
            Lasts::AtLeast(time) => time,
        }
    }

    /// The `watch` of the services: long enough that it ends well after the fault.
    pub(crate) fn watch(&self) -> Duration {
        self.least() + LONGER
    }

    /// Whether Prometheus itself has everything of the time of the fault, once it is over.
    pub(crate) const fn data_is_kept(&self) -> bool {
        match self.kind {
            Kind::Answers(_) | Kind::Refused | Kind::Reset => true,
            Kind::Ended(_) | Kind::NotANumber | Kind::SeriesGone | Kind::TargetDown => false,
        }
    }

    /// What the service exposes besides while it lasts.
    pub(crate) fn exposed(&self) -> serde_json::Value {
        match self.kind {
            Kind::NotANumber => json!({"nan": true}),
            Kind::SeriesGone => json!({"hide_metrics": true}),
            Kind::Answers(_) | Kind::Refused | Kind::Reset | Kind::Ended(_) | Kind::TargetDown => json!({}),
        }
    }

    /// Begins, but for what the services expose.
    pub(crate) async fn begin(&self, world: &mut World, proxy: &mut Proxy, services: &[String]) {
        match self.kind {
            Kind::Answers(spoilt) => services.iter().for_each(|service| proxy.spoil(service, spoilt)),
            Kind::Refused => proxy.refuse().await,
            Kind::Reset => proxy.reset().await,
            Kind::Ended(Signal::KILL) => world.prometheus.kill().await,
            Kind::Ended(_) => world.prometheus.stop().await,
            Kind::TargetDown => relay(world).cut().await,
            Kind::NotANumber | Kind::SeriesGone => {}
        }
    }

    /// Ends, but for what the services expose.
    pub(crate) async fn end(&self, world: &mut World, proxy: &mut Proxy, services: &[String]) {
        match self.kind {
            Kind::Answers(_) => services.iter().for_each(|service| proxy.mend(service)),
            Kind::Refused | Kind::Reset => proxy.accept().await,
            Kind::Ended(_) => world.prometheus.start_again().await,
            Kind::TargetDown => relay(world).mend().await,
            Kind::NotANumber | Kind::SeriesGone => {}
        }
    }
}

fn relay(world: &mut World) -> &mut Relay {
    world.relay.as_mut().expect("a world with a relay")
}
