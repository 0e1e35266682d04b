//! Whether rates and quantiles are those of Prometheus: the same samples in a real one, the same questions.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use rollbackd::http_client::HttpSettings;
use rollbackd::prometheus::Prometheus;
use rollbackd_core::reading::Answer;
use rollbackd_core::time::Timestamp;

use crate::corpus::{self, Deploy, Kind};
use crate::history;
use crate::samples::{BOUNDS, Shown};

const STEP: i64 = 15_000;

/// The samples of some deploys as OpenMetrics text, told apart by a label.
fn text(deploys: &[Deploy]) -> String {
    let mut text = "# TYPE requests counter\n".to_owned();
    let second = |at: i64| format!("{}.{:03}", at / 1000, at % 1000);
    for (index, deploy) in deploys.iter().enumerate() {
        for scrape in &deploy.scrapes {
            let at = second(scrape.at);
            let _ = writeln!(text, "requests_total{{deploy=\"{index}\",code=\"500\"}} {} {at}", scrape.bad);
            let _ = writeln!(text, "requests_total{{deploy=\"{index}\",code=\"any\"}} {} {at}", scrape.total);
        }
    }
    text.push_str("# TYPE seconds histogram\n");
    for (index, deploy) in deploys.iter().enumerate() {
        for scrape in &deploy.scrapes {
            for (bound, count) in BOUNDS.iter().zip(scrape.buckets) {
                let bound = if bound.is_infinite() { "+Inf".to_owned() } else { format!("{bound:?}") };
                let at = second(scrape.at);
                let _ = writeln!(text, "seconds_bucket{{deploy=\"{index}\",le=\"{bound}\"}} {count} {at}");
            }
        }
    }
    text + "# EOF\n"
}

#[test]
fn rates_and_quantiles_are_those_of_a_real_prometheus() {
    let kinds = [Kind::ScrapeGaps, Kind::LowTraffic, Kind::LatencyOnly, Kind::FailsUnseen];
    let deploys: Vec<Deploy> = kinds.into_iter().map(|kind| corpus::deploy(kind, 3)).collect();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("history.om"), text(&deploys)).unwrap();
    let program = history::serve(dir.path(), &[]);
    let settings = HttpSettings::with_timeout(Duration::from_secs(30));
    let prometheus = Prometheus::new(&program.url(), &settings, Duration::from_secs(300)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut compared = 0;
    for (index, deploy) in deploys.iter().enumerate() {
        let from = (deploy.at - 3_600_000).div_euclid(STEP) * STEP;
        let to = from + 5_400_000;
        let ask = |query: String| -> Vec<(i64, f64)> {
            let (from, to) = (Timestamp::from_milliseconds(from), Timestamp::from_milliseconds(to));
            let step = Duration::from_millis(STEP.unsigned_abs());
            match runtime.block_on(prometheus.range(&query, from, to, step)) {
                Answer::Series(series) => series
                    .into_iter()
                    .flat_map(|each| each.samples)
                    .map(|(at, value)| (at.milliseconds(), value))
                    .collect(),
                Answer::Partial(why) | Answer::Failed(why) => panic!("{why}"),
            }
        };
        let bad = ask(format!("sum(rate(requests_total{{deploy=\"{index}\",code=\"500\"}}[1m]))"));
        let total = ask(format!("sum(rate(requests_total{{deploy=\"{index}\",code=\"any\"}}[1m]))"));
        let p99 =
            ask(format!("histogram_quantile(0.99, sum by (le) (rate(seconds_bucket{{deploy=\"{index}\"}}[1m])))"));
        let slots = || (from..=to).step_by(15_000);
        let ours = |value: &dyn Fn(&Shown) -> Option<f64>| -> Vec<(i64, f64)> {
            slots().filter_map(|at| Some((at, value(&Shown::of(&deploy.scrapes, at, 60_000))?))).collect()
        };
        for (what, theirs, ours) in [
            ("bad", bad, ours(&|shown| shown.bad)),
            ("total", total, ours(&|shown| shown.total)),
            ("p99", p99, ours(&|shown| shown.p99)),
        ] {
            assert_eq!(theirs.len(), ours.len(), "{what} of {}", deploy.kind.name());
            for ((at, their), (our_at, our)) in theirs.into_iter().zip(ours) {
                let same = (their.is_nan() && our.is_nan()) || (their - our).abs() <= 1e-9 * their.abs().max(1.0);
                assert!(at == our_at && same, "{what} of {} at {at}: {their} there, {our} here", deploy.kind.name());
                compared += 1;
            }
        }
    }
    assert!(compared > 3000, "only {compared} were compared");
}
