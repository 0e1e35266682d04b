//! A month of one service in Prometheus: versions, requests and latencies as they would have been scraped, made into
//! blocks by promtool.
//!
//! Samples lie 7 s beside the slots, so that no window has a sample at its very edge: Prometheus 2 and 3 agree then.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use rollbackd_core::time::Timestamp;

use crate::world::Program;

/// From scrape to scrape, in seconds.
pub(crate) const SCRAPE: i64 = 15;

/// Requests between two scrapes.
const REQUESTS: i64 = 1000;

/// Scrapes lie so many seconds after a slot.
const OFFSET: i64 = 7;

/// How far around a deploy requests are recorded: a baseline's hour, a watch twice, and a bit.
const BEFORE: i64 = 4000;
const AFTER: i64 = 4500;

/// What requests do for a time: from, until (seconds after the deploy), and how many of 1000 fail and are slow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// So many of 1000 fail.
    Fail(i64, i64, i64),
    /// So many of 1000 take more than half a second.
    Slow(i64, i64, i64),
    /// Nothing is scraped but the version.
    Gap(i64, i64),
}

/// One deploy: when (a slot, in seconds), which version, and what happens around it.
#[derive(Clone, Debug)]
pub(crate) struct Deploy {
    pub(crate) at: i64,
    pub(crate) version: String,
    pub(crate) troubles: Vec<Trouble>,
}

impl Deploy {
    pub(crate) fn new(at: i64, version: &str, troubles: &[Trouble]) -> Self {
        Self { at, version: version.to_owned(), troubles: troubles.to_vec() }
    }

    /// The slot at which `version_query` first shows it.
    pub(crate) fn seen_at(&self) -> String {
        Timestamp::from_milliseconds((self.at + SCRAPE) * 1000).to_string()
    }

    fn during(&self, scrape: i64, of: impl Fn(&Trouble) -> Option<(i64, i64, i64)>) -> i64 {
        let after = scrape - self.at;
        // The scrape right after a change still tells of the time before it.
        let within =
            |(from, until, share): (i64, i64, i64)| (after > from + SCRAPE && after <= until + SCRAPE).then_some(share);
        self.troubles.iter().filter_map(of).filter_map(within).max().unwrap_or(0)
    }

    fn fails(&self, scrape: i64) -> i64 {
        self.during(scrape, |trouble| match trouble {
            Trouble::Fail(from, until, share) => Some((*from, *until, *share)),
            Trouble::Slow(..) | Trouble::Gap(..) => None,
        })
    }

    fn slow(&self, scrape: i64) -> i64 {
        self.during(scrape, |trouble| match trouble {
            Trouble::Slow(from, until, share) => Some((*from, *until, *share)),
            Trouble::Fail(..) | Trouble::Gap(..) => None,
        })
    }

    fn is_gap(&self, scrape: i64) -> bool {
        let after = scrape - self.at;
        let gap = |trouble: &Trouble| matches!(trouble, Trouble::Gap(from, until) if (*from..*until).contains(&after));
        self.troubles.iter().any(gap)
    }
}

/// The slot at or before an instant, in seconds.
pub(crate) const fn slot(second: i64) -> i64 {
    second - second.rem_euclid(60)
}

/// Writes what was scraped as OpenMetrics text. A deploy's troubles last over the deploys right after it.
pub(crate) fn write(file: &Path, from: i64, until: i64, deploys: &[Deploy]) {
    let mut text = String::from("# TYPE app_build info\n");
    versions(&mut text, from, until, deploys);
    let (mut failed, mut total, mut slow) = (0, 0, 0);
    let mut lines: [Vec<String>; 2] = [Vec::new(), Vec::new()];
    let near = |scrape: i64| deploys.iter().filter(move |deploy| (-BEFORE..AFTER).contains(&(scrape - deploy.at)));
    let mut scrape = from + OFFSET;
    while scrape < until {
        if near(scrape).next().is_some() {
            total += REQUESTS;
            failed += near(scrape).map(|deploy| deploy.fails(scrape)).max().unwrap_or(0);
            slow += near(scrape).map(|deploy| deploy.slow(scrape)).max().unwrap_or(0);
            if !near(scrape).any(|deploy| deploy.is_gap(scrape)) {
                lines[0].push(requests(scrape, failed, total));
                lines[1].push(latencies(scrape, slow, total));
            }
        }
        scrape += SCRAPE;
    }
    text.push_str("# TYPE http_requests counter\n");
    lines[0].iter().for_each(|line| text.push_str(line));
    text.push_str("# TYPE http_request_duration_seconds histogram\n");
    lines[1].iter().for_each(|line| text.push_str(line));
    text.push_str("# EOF\n");
    fs::write(file, text).unwrap();
}

fn versions(text: &mut String, from: i64, until: i64, deploys: &[Deploy]) {
    let ends = deploys.iter().map(|deploy| deploy.at).chain([until]);
    let begins = std::iter::once((from, "v1")).chain(deploys.iter().map(|deploy| (deploy.at, deploy.version.as_str())));
    for ((begin, version), end) in begins.zip(ends) {
        let mut scrape = begin + OFFSET;
        while scrape < end {
            let _ = writeln!(text, "app_build_info{{service=\"capstone-api\",version=\"{version}\"}} 1 {scrape}");
            // A version that has been there for an hour is scraped more seldom, to keep the file small.
            scrape += if scrape - begin < 3600 || end - scrape < 3600 { SCRAPE } else { 60 };
        }
    }
}

fn requests(at: i64, failed: i64, total: i64) -> String {
    format!(
        "http_requests_total{{service=\"capstone-api\",code=\"200\"}} {} {at}\n\
         http_requests_total{{service=\"capstone-api\",code=\"500\"}} {failed} {at}\n",
        total - failed
    )
}

/// All but the slow take between 0.1 and 0.25 s; the slow take between 0.5 and 1 s.
fn latencies(at: i64, slow: i64, total: i64) -> String {
    let quick = total - slow;
    let buckets = [("0.1", 0), ("0.25", quick), ("0.5", quick), ("1.0", total), ("+Inf", total)];
    let bucket = |(le, count): (&str, i64)| {
        format!("http_request_duration_seconds_bucket{{service=\"capstone-api\",le=\"{le}\"}} {count} {at}\n")
    };
    buckets.map(bucket).concat()
}

/// Makes blocks of the text, and starts Prometheus with them.
pub(crate) fn serve(dir: &Path, arguments: &[&str]) -> Program {
    fs::write(dir.join("prometheus.yml"), "global: {}\n").unwrap();
    if !dir.join("data").exists() {
        // A block of two hours for each two hours would have the text read hundreds of times.
        let blocks = ["tsdb", "create-blocks-from", "--max-block-duration=480h", "openmetrics", "history.om", "data"];
        let made = Command::new("promtool").args(blocks).current_dir(dir).output().expect("promtool is installed");
        assert!(made.status.success(), "{made:?}");
    }
    let mut command = Command::new("prometheus");
    command.current_dir(dir).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
    command.args(["--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0"]).args(arguments);
    let program = Program::start(&mut command, "\"Listening on\" address=");
    wait_until_ready(&program);
    program
}

/// It listens before it has loaded its data, and then answers 503.
fn wait_until_ready(program: &Program) {
    let url = format!("{}/-/ready", program.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ready = async {
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    rollbackd::http_client::install_crypto();
    runtime.block_on(async { tokio::time::timeout(crate::world::PATIENCE, ready).await }).expect("Prometheus is ready");
}
