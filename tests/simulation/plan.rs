//! What happens in one world: all of it data, drawn from a seed, so that it can be shown, run again and shrunk.

use fastrand::Rng;

/// How the configs of the worlds differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variant {
    pub(crate) services: usize,
    pub(crate) dry_run: bool,
    pub(crate) version_query: bool,
    /// Versions that nobody has told of yet are deploys.
    pub(crate) watch_version: bool,
    pub(crate) smoke: bool,
    pub(crate) repeatable: bool,
    pub(crate) fleet_guard: bool,
    pub(crate) limit: usize,
    pub(crate) second_pager: bool,
    /// The second pager is told only where nobody acknowledges.
    pub(crate) escalates: bool,
    pub(crate) announces: bool,
    pub(crate) shared: bool,
    pub(crate) veto: bool,
    pub(crate) revision: bool,
}

/// What somebody in front of a pager does, so many milliseconds after the page came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Human {
    Approves { after: u64 },
    ApprovesTwice { after: u64 },
    Dismisses { after: u64 },
    Acknowledges { after: u64 },
    Sleeps,
}

/// What a version does to its service's metrics while it serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Health {
    Good,
    /// A metric shows this value, so long after it began to serve and for so long.
    Bad {
        metric: usize,
        value: f64,
        after: u64,
        lasts: u64,
    },
    /// A metric turns bad and good again and again.
    Flaps {
        metric: usize,
        period: u64,
    },
}

/// What a path does when it is run, in the order in which paths are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// It says done after this time, and the version serves.
    Succeeds(u64),
    /// It says done, and nothing has changed.
    Lies(u64),
    /// It says that it failed, and nothing has changed.
    Fails(u64),
    /// It says that it failed, and the version serves all the same.
    FailsAndChanges(u64),
    /// It never says anything, and changes nothing.
    Hangs,
    /// It is done only after this time, which is longer than its timeout; it can't be stopped.
    SucceedsLate(u64),
    /// It waits for a person at the remote, who comes after this time.
    Waits(u64),
    /// Nobody can say what became of it.
    Vanishes(u64),
}

/// One thing that somebody does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// A version begins to serve, and is reported so many milliseconds later, so many times.
    Deploy {
        service: usize,
        health: Health,
        told_after: u64,
        times: u8,
        with_at: bool,
        breaking: bool,
        keyed: bool,
    },
    /// An earlier version is deployed again.
    DeployAgain {
        service: usize,
        back: usize,
    },
    /// A report that a trigger is observed.
    Report {
        service: usize,
        trigger: &'static str,
    },
    /// Somebody wants a rollback.
    Rollback {
        service: usize,
        path: Option<&'static str>,
    },
    /// A good version is deployed, and once it has passed, somebody rehearses with a bad one, and may stop that.
    Rehearse {
        service: usize,
        health: Health,
        after: u64,
        stopped_after: Option<u64>,
    },
    Freeze {
        service: usize,
        lasts: u64,
    },
    Thaw {
        service: usize,
    },
    /// The config is loaded anew, with other guards.
    Reload {
        limit: usize,
        fleet_guard: bool,
        smoke: bool,
    },
    /// The daemon's clock is set, by so many milliseconds.
    ClockStep(i64),
    /// The daemon is told to stop, and is started again after this time.
    Stop {
        down: u64,
    },
}

impl Act {
    /// Only services that there are.
    fn stay_within(&mut self, services: usize) {
        match self {
            Self::Deploy { service, .. }
            | Self::DeployAgain { service, .. }
            | Self::Report { service, .. }
            | Self::Rollback { service, .. }
            | Self::Rehearse { service, .. }
            | Self::Freeze { service, .. }
            | Self::Thaw { service } => *service %= services,
            Self::Reload { fleet_guard, .. } => *fleet_guard = *fleet_guard && services > 1,
            Self::ClockStep(_) | Self::Stop { .. } => {}
        }
    }
}

