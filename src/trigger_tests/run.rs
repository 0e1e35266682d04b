//! One test: the replay stepped through what happens, and looked at where something is expected.
//!
//! Never reads a clock: every test begins at the same instant.

use rollbackd_core::config::{Config, Mode};
use rollbackd_core::event::{About, DeployReport, Happening, Reply};
use rollbackd_core::firing::Firing;
use rollbackd_core::name::{FiringId, TriggerName};
use rollbackd_core::replay::Replay;
use rollbackd_core::time::Timestamp;

use super::expect::{Expectation, Seen};
use super::file::{Step, Test, What};
use super::production::Production;
use super::report::{Failure, Mismatch, TestReport};

/// When every test begins: 2000-01-01T00:00:00Z, a multiple of every step that divides a day.
const START_MILLISECONDS: i64 = 946_684_800_000;

/// Runs one test.
pub(super) fn run(config: &Config, test: &Test) -> TestReport {
    let mut run = Run::begin(config, test);
    let mut steps = test.steps.iter().peekable();
    for expectation in &test.expectations {
        while let Some(step) = steps.next_if(|step| step.at <= expectation.at) {
            run.step(step);
        }
        run.look(expectation);
    }
    steps.for_each(|step| run.step(step));
    run.end()
}

struct Run<'a> {
    test: &'a Test,
    start: Timestamp,
    replay: Replay<Production>,
    failures: Vec<Failure>,
}

impl<'a> Run<'a> {
    fn begin(config: &Config, test: &'a Test) -> Self {
        let start = Timestamp::from_milliseconds(START_MILLISECONDS);
        let mut production = Production::new(start, test.interval, test.shown.clone(), test.paths.clone());
        if let Some(running) = &test.running {
            production.serve(running.clone(), start);
        }
        // Paths run, in the test's own production, and nobody is paged by it.
        let mut config = Config { mode: Mode::Live, ..config.clone() };
        config.services.retain(|name, _| name == &test.service);
        Self { test, start, replay: Replay::new(config, production, start), failures: Vec::new() }
    }

    fn step(&mut self, step: &Step) {
        self.replay.run_until(self.start + step.at);
        match self.happening(&step.what) {
            Ok(happening) => {
                if let Err(why) = taken(&self.replay.tell(&self.test.service, happening)) {
                    self.fail(step, why);
                }
            }
            Err(why) => self.fail(step, why),
        }
        let watch = self.replay.state().services.get(&self.test.service).and_then(|own| own.watch.as_ref());
        let target = watch.and_then(|watch| watch.target.as_ref()).map(|target| target.version.clone());
        if target.is_some() {
            self.replay.source().aim(target);
        }
    }

    fn happening(&mut self, what: &What) -> Result<Happening, String> {
        Ok(match what {
            What::Deploy { version, previous, commit, migration } => {
                let now = self.replay.now();
                self.replay.source().serve(version.clone(), now);
                Happening::Deployed(DeployReport {
                    version: version.clone(),
                    previous: previous.clone(),
                    commit: commit.clone(),
                    migration: *migration,
                    run_url: None,
                    at: Some(now),
                    key: None,
                })
            }
            What::Report { trigger, note } => {
                Happening::Reported { trigger: trigger.clone(), note: note.clone(), about: About::default() }
            }
            What::Approve { trigger } => Happening::Approved { firing: self.open_firing(trigger)? },
            What::Dismiss { trigger, why } => {
                Happening::Dismissed { firing: self.open_firing(trigger)?, why: why.clone() }
            }
            What::Freeze { duration, why } => Happening::Frozen { duration: *duration, why: why.clone() },
            What::Thaw => Happening::Thawed,
        })
    }

    fn open_firing(&self, trigger: &TriggerName) -> Result<FiringId, String> {
        let is_meant = |firing: &&Firing| firing.is_open() && &firing.trigger == trigger;
        let found = self.replay.firings().iter().map(|(_, firing)| firing).find(is_meant);
        found.map(|firing| firing.id.clone()).ok_or_else(|| format!("no firing of {trigger} is open"))
    }

    fn look(&mut self, expectation: &Expectation) {
        self.replay.run_until(self.start + expectation.at);
        let seen = Seen { replay: &self.replay, service: &self.test.service, start: self.start };
        let mismatches: Vec<Mismatch> = expectation.claims.iter().filter_map(|claim| claim.check(&seen)).collect();
        let failure = |mismatch| Failure { place: expectation.place, at: Some(expectation.at), mismatch };
        self.failures.extend(mismatches.into_iter().map(failure));
    }

    fn fail(&mut self, step: &Step, got: String) {
        let mismatch = Mismatch { what: "what happens".to_owned(), expected: "it is taken".to_owned(), got };
        self.failures.push(Failure { place: step.place, at: Some(step.at), mismatch });
    }

    fn end(mut self) -> TestReport {
        if let Some(fault) = self.replay.fault() {
            let expected = "no fault of rollbackd's own: please report this".to_owned();
            let mismatch = Mismatch { what: "the core".to_owned(), expected, got: fault.to_owned() };
            self.failures.push(Failure { place: Default::default(), at: None, mismatch });
        }
        let expectations = self.test.expectations.iter().map(|expectation| expectation.claims.len()).sum();
        TestReport { name: self.test.name.clone(), expectations, failures: self.failures }
    }
}

/// Whether what happened was taken, or why not.
fn taken(reply: &Reply) -> Result<(), String> {
    match reply {
        Reply::None
        | Reply::Deploy(_)
        | Reply::Firing(_)
        | Reply::SameFiring(_)
        | Reply::Rehearsal(_)
        | Reply::Done => Ok(()),
        Reply::SameDeploy(_) => Err("it opened no watch: that version is known to serve already".to_owned()),
        Reply::NotNews(why) => Err(format!("it started nothing: {why}")),
        Reply::Refused(why) => Err(format!("it was refused: {why}")),
    }
}
