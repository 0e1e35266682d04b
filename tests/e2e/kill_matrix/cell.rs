//! One cell of the matrix: a daemon with a fault in it lives through a scenario, is started again, and is judged.
//!
//! Never judges by what the daemon says alone: runs are counted where they arrive, pages where they are taken, and
//! records where they lie.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::preload::Fault;
use super::records::{self, Files, kind_of};
use super::scenario::{Act, Scenario, Seen};
use crate::world::{
    Daemon, GitHub, Plan, Receipt, Received, World, assert_observed_by_the_data, instant, wait_until_within,
};

/// The longest that a life takes: a dozen seconds where the machine is idle.
const LONGEST_LIFE: Duration = Duration::from_secs(150);

/// What a cell has shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// What lay in the journal when the daemon was killed; `None` where it never was.
    pub(super) killed_at: Option<Vec<String>>,
    /// The state of the watch then.
    pub(super) state: String,
    /// How many calls on the journal's files the first process made.
    pub(super) calls: u32,
    /// Whether a human had to answer what the scenario does not ask.
    pub(super) human_helped: bool,
    /// The journal's files as the kill left them.
    pub(super) left: Files,
    /// The journal's files as the last stop left them.
    pub(super) stopped: Files,
    /// How often the faulty disk said no.
    pub(super) failed: usize,
    /// Whether the daemon was seen to answer while a sync was held up.
    pub(super) answered_in_a_sync: bool,
}

/// The life of one daemon.
struct Life<'a> {
    world: &'a World,
    scenario: &'static Scenario,
    fault: Fault,
    github: GitHub,
    service: String,
    dir: PathBuf,
    daemon: Daemon,
    killed_at: Option<Vec<String>>,
    left: Files,
    state: String,
    human_helped: bool,
    answered_in_a_sync: bool,
    /// When `v2` was deployed, and when `v1` was again, as they are reported.
    told: BTreeMap<&'static str, String>,
}

/// The service of this number.
pub(super) fn service(number: usize) -> String {
    format!("svc-{number}")
}

/// Lives through a scenario with this fault as service number `number` of the world, and judges it.
pub(super) async fn live(world: Rc<World>, scenario: &'static Scenario, number: usize, fault: Fault) -> Shown {
    let service = service(number);
    let dir = world.place(&service);
    std::fs::create_dir(&dir).expect("a folder of its own");
    let github = GitHub::start_for(world.production.url(), &service).await;
    let plan = plan(&world, scenario, &github, &service, &dir);
    let daemon = Daemon::new(&dir, &plan, scenario.arguments);
    let mut life = Life {
        world: &world,
        scenario,
        fault: fault.clone(),
        github,
        service,
        dir,
        daemon,
        killed_at: None,
        left: Files::new(),
        state: "no watch".to_owned(),
        human_helped: false,
        answered_in_a_sync: false,
        told: BTreeMap::new(),
    };
    if scenario.by_data {
        world.production.versions(&life.service, json!({"v2": {"error_ratio": 0.2}})).await;
    }
    life.daemon.launch_with(&fault.environment(&life.notes()));
    life.live_to_the_end().await;
    life.stop().await;
    life.judge().await
}

/// The scenario's config for this service, with all that it has in this folder.
pub(super) fn plan(world: &World, scenario: &Scenario, github: &GitHub, service: &str, dir: &Path) -> Plan {
    let broken_runs = dir.join("broken-runs").display().to_string();
    let plan = scenario.plan(world, github, &broken_runs);
    plan.moved_to(service, dir, &world.pager.url(&format!("/{service}")))
}

/// A call on the journal's files.
#[derive(Debug)]
struct Call {
    number: u32,
    what: String,
    file: String,
    how: String,
}

impl Call {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(str::to_owned);
        let number = words.next()?.parse().ok()?;
        let (what, file, how) = (words.next()?, words.next()?, words.next()?);
        Some(Self { number, what, file, how })
    }

    fn failed(&self) -> bool {
        self.how == "failed"
    }
}

