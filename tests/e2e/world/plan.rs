//! A config for the daemon: the reference trigger list and its paths, scaled down from minutes to seconds.
//!
//! Never differs from what a person would write but in length: it is written as JSON, which is YAML too.

use std::path::Path;

use serde_json::{Value, json};

use super::World;
use super::github::GitHub;
use super::ports::free_port;

/// A config to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    config: Value,
}

impl Plan {
    pub(crate) fn reference(world: &World) -> Self {
        let token_file = world.place("github-token");
        std::fs::write(&token_file, GitHub::TOKEN).expect("a token file");
        let config = json!({
            "prometheus": {"url": world.prometheus.url(), "timeout": "2s"},
            "evaluation_interval": "500ms",
            "listen": format!("127.0.0.1:{}", free_port()),
            "state_dir": world.place("state"),
            "receipts_dir": world.receipts_dir(),
            "pagers": [{"name": "oncall", "webhook": {"url": world.pager.url("/hook/page")}}],
            "services": [{
                "name": super::SERVICE,
                "watch": "60s",
                "page": ["oncall"],
                "version_query": "app_build_info{service=\"capstone-api\"}",
                // Most tests tell of their deploys, and are about what follows.
                "watch_version": false,
                "triggers": [triggers::error_rate()],
                "paths": [],
                "smoke": {"url": format!("{}/healthz", world.production.url())},
                "side_effects": "none",
            }],
        });
        let mut plan = Self { config };
        plan.paths([plan.pipeline(world, &[])]);
        plan
    }

    /// The path `pipeline` as a command: the example's own `deploy`, which reports the attempt to production.
    pub(crate) fn pipeline(&self, world: &World, arguments: &[&str]) -> Value {
        let mut command = vec![
            super::capstone_api().display().to_string(),
            "deploy".to_owned(),
            "--to".to_owned(),
            world.production.url().to_owned(),
            "--service={{ service }}".to_owned(),
        ];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        command.push("{{ target.version }}".to_owned());
        json!({"name": "pipeline", "timeout": "20s", "command": command})
    }

    /// The path `github`: a dispatch of the pipeline at the stand-in for GitHub.
    pub(crate) fn github(&self, world: &World) -> Value {
        self.github_at(world, &world.github)
    }

    /// The same at another stand-in.
    pub(crate) fn github_at(&self, world: &World, github: &GitHub) -> Value {
        json!({"name": "github", "timeout": "25s", "github_actions": {
            "api_url": github.url(), "repo": "acme/capstone-api", "workflow": "deploy.yml", "ref": "main",
            "inputs": {"image_tag": "{{ target.version }}"}, "token_file": world.place("github-token"),
            "correlation_input": "correlation_id", "poll_interval": "200ms",
        }})
    }

    /// Replaces the trigger list of the (first) service.
    pub(crate) fn triggers(&mut self, triggers: impl IntoIterator<Item = Value>) {
        self.service("triggers", triggers.into_iter().collect());
    }

    /// Replaces the paths of the (first) service.
    pub(crate) fn paths(&mut self, paths: impl IntoIterator<Item = Value>) {
        self.service("paths", paths.into_iter().collect());
    }

    /// Sets a key of the (first) service.
    pub(crate) fn service(&mut self, key: &str, value: Value) {
        self.config["services"][0][key] = value;
    }