/// What is wrong with the outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// Queries fail at once.
    QueriesFail,
    /// Queries come back in part.
    QueriesPartial,
    /// Queries take this long.
    QueriesSlow(u64),
    /// Nothing is scraped: the samples of this time never exist.
    Gap,
    /// The samples of this time come this much later.
    Late(u64),
    /// A metric of a service shows NaN.
    Nan(usize, usize),
    /// A service has hardly any traffic.
    LowTraffic(usize),
    /// A metric of a service shows this value, whatever serves.
    Spike(usize, usize, f64),
    /// A pager takes nothing, or refuses for good.
    PagerDown(usize),
    PagerRefuses(usize),
    /// Who is told of firings takes nothing.
    AnnouncerDown,
    /// The disk of the journal is full.
    DiskFull,
    /// Each write to the journal takes this long.
    DiskSlow(u64),
    /// The folder of the receipts can't be written.
    ReceiptsFail,
    /// The smoke URL answers nothing.
    SmokeFails(usize),
}

/// When the daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kill {
    /// At this meeting of the daemon with the outside: just before something was asked, written or done, or just after.
    Step(u64),
    /// At this time.
    At(u64),
}

/// One world.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) variant: Variant,
    /// When all that people and versions do is done, and what is wrong with the outside is over.
    pub(crate) all_well_at: u64,
    /// How far Prometheus' clock is ahead of the true time.
    pub(crate) prometheus_ahead: i64,
    pub(crate) acts: Vec<(u64, Act)>,
    /// From when, until when, what.
    pub(crate) troubles: Vec<(u64, u64, Trouble)>,
    pub(crate) kills: Vec<(Kill, u64)>,
    pub(crate) humans: Vec<Human>,
    pub(crate) runs: Vec<Run>,
    /// Whether a lookup after a crash can tell that an attempt was never begun.
    pub(crate) lookup_is_sure: bool,
    /// After so many records the journal is compacted.
    pub(crate) compacts_after: u64,
    /// How long each meeting with the outside takes.
    pub(crate) latency: u64,
    /// How many more times each rollback's own deploy is announced, and after how long.
    pub(crate) announced: Vec<u64>,
}

/// The metrics of each service.
pub(crate) const METRICS: [&str; 3] = ["errors", "latency", "saturation"];

/// The triggers that people report.
const REPORTS: [&str; 4] = ["smoke-test", "login-broken", "data-corruption", "smoke-test"];

/// How long things happen in a world.
const LASTS: u64 = 60_000;

fn variant(rng: &mut Rng) -> Variant {
    let services = [1, 1, 1, 2, 2, 3][rng.usize(..6)];
    Variant {
        services,
        dry_run: rng.u8(..16) == 0,
        version_query: rng.u8(..4) != 0,
        smoke: rng.u8(..3) == 0,
        repeatable: rng.u8(..4) == 0,
        fleet_guard: services > 1 && rng.bool(),
        limit: rng.usize(1..4),
        second_pager: rng.u8(..4) == 0,
        escalates: rng.bool(),
        announces: rng.u8(..3) == 0,
        shared: services > 1 && rng.bool(),
        veto: rng.u8(..4) == 0,
        revision: rng.u8(..8) == 0,
        watch_version: rng.u8(..3) == 0,
    }
}

fn health(rng: &mut Rng) -> Health {
    let after = if rng.bool() { 0 } else { rng.u64(..6_000) };
    match rng.u8(..8) {
        0..=2 => Health::Good,
        3..=6 => {
            let metric = rng.usize(..METRICS.len());
            let lasts = if rng.u8(..4) == 0 { rng.u64(1_000..6_000) } else { 1_000_000 };
            Health::Bad { metric, value: 0.06 + rng.f64() * 2.0, after, lasts }
        }
        _ => Health::Flaps { metric: rng.usize(..METRICS.len()), period: rng.u64(700..4_000) },
    }
}

