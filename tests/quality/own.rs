//! The reference list, stepped by the daemon's own core over a deploy of the corpus.

use std::collections::BTreeMap;

use rollbackd_core::config::{Config, Mode, Observed, Query};
use rollbackd_core::deploy::Migration;
use rollbackd_core::event::{DeployReport, Serving};
use rollbackd_core::name::{ServiceName, Version};
use rollbackd_core::reading::{Answer, Answers, Series};
use rollbackd_core::replay::{Ask, Replay, Source};
use rollbackd_core::time::Timestamp;

use crate::corpus::{AFTER, Deploy};
use crate::samples::Shown;

/// The window of the reference list's queries.
const WINDOW: i64 = 60_000;

/// `config/rollbackd.yml`, in which nothing is touched.
pub(crate) fn reference() -> Config {
    let text = std::fs::read_to_string("config/rollbackd.yml").unwrap();
    let (settings, problems) = rollbackd::config::parse(&text);
    let config = settings.unwrap_or_else(|| panic!("{problems:?}")).core;
    for trigger in config.services.values().flat_map(|service| &service.triggers) {
        if let Observed::Metric(metric) = &trigger.observed {
            assert_eq!(
                i64::try_from(metric.window.as_millis()),
                Ok(WINDOW),
                "{}: the corpus knows no other window",
                trigger.name
            );
        }
    }
    Config { mode: Mode::DryRun, ..config }
}

/// The corpus as Prometheus would show it to the reference list.
struct Corpus<'a> {
    deploy: &'a Deploy,
    shown: BTreeMap<i64, Shown>,
}

impl Corpus<'_> {
    fn shown(&mut self, at: i64) -> Shown {
        *self.shown.entry(at).or_insert_with(|| Shown::of(&self.deploy.scrapes, at, WINDOW))
    }
}

impl Source for Corpus<'_> {
    fn answers(&mut self, ask: &Ask<'_>) -> Answers {
        let step = ask.metric.step;
        let mut answers = Answers {
            from: ask.from,
            to: ask.to,
            step,
            value: Answer::Series(Vec::new()),
            total: None,
            at_least: None,
            presence: None,
            freshness: None,
        };
        // Asked at the last slot: what is not answered then is asked again with the next.
        if !self.deploy.answers(ask.to.milliseconds()) {
            let failed = || Answer::Failed("connection refused".to_owned());
            answers.value = failed();
            answers.total = matches!(ask.metric.query, Query::Ratio { .. }).then(failed);
            answers.at_least = ask.metric.at_least.as_ref().map(|_| failed());
            return answers;
        }
        let (mut value, mut total, mut at_least) = (Vec::new(), Vec::new(), Vec::new());
        for at in answers.slots() {
            let shown = self.shown(at.milliseconds());
            match ask.metric.query {
                Query::Ratio { .. } => {
                    value.extend(shown.bad.map(|bad| (at, bad)));
                    total.extend(shown.total.map(|total| (at, total)));
                }
                Query::Expression(_) => value.extend(shown.p99.map(|p99| (at, p99))),
                Query::Filter { .. } => panic!("the reference list has no filter"),
            }
            at_least.extend(shown.total.map(|total| (at, total * WINDOW as f64 / 1000.0)));
        }
        let series = |samples: Vec<(Timestamp, f64)>| {
            let series = (!samples.is_empty()).then(|| Series { samples, ..Series::default() });
            Answer::Series(series.into_iter().collect())
        };
        answers.value = series(value);
        answers.total = matches!(ask.metric.query, Query::Ratio { .. }).then(|| series(total));
        answers.at_least = ask.metric.at_least.as_ref().map(|_| series(at_least));
        answers
    }

    fn serving(&mut self, _: &ServiceName, at: Timestamp, not: Option<&Version>) -> Option<Serving> {
        let version = if at.milliseconds() < self.deploy.at { "v1" } else { "v2" };
        let version = Version::new(version).ok()?;
        (Some(&version) != not).then_some(Serving { version, revision: None, since: at })
    }
}

/// When the list would have rolled back, in seconds after the deploy; `None` where it would not have.
pub(crate) fn rolls_back(config: &Config, deploy: &Deploy) -> Option<f64> {
    let at = Timestamp::from_milliseconds(deploy.at);
    let service = config.services.keys().next()?.clone();
    let mut replay = Replay::new(config.clone(), Corpus { deploy, shown: BTreeMap::new() }, at);
    let report = DeployReport {
        version: Version::new("v2").ok()?,
        previous: Some(Version::new("v1").ok()?),
        commit: None,
        migration: Migration::None,
        run_url: None,
        at: Some(at),
        key: None,
    };
    replay.deploy(&service, report);
    replay.run_until(Timestamp::from_milliseconds(deploy.at + AFTER - 60_000));
    assert_eq!(replay.fault(), None);
    let (_, firing) = replay.firings().iter().find(|(_, firing)| !firing.would_run.is_empty())?;
    Some(firing.decided_at.since(at).as_secs_f64())
}