    /// Sets a key at the top level.
    pub(crate) fn top(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    /// The (first) service `several` times, as `svc-1` and on, all with the shared triggers alone.
    pub(crate) fn several(&mut self, several: u16, shared: impl IntoIterator<Item = Value>) {
        let pattern = self.config["services"][0].clone();
        let services = (1..=several).map(|number| {
            let name = format!("svc-{number}");
            let mut service = pattern.clone();
            service["version_query"] = json!(format!("app_build_info{{service=\"{name}\"}}"));
            let smoke = service["smoke"]["url"].as_str().unwrap_or_default().to_owned();
            service["smoke"] = json!({"url": format!("{smoke}?service={name}")});
            service["name"] = json!(name);
            if let Some(service) = service.as_object_mut() {
                service.remove("triggers");
            }
            service
        });
        self.config["services"] = services.collect();
        self.config["triggers"] = shared.into_iter().collect();
    }

    /// The same plan for another service of the world, with folders and a pager's route of its own.
    pub(crate) fn moved_to(&self, service: &str, dir: &Path, page_to: &str) -> Self {
        let text = self.config.to_string().replace(super::SERVICE, service);
        let mut plan = Self { config: serde_json::from_str(&text).expect("JSON") };
        let smoke = plan.config["services"][0]["smoke"]["url"].as_str().unwrap_or_default().to_owned();
        plan.service("smoke", json!({"url": format!("{smoke}?service={service}")}));
        plan.top("listen", json!(format!("127.0.0.1:{}", free_port())));
        plan.top("state_dir", json!(dir.join("state")));
        plan.top("receipts_dir", json!(dir.join("receipts")));
        plan.top("pagers", json!([{"name": "oncall", "webhook": {"url": page_to}}]));
        plan
    }

    /// Sets a key of one of several services.
    pub(crate) fn of(&mut self, name: &str, key: &str, value: Value) {
        let services = self.config["services"].as_array_mut().expect("services");
        let service = services.iter_mut().find(|service| service["name"] == name).expect("a service of the plan");
        service[key] = value;
    }

    /// Where the daemon will listen.
    pub(crate) fn listen(&self) -> &str {
        self.config["listen"].as_str().expect("an address")
    }

    /// The config file.
    pub(crate) fn yaml(&self) -> String {
        serde_json::to_string_pretty(&self.config).expect("JSON")
    }
}

/// The triggers of the reference list: minutes are seconds here, and what stands behind each number stays.
pub(crate) mod triggers {
    use serde_json::{Value, json};

    /// The requests per second with these matchers, without which they are all.
    fn requests(matchers: &str) -> String {
        format!("sum(rate(http_requests_total{{service=\"capstone-api\"{matchers}}}[4s]))")
    }

    /// 5xx rate > 5% for 3 s, budget 30 s.
    pub(crate) fn error_rate() -> Value {
        json!({
            "name": "error-rate", "bad": requests(",code=~\"5..\""), "total": requests(""),
            "above": "5%", "for": "3s", "budget": "30s",
        })
    }

    /// p99 latency > 2x baseline for 3 s, budget 40 s.
    pub(crate) fn p99_latency() -> Value {
        let buckets = "sum by (le) (rate(http_request_duration_seconds_bucket{service=\"capstone-api\"}[4s]))";
        json!({
            "name": "p99-latency", "expr": format!("histogram_quantile(0.99, {buckets})"),
            "above": "2x baseline", "baseline": {"window": "8s"}, "for": "3s", "budget": "40s",
        })
    }

    /// A smoke test that fails in the pipeline: a report, budget 20 s.
    pub(crate) fn smoke_test() -> Value {
        json!({"name": "smoke-test", "observed": "report", "budget": "20s"})
    }

    /// Login broken: a human says so and a human approves, budget 50 s.
    pub(crate) fn login_broken() -> Value {
        json!({"name": "login-broken", "observed": "report", "budget": "50s", "action": "page"})
    }

    /// Data corruption: a page, never a rollback, no budget.
    pub(crate) fn data_corruption() -> Value {
        json!({
            "name": "data-corruption", "observed": "report", "action": "page", "rollback": "never",
            "note": "Expand-contract; see RUNBOOK.md#migrations",
        })
    }

    /// The error rate of all services in one query, told apart by the label `service`.
    pub(crate) fn shared_error_rate() -> Value {
        json!({
            "name": "error-rate",
            "bad": "sum by (service) (rate(http_requests_total{code=~\"5..\"}[4s]))",
            "total": "sum by (service) (rate(http_requests_total[4s]))",
            "above": "5%", "for": "3s", "budget": "30s",
        })
    }

    /// The error rate of each service by its own query.
    pub(crate) fn error_rate_of_service() -> Value {
        let requests =
            |matchers: &str| format!("sum(rate(http_requests_total{{service=\"{{{{ service }}}}\"{matchers}}}[4s]))");
        json!({
            "name": "error-rate", "bad": requests(",code=~\"5..\""), "total": requests(""),
            "above": "5%", "for": "3s", "budget": "30s",
        })
    }

    /// p99 latency > 1 s of each service by its own query: an expression, which can't tell a clean service from none.
    pub(crate) fn slow_of_service() -> Value {
        let buckets = "sum by (le) (rate(http_request_duration_seconds_bucket{service=\"{{ service }}\"}[4s]))";
        json!({
            "name": "slow", "expr": format!("histogram_quantile(0.99, {buckets})"),
            "above": 1, "for": "3s", "budget": "40s",
        })
    }
}