fn run(rng: &mut Rng) -> Run {
    let time = rng.u64(..5_000);
    match rng.u8(..16) {
        0..=6 => Run::Succeeds(time),
        7 => Run::Lies(time),
        8 | 9 => Run::Fails(time),
        10 => Run::FailsAndChanges(time),
        11 => Run::Hangs,
        12 | 13 => Run::SucceedsLate(rng.u64(5_000..12_000)),
        14 => Run::Waits(time),
        _ => Run::Vanishes(time),
    }
}

fn human(rng: &mut Rng) -> Human {
    let after = rng.u64(100..9_000);
    match rng.u8(..8) {
        0..=2 => Human::Approves { after },
        3 => Human::ApprovesTwice { after },
        4 => Human::Dismisses { after },
        5 => Human::Acknowledges { after },
        _ => Human::Sleeps,
    }
}

fn act(rng: &mut Rng, services: usize) -> Act {
    let service = if rng.u8(..3) == 0 { rng.usize(..services) } else { 0 };
    match rng.u8(..28) {
        0..=8 => Act::Deploy {
            service,
            health: health(rng),
            told_after: if rng.u8(..3) == 0 { rng.u64(..4_000) } else { 0 },
            times: [0, 1, 1, 1, 1, 2][rng.usize(..6)],
            with_at: rng.u8(..3) == 0,
            breaking: rng.u8(..8) == 0,
            keyed: rng.bool(),
        },
        9 => Act::DeployAgain { service, back: rng.usize(1..4) },
        10..=13 => Act::Report { service, trigger: REPORTS[rng.usize(..REPORTS.len())] },
        14 | 15 => Act::Rollback { service, path: [None, Some("pipeline"), Some("console")][rng.usize(..3)] },
        16 => Act::Freeze { service, lasts: rng.u64(1_000..20_000) },
        17 => Act::Thaw { service },
        18 => Act::Reload { limit: rng.usize(1..4), fleet_guard: services > 1 && rng.bool(), smoke: rng.bool() },
        19 => Act::ClockStep(rng.i64(-6_000..6_000)),
        20 => Act::Stop { down: rng.u64(..8_000) },
        21..=24 => Act::Rehearse {
            service,
            health: health(rng),
            after: rng.u64(14_000..20_000),
            stopped_after: (rng.u8(..3) == 0).then(|| rng.u64(500..14_000)),
        },
        _ => Act::Report { service, trigger: "with-veto" },
    }
}

fn trouble(rng: &mut Rng, services: usize) -> Trouble {
    let service = rng.usize(..services);
    let metric = rng.usize(..METRICS.len());
    match rng.u8(..18) {
        0 | 1 => Trouble::QueriesFail,
        2 => Trouble::QueriesPartial,
        3 => Trouble::QueriesSlow(rng.u64(500..5_000)),
        4 | 5 => Trouble::Gap,
        6 | 7 => Trouble::Late(rng.u64(500..8_000)),
        8 => Trouble::Nan(service, metric),
        9 => Trouble::LowTraffic(service),
        10 => Trouble::Spike(service, metric, 0.06 + rng.f64() * 2.0),
        11 if rng.u8(..3) == 0 => Trouble::AnnouncerDown,
        11 => Trouble::PagerDown(rng.usize(..2)),
        12 => Trouble::PagerRefuses(rng.usize(..2)),
        13 | 14 => Trouble::DiskFull,
        15 => Trouble::DiskSlow(rng.u64(100..2_000)),
        16 => Trouble::ReceiptsFail,
        _ => Trouble::SmokeFails(service),
    }
}

