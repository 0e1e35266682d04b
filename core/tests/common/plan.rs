//! The reference trigger list of the design as a config, without any file.

use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::config::{
    Action, AtLeast, AutomaticLimit, Condition, Config, FleetGuard, Limit, Metric, Mode, Observed, PathRule, Query,
    RehearsalRule, RunPart, Service, Trigger,
};
use rollbackd_core::name::PagerName;
use rollbackd_core::template::Template;

use super::{duration, path, service, trigger};

/// The service that most tests are about.
pub(crate) const SHOP: &str = "capstone-api";

/// A template out of its text.
pub(crate) fn template(text: &str) -> Template {
    Template::parse(text).expect("a template")
}

/// A limit as a plain number.
pub(crate) const fn fixed(value: f64) -> Limit {
    Limit::Fixed { value, shown_as_percentage: false }
}

/// The metric of `error-rate`: `bad` over `total`, above 5 %, with a least traffic of 20.
pub(crate) fn error_rate(interval: Duration, hold: Duration) -> Metric {
    Metric {
        query: Query::Ratio { bad: template("bad"), total: template("total") },
        condition: Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true }),
        at_least: Some(AtLeast { expr: template("traffic"), value: 20.0 }),
        window: duration("1m"),
        freshness: None,
        step: Metric::step(hold, interval),
        comparison: None,
    }
}

/// The metric of `p99-latency`: above twice the baseline of an hour.
pub(crate) fn p99_latency(interval: Duration, hold: Duration) -> Metric {
    Metric {
        query: Query::Expression(template("p99")),
        condition: Condition::Above(Limit::TimesBaseline { factor: 2.0, window: duration("1h") }),
        at_least: None,
        window: duration("1m"),
        freshness: None,
        step: Metric::step(hold, interval),
        comparison: None,
    }
}

/// A trigger that a metric observes, with a budget, rolling back.
pub(crate) fn metric_trigger(name: &str, metric: Metric, hold: &str, budget: &str) -> Trigger {
    Trigger {
        name: trigger(name),
        observed: Observed::Metric(std::sync::Arc::new(metric)),
        hold: duration(hold),
        budget: Some(duration(budget)),
        action: Action::Rollback,
        never_roll_back: false,
        veto: Duration::ZERO,
        note: None,
        shared: None,
    }
}

/// A trigger that reports observe.
pub(crate) fn report_trigger(name: &str, budget: Option<&str>, action: Action) -> Trigger {
    Trigger {
        name: trigger(name),
        observed: Observed::Report,
        hold: Duration::ZERO,
        budget: budget.map(duration),
        action,
        never_roll_back: false,
        veto: Duration::ZERO,
        note: None,
        shared: None,
    }
}

/// A path that puts the version to return to (and the revision, where asked) into its run.
pub(crate) fn rollback_path(name: &str, timeout: &str, value: &str) -> PathRule {
    PathRule {
        name: path(name),
        timeout: duration(timeout),
        repeatable: false,
        kind: "command",
        run: vec![
            RunPart { name: String::new(), value: template("deploy") },
            RunPart { name: String::new(), value: template(value) },
        ],
        leaves_behind: None,
        pipeline_files: Vec::new(),
    }
}

/// The reference service.
pub(crate) fn reference_service(name: &str, interval: Duration) -> Service {
    let error_rate = error_rate(interval, duration("2m"));
    let p99 = p99_latency(interval, duration("5m"));
    let mut corruption = report_trigger("data-corruption", None, Action::Page);
    corruption.never_roll_back = true;
    corruption.note = Some("Expand-contract; see RUNBOOK.md#migrations".to_owned());
    Service {
        name: service(name),
        watch: duration("30m"),
        page: vec![vec![PagerName::new("oncall").expect("a pager name")]],
        escalate_after: None,
        announce: Vec::new(),
        version_query: Some(template("app_build_info")),
        watch_version: true,
        triggers: vec![
            metric_trigger("error-rate", error_rate, "2m", "5m").into(),
            metric_trigger("p99-latency", p99, "5m", "10m").into(),
            report_trigger("smoke-test", Some("3m"), Action::Rollback).into(),
            report_trigger("login-broken", Some("10m"), Action::Page).into(),
            corruption.into(),
        ],
        paths: vec![
            rollback_path("pipeline", "4m", "{{ target.version }}").into(),
            rollback_path("console", "2m", "--to-revisions={{ target.revision }}=100").into(),
        ],
        smoke: Some("http://127.0.0.1:8080/healthz".to_owned()),
        automatic_limit: AutomaticLimit::default(),
        side_effects: None,
        rehearsal: Some(Box::new(RehearsalRule {
            deploy_bad: path("pipeline"),
            every: duration("720h"),
            timeout: duration("30m"),
            bad_versions: Vec::new(),
        })),
    }
}

/// The reference config: one service, looked at every 15 seconds.
pub(crate) fn reference() -> Config {
    fleet(&[SHOP])
}

/// The reference config with these services.
pub(crate) fn fleet(names: &[&str]) -> Config {
    let interval = duration("15s");
    Config {
        mode: Mode::Live,
        evaluation_interval: interval,
        fleet_guard: Some(FleetGuard { services: 3, within: duration("10m") }),
        services: names.iter().map(|name| (service(name), reference_service(name, interval).into())).collect(),
        ..Config::default()
    }
}

/// The service of this config that most tests are about, to be changed.
pub(crate) fn shop(config: &mut Config) -> &mut Service {
    Arc::make_mut(config.services.get_mut(SHOP).expect("the reference service"))
}

/// A trigger of that service, to be changed.
pub(crate) fn shop_trigger<'a>(config: &'a mut Config, name: &str) -> &'a mut Trigger {
    let mut triggers = shop(config).triggers.iter_mut();
    Arc::make_mut(triggers.find(|trigger| trigger.name.as_str() == name).expect("a trigger of the config"))
}

/// A path of that service, to be changed.
pub(crate) fn shop_path<'a>(config: &'a mut Config, name: &str) -> &'a mut PathRule {
    let mut paths = shop(config).paths.iter_mut();
    Arc::make_mut(paths.find(|path| path.name.as_str() == name).expect("a path of the config"))
}