impl Life<'_> {
    fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn notes(&self) -> PathBuf {
        self.dir.join("calls")
    }

    fn calls(&self) -> Vec<Call> {
        let notes = std::fs::read_to_string(self.notes()).unwrap_or_default();
        notes.lines().filter_map(Call::parse).collect()
    }

    /// While nothing can be written: humans are told, the process lives and says that it is not ready, nothing new runs.
    async fn stands_still(&self, seen: &Seen) -> Result<(), String> {
        let attempts = || std::fs::read_dir(self.state_dir().join("attempts")).map_or(0, Iterator::count);
        let begun = seen.firings.first().and_then(|firing| firing["attempts"].as_array()).map_or(0, Vec::len);
        if self.daemon.status_of("/healthz").await? != 200 || self.daemon.status_of("/readyz").await? != 503 {
            return Err("the daemon does not say that it can't write its journal".to_owned());
        }
        let told = self.received().into_iter().find(Self::is_about_the_journal);
        let told = told.ok_or_else(|| "no page about the journal".to_owned())?;
        assert!(told.body["summary"].as_str().is_some_and(|text| text.contains("can't write its journal")), "{told:?}");
        self.world.looks_on(Duration::from_secs(2)).await;
        assert!(attempts() <= begun, "{} attempts were ordered, {begun} are in the journal", attempts());
        Ok(())
    }

    fn received(&self) -> Vec<Received> {
        let route = format!("/{}", self.service);
        self.world.pager.received().into_iter().filter(|page| page.route == route).collect()
    }

    fn is_about_the_journal(page: &Received) -> bool {
        page.body["dedup_key"].as_str().is_some_and(|key| key.starts_with("rollbackd-journal-not-writable"))
    }

    /// Does what humans do, and starts the daemon again where it was killed, until all is over.
    async fn live_to_the_end(&mut self) {
        let mut left = self.scenario.acts.iter().copied().collect::<std::collections::VecDeque<_>>();
        let what = format!("{} ends on {}", self.scenario.name, self.service);
        wait_until_within(LONGEST_LIFE, &what, async || {
            self.start_where_killed();
            let before = self.calls();
            let Ok(seen) = self.look().await else { return Err("the daemon does not answer".to_owned()) };
            let held_up = |calls: &[Call]| calls.last().is_some_and(|call| call.how == "slow");
            self.answered_in_a_sync |= held_up(&before) && before.len() == self.calls().len();
            if let Some(until) =
                self.fault.until.clone().filter(|until| !until.exists() && before.iter().any(Call::failed))
            {
                self.stands_still(&seen).await?;
                std::fs::write(until, "").expect("the end of the fault");
            }
            while left.front().is_some_and(|act| act.is_done(&seen)) {
                left.pop_front();
            }
            match left.front().copied() {
                Some(act) if act.is_due(&seen) => {
                    let done = self.perform(act, &seen).await;
                    left.drain(..usize::from(done));
                }
                None if self.is_over(&seen) => {
                    assert_eq!(seen.view["last"].as_str().unwrap_or_default(), self.scenario.last, "{}", seen.view);
                    return Ok(());
                }
                // Whatever the daemon could not find out by itself, it asks about.
                _ if seen.firing() == "paged" => {
                    self.human_helped = true;
                    self.perform(Act::Approve, &seen).await;
                }
                _ => {}
            }
            Err(format!("{left:?}: {} {:?}", seen.view, seen.firings))
        })
        .await;
    }

    fn is_over(&self, seen: &Seen) -> bool {
        seen.is_over(self.scenario.last.is_empty())
    }

    fn start_where_killed(&mut self) {
        if self.daemon.runs() {
            let Some(status) = self.daemon.ended() else { return };
            self.note_kill(status.signal());
        }
        self.daemon.launch();
    }

    fn note_kill(&mut self, signal: Option<i32>) {
        let log = self.daemon.log();
        assert_eq!(signal, Some(Signal::KILL.as_raw()), "{} ended otherwise: {log}", self.service);
        assert!(self.killed_at.is_none(), "killed twice: {log}");
        let bodies: Vec<String> = records::lying_in(&self.state_dir()).into_iter().map(|(_, body)| body).collect();
        let acknowledged = records::acknowledged_in(&self.state_dir());
        assert!(acknowledged <= bodies.len(), "{acknowledged} acknowledged, {} there", bodies.len());
        records::state_of(&self.service, &bodies).clone_into(&mut self.state);
        self.left = records::files_in(&self.state_dir());
        self.killed_at = Some(bodies);
    }

    async fn look(&self) -> Result<Seen, String> {
        let view = self.daemon.try_get(&format!("/v1/services/{}", self.service)).await?;
        let firings = self.daemon.try_get("/v1/firings").await?;
        Ok(Seen { view, firings: firings.as_array().cloned().unwrap_or_default() })
    }

    /// Whether Prometheus has seen this version serve.
    async fn is_seen(&self, version: &str) -> bool {
        let query = format!("count(app_build_info{{service=\"{}\",version=\"{version}\"}})", self.service);
        self.world.prometheus.value(&query).await.is_ok_and(|count| count.is_some_and(|count| count > 0.0))
    }

    /// Gives whether it is known to have been taken.
    async fn perform(&mut self, act: Act, seen: &Seen) -> bool {
        let now = rollbackd::clock::now().to_string();
        match act {
            // A version that no scrape has met can't be seen to have been replaced.
            Act::BringBack if !self.is_seen("v2").await => return false,
            Act::BringBack => {
                self.world.production.deploy(&self.service, "v1", "test").await;
                return true;
            }
            Act::Deploy if !self.told.contains_key("v2") => {
                self.world.production.deploy(&self.service, "v2", "test").await;
                self.told.insert("v2", now.clone());
            }
            Act::Announce if !self.told.contains_key("v1") => {
                self.told.insert("v1", now.clone());
            }
            Act::Deploy
            | Act::Report(_)
            | Act::ReportMore(_)
            | Act::Acknowledge
            | Act::Approve
            | Act::Dismiss
            | Act::Freeze
            | Act::FreezeAtLast
            | Act::Thaw
            | Act::Announce => {}
        }
        let version = if act == Act::Announce { "v1" } else { "v2" };
        let at = self.told.get(version).cloned().unwrap_or(now);
        let (route, body) = act.request(&self.service, &at, seen);
        match self.daemon.try_post(&route, body).await {
            Ok(answer) if (200..300).contains(&answer.status) => true,
            // Too late, or not possible now: what is seen next tells.
            Ok(answer) => {
                assert!([409, 503].contains(&answer.status), "{act:?} was refused: {answer:?}");
                false
            }
            Err(_) => false,
        }
    }

    /// Ends the daemon; its last writes may be where it is to be killed.
    async fn stop(&mut self) {
        let status = self.daemon.stop().await;
        if status.success() {
            return;
        }
        self.note_kill(status.signal());
        self.daemon.start().await;
        assert!(self.is_over(&self.look().await.expect("an answer")), "what was over is not over any more");
        assert!(self.daemon.stop().await.success());
    }

    /// What a write or sync failed on may be gone, though the next sync says yes: nothing more is written to the log by
    /// that handle, and nothing counts as acknowledged, before the log is opened again. (A handle that is closed syncs
    /// once more what was there before, and takes that over into the database.)
    fn judge_handles(&self, calls: &[Call]) {
        for (index, failed) in calls.iter().enumerate().filter(|(_, call)| call.failed() && call.file == "log") {
            let until_opened = calls[index + 1..].iter().take_while(|call| call.what != "open" || call.file != "log");
            let relied_on = until_opened.filter(|call| call.what == "write" && call.how == "done");
            let relied_on: Vec<_> = relied_on.filter(|call| ["log", "acknowledged"].contains(&&*call.file)).collect();
            assert!(relied_on.is_empty(), "{}: {relied_on:?} after {failed:?}", self.service);
        }
    }

    async fn judge(&self) -> Shown {
        let calls = self.calls();
        self.judge_handles(&calls);
        for command in [&["journal", "verify"], &["receipts", "verify"]] {
            let all = [command.as_slice(), &["--config", "rollbackd.yml"]].concat();
            let said = self.daemon.command(&all).await;
            assert_eq!(said.code, Some(0), "{command:?}: {said:?}");
        }
        let records = records::lying_in(&self.state_dir());
        let bodies: Vec<&String> = records.iter().map(|(_, body)| body).collect();
        if let Some(before) = &self.killed_at {
            assert!(before.len() <= bodies.len(), "records are lost: {before:#?} {bodies:#?}");
            assert!(before.iter().zip(&bodies).all(|(before, after)| before == *after), "{before:#?} {bodies:#?}");
        }
        self.judge_receipt(&bodies).await;
        self.judge_runs().await;
        self.judge_pages(&bodies);
        Shown {
            killed_at: self.killed_at.clone(),
            state: self.state.clone(),
            calls: calls.iter().map(|call| call.number).max().unwrap_or(0),
            human_helped: self.human_helped,
            left: self.left.clone(),
            stopped: records::files_in(&self.state_dir()),
            failed: calls.iter().filter(|call| call.failed()).count(),
            answered_in_a_sync: self.answered_in_a_sync,
        }
    }

    /// One receipt per firing, numbered without gaps, and its clock is the one that was recorded.
    async fn judge_receipt(&self, bodies: &[&String]) {
        let receipts = Receipt::all(&self.dir.join("receipts"));
        let Some(outcome) = self.scenario.outcome else {
            assert!(receipts.is_empty(), "{receipts:?}");
            return;
        };
        let [receipt] = receipts.as_slice() else { panic!("expected one receipt, found {}", receipts.len()) };
        assert_eq!((receipt.number, receipt.get("outcome")), (1, outcome), "{}", receipt.body);
        let fired: Vec<Value> = bodies
            .iter()
            .filter(|body| kind_of(body) == "fired")
            .map(|body| serde_json::from_str(body).expect("a record"))
            .collect();
        assert_eq!(fired.len(), 1, "{fired:#?}");
        let recorded = &fired[0]["fired"]["observed_at"];
        let observed = instant(receipt, "observed_at");
        assert_eq!(&json!(observed), recorded, "the receipt's clock is another than the one that was recorded");
        if self.scenario.by_data {
            assert_observed_by_the_data(&self.world.prometheus, receipt).await;
        }
        let count = |kind| bodies.iter().filter(|body| kind_of(body) == kind).count();
        assert_eq!((count("firing ended"), count("receipt published")), (1, 1), "{bodies:#?}");
    }

    /// At most one remote run per attempt, and production is where it has to be.
    async fn judge_runs(&self) {
        let deploys = self.world.production.deploys().await;
        let own: Vec<&Value> = deploys.iter().filter(|deploy| deploy["service"] == self.service.as_str()).collect();
        let runs: Vec<&&Value> = own.iter().filter(|deploy| deploy["by"] != "test").collect();
        let versions: Vec<&str> = runs.iter().filter_map(|run| run["version"].as_str()).collect();
        assert_eq!(versions, self.scenario.runs, "{own:#?}");
        assert_eq!(own.last().expect("a deploy")["version"], self.scenario.serves, "{own:#?}");
        let mut attempts: Vec<String> = runs.iter().map(|run| run["attempt"].to_string()).collect();
        let broken = std::fs::read_to_string(self.dir.join("broken-runs")).unwrap_or_default();
        attempts.extend(broken.lines().map(|line| format!("{line:?}")));
        let dispatches = self.github.dispatches();
        attempts.extend(dispatches.iter().map(|body| body["inputs"]["correlation_id"].to_string()));
        let count = attempts.len();
        attempts.sort();
        attempts.dedup();
        assert_eq!(attempts.len(), count, "an attempt ran twice: {attempts:?}");
    }

    /// Every page that was recorded was taken, each time under the same key, and so was the word that it is over.
    fn judge_pages(&self, bodies: &[&String]) {
        let (about_the_journal, received): (Vec<_>, Vec<_>) =
            self.received().into_iter().partition(Self::is_about_the_journal);
        let failed = self.calls().iter().any(Call::failed);
        // A dry run pages nobody (design, R12).
        let told = failed && !self.scenario.arguments.contains(&"--dry-run");
        assert_eq!(told, !about_the_journal.is_empty(), "{about_the_journal:#?}");
        let opened: Vec<Value> = bodies
            .iter()
            .filter(|body| kind_of(body) == "page opened")
            .map(|body| serde_json::from_str(body).expect("a record"))
            .collect();
        for page in &opened {
            let id = page["page"]["page"]["id"].as_str().expect("the id of a page");
            let with =
                |open: bool| received.iter().filter(move |each| each.body["dedup_key"] == id && each.is_open() == open);
            assert!(with(true).count() >= 1 && with(false).count() >= 1, "page {id}: {received:#?}");
            let keys: std::collections::BTreeSet<_> = with(true).map(|each| each.key.clone()).collect();
            assert_eq!(keys.len(), 1, "{keys:?}");
        }
        let known = |each: &Received| opened.iter().any(|page| page["page"]["page"]["id"] == each.body["dedup_key"]);
        assert!(received.iter().all(known), "a page that was never recorded: {received:#?}");
    }
}