impl Plan {
    /// The world of this seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let variant = variant(rng);
        let mut at = 0;
        let acts = (0..rng.usize(2..9)).map(|_| {
            at += if rng.bool() { rng.u64(..3_000) } else { rng.u64(..16_000) };
            (at.min(LASTS - 5_000), act(rng, variant.services))
        });
        let acts = acts.collect();
        let troubles = (0..rng.usize(..4)).map(|_| {
            let from = rng.u64(..LASTS / 2);
            let lasts = if rng.bool() { rng.u64(200..4_000) } else { rng.u64(1_000..20_000) };
            (from, from + lasts, trouble(rng, variant.services))
        });
        let troubles = troubles.collect();
        let kills = (0..rng.usize(..4)).map(|_| {
            let when = if rng.u8(..4) == 0 { Kill::At(rng.u64(..LASTS / 2)) } else { Kill::Step(rng.u64(..700)) };
            (when, if rng.bool() { rng.u64(..1_000) } else { rng.u64(..15_000) })
        });
        let kills = kills.collect();
        Self {
            variant,
            all_well_at: LASTS,
            prometheus_ahead: if rng.u8(..8) == 0 { rng.i64(-3_000..3_000) } else { 0 },
            acts,
            troubles,
            kills,
            humans: (0..rng.usize(1..5)).map(|_| human(rng)).collect(),
            runs: (0..rng.usize(1..5)).map(|_| run(rng)).collect(),
            lookup_is_sure: rng.u8(..4) != 0,
            compacts_after: if rng.u8(..4) == 0 { rng.u64(5..60) } else { u64::MAX },
            latency: [1, 5, 20, 120][rng.usize(..4)],
            announced: (0..rng.usize(..3)).map(|_| rng.u64(..6_000)).collect(),
        }
    }

    /// The same things in this variant, so much later: what goes on in a world that has lasted so long already.
    pub(crate) fn later(mut self, variant: Variant, by: u64, steps: u64) -> Self {
        self.variant = variant;
        self.all_well_at += by;
        self.prometheus_ahead = 0;
        self.compacts_after = self.compacts_after.min(200);
        self.acts.iter_mut().for_each(|(at, act)| {
            *at += by;
            act.stay_within(variant.services);
        });
        self.troubles.iter_mut().for_each(|(from, until, _)| {
            *from += by;
            *until += by;
        });
        self.kills.iter_mut().for_each(|(kill, _)| match kill {
            Kill::At(at) => *at += by,
            Kill::Step(step) => *step += steps,
        });
        self
    }

    /// The same world with a little less in it, in every way that there is.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut keep = |change: &dyn Fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            if plan != *self {
                all.push(plan);
            }
        };
        for index in 0..self.acts.len() {
            keep(&|plan| {
                plan.acts.remove(index);
            });
        }
        for index in 0..self.troubles.len() {
            keep(&|plan| {
                plan.troubles.remove(index);
            });
        }
        for index in 0..self.kills.len() {
            keep(&|plan| {
                plan.kills.remove(index);
            });
        }
        for index in 1..self.humans.len() {
            keep(&|plan| {
                plan.humans.remove(index);
            });
        }
        for index in 1..self.runs.len() {
            keep(&|plan| {
                plan.runs.remove(index);
            });
        }
        keep(&|plan| plan.humans = vec![Human::Sleeps]);
        keep(&|plan| plan.runs = vec![Run::Succeeds(1_000)]);
        keep(&|plan| plan.announced.clear());
        keep(&|plan| plan.compacts_after = u64::MAX);
        keep(&|plan| plan.prometheus_ahead = 0);
        keep(&|plan| plan.latency = 1);
        keep(&|plan| plan.lookup_is_sure = true);
        keep(&|plan| plan.variant.smoke = false);
        keep(&|plan| plan.variant.revision = false);
        keep(&|plan| plan.variant.repeatable = false);
        keep(&|plan| plan.variant.second_pager = false);
        keep(&|plan| plan.variant.escalates = false);
        keep(&|plan| plan.variant.announces = false);
        keep(&|plan| plan.variant.fleet_guard = false);
        keep(&|plan| plan.variant.shared = false);
        keep(&|plan| plan.variant.veto = false);
        keep(&|plan| plan.variant.dry_run = false);
        all
    }
}
