//! The course of one row: every service is brought to its state, the fault begins, ends, and everything comes to its end.
//!
//! Never waits for a time alone but for the fault's own length.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rollbackd_core::time::Timestamp;
use serde_json::{Value, json};

use crate::fault::{Fault, Lasts};
use crate::seen::{Row, Seen, judge};
use crate::state::{State, Versions, plan, release};
use crate::world::{PATIENCE, Proxy, Shape, WINDOW, World, trigger_of, wait_until, wait_until_within};

/// How often a world is thrown away in which somebody had gone on before everybody was in its state: on a machine that
/// is busy with other things. What is tested begins with the fault.
const MOST_WORLDS: usize = 6;

/// Those that are to have fired when the fault begins, and the state of their watches then.
const FIRED: [(State, &str); 5] = [
    (State::Veto, "firing"),
    (State::Dismissed, "firing"),
    (State::RollingBack, "rolling_back"),
    (State::Verifying, "verifying"),
    (State::Paged, "paged"),
];

/// Those that are under watch when it begins, and clear.
const CLEAR: [State; 2] = [State::Clear, State::Ending];

/// Those whose `for` runs when it begins.
const BREACHING: [State; 3] = [State::Relieved, State::Breaching, State::Tight];

/// Those that are deployed as it begins.
const FRESH: [State; 2] = [State::Fresh, State::FreshSlow];

/// A breach that is older when the fault begins would not leave the fault its time within the `for`.
const YOUNG: Duration = Duration::from_secs(11);

/// One row under way.
struct Course {
    fault: Fault,
    world: World,
    proxy: Proxy,
    versions: BTreeMap<State, Versions>,
    exposed: Value,
}

/// Runs a row and gives what was seen, of which every claim was checked.
pub(crate) async fn run(fault: Fault) -> Row {
    let mut course = Course::in_their_states(fault).await;

    let began_at = now();
    let began = Instant::now();
    course.begin().await;
    course.deploy(&FRESH).await;
    course.goes_on_unseen().await;
    if fault.lasts != Lasts::UntilBlind {
        release(&course.world);
        course.all_is_done_that_goes_on_without_prometheus().await;
    }
    tokio::time::sleep(fault.least().saturating_sub(began.elapsed())).await;
    let firings_in_fault = course.world.firings().await;

    let ended_at = now();
    course.end().await;
    release(&course.world);
    course.everything_ends().await;
    let seen = course.seen().await;
    let row = Row { fault, began_at, ended_at, firings_in_fault, seen };
    judge(&course.world, &row).await;
    row
}

/// Now, to the millisecond, as the daemon's clock has it.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_milliseconds(i64::try_from(since.as_millis()).expect("a clock"))
}

fn services() -> Vec<String> {
    State::ALL.iter().map(|state| state.service()).collect()
}

impl Course {
    async fn start(fault: Fault) -> Self {
        let several = Some(u16::try_from(State::ALL.len()).expect("few states"));
        let mut world = World::shaped(Shape { several, relayed: true, ..Shape::default() }).await;
        let proxy = Proxy::start(world.prometheus.url()).await;
        let plan = plan(&world, &fault, &proxy.url());
        world.run(&plan).await;
        world.has_past(WINDOW).await;
        let versions = State::ALL.iter().map(|state| (*state, state.versions())).collect();
        let course = Self { fault, world, proxy, versions, exposed: json!({}) };
        course.tell_versions().await;
        course
    }

    /// Tells production how every version behaves from now on.
    async fn tell_versions(&self) {
        for (state, versions) in &self.versions {
            self.world.production.versions(&state.service(), versions.exposing(&self.exposed)).await;
        }
    }

    async fn deploy(&self, states: &[State]) {
        // By the instant before: a report that comes late on a busy machine would make the breach older than the deploy.
        let report = || json!({"version": "v2", "previous_version": "v1", "at": now().to_string()});
        join_all(states.iter().map(async |state| self.world.deploy_as(&state.service(), report()).await)).await;
    }

    async fn watch_is(&self, state: State, wanted: &str) {
        let what = format!("the watch of {state:?} is {wanted}");
        self.world.view_of_until(&state.service(), &what, |view| view["watch"]["state"] == wanted).await;
    }

    /// A world in which every service is in its state.
    async fn in_their_states(fault: Fault) -> Self {
        for _ in 1..MOST_WORLDS {
            let mut course = Self::start(fault).await;
            let brought = course.bring_to_their_states();
            match tokio::time::timeout(PATIENCE, brought).await {
                Ok(Ok(())) => return course,
                Ok(Err(why)) => println!("{}: again, since {why}", fault.name),
                Err(_) => println!("{}: again, since somebody did not get to its state", fault.name),
            }
        }
        let mut course = Self::start(fault).await;
        let brought = course.bring_to_their_states().await;
        brought.unwrap_or_else(|why| panic!("{why}"));
        course
    }

    /// Those with the most time left come first: a breach is in its `for` for a few seconds alone.
    async fn bring_to_their_states(&mut self) -> Result<(), String> {
        self.deploy(&FIRED.map(|(state, _)| state)).await;
        self.versions.insert(State::Verifying, Versions::both_bad());
        self.tell_versions().await;
        join_all(FIRED.iter().map(|(state, wanted)| self.watch_is(*state, wanted))).await;
        for (states, wanted) in [(&CLEAR[..], "clear"), (&BREACHING[..], "breaching")] {
            self.deploy(states).await;
            join_all(states.iter().map(|state| self.error_rate_is(*state, wanted))).await;
        }
        self.all_are_in_their_states().await
    }

    async fn error_rate_is(&self, state: State, wanted: &str) {
        let what = format!("error-rate of {state:?} is {wanted}");
        let is_so = |view: &Value| {
            trigger_of(view, "error-rate")["state"] == wanted && trigger_of(view, "slow")["state"] == "clear"
        };
        self.world.view_of_until(&state.service(), &what, is_so).await;
    }

    /// Whoever came first may have gone on meanwhile, or may be about to.
    async fn all_are_in_their_states(&self) -> Result<(), String> {
        let watched = CLEAR.into_iter().chain(BREACHING).map(|state| (state, "watching"));
        for (state, wanted) in FIRED.into_iter().chain(watched) {
            let view = self.world.view(&state.service()).await;
            let error_rate = trigger_of(&view, "error-rate");
            let since = error_rate["breaching_since"].as_str().map(crate::seen::at);
            let is_young = since.is_none_or(|since| now().since(since) < YOUNG) || wanted != "watching";
            if view["watch"]["state"] != wanted || !is_young || self.pages(state).contains_key("blind") {
                return Err(format!("{state:?} is no longer in its state: {view}"));
            }
        }
        Ok(())
    }

    /// The fault begins. Two services are well from then on, which nobody can see.
    async fn begin(&mut self) {
        self.fault.begin(&mut self.world, &mut self.proxy, &services()).await;
        self.exposed = self.fault.exposed();
        self.versions.insert(State::Relieved, Versions::healthy());
        self.versions.insert(State::Verifying, Versions::healthy());
        self.tell_versions().await;
    }

    async fn end(&mut self) {
        self.exposed = json!({});
        self.tell_versions().await;
        self.fault.end(&mut self.world, &mut self.proxy, &services()).await;
    }

    fn pages(&self, state: State) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for page in self.world.pager.taken().into_iter().filter(|page| page.body["service"] == *state.service()) {
            *counts.entry(page.reason().to_owned()).or_default() += 1;
        }
        counts
    }

    async fn has_paged(&self, state: State, reason: &str) {
        wait_until(&format!("{state:?} pages {reason}"), async || {
            let pages = self.pages(state);
            if pages.contains_key(reason) { Ok(()) } else { Err(format!("{pages:?}")) }
        })
        .await;
    }

    /// Every watch pages that it is blind, and none calls unseen what it can't see. Two humans answer meanwhile.
    async fn goes_on_unseen(&self) {
        join_all(State::ALL.map(|state| self.has_paged(state, "blind"))).await;
        for state in [State::Clear, State::Breaching, State::Fresh] {
            let view = self.world.view(&state.service()).await;
            for name in ["error-rate", "slow"] {
                let said = trigger_of(&view, name)["state"].clone();
                let nothing = ["error", "no_data", "low_traffic"].iter().any(|word| said == *word);
                assert!(nothing, "{name} of {state:?} is {said} while nothing can be seen: {view}");
            }
        }
        self.answer(State::Paged, "approve", json!({})).await;
        self.watch_is(State::Paged, "verifying").await;
        self.answer(State::Dismissed, "dismiss", json!({"why": "said by a test"})).await;
    }

    /// A human's answer to the only open firing of a service.
    async fn answer(&self, state: State, answer: &str, body: Value) {
        let firing = self.firing(state).await;
        let route = format!("/v1/firings/{}/{answer}", firing["id"].as_str().expect("an id"));
        let answered = self.world.post(&route, body).await;
        assert_eq!(answered.status, 202, "{state:?} {answer}: {}", answered.body);
    }

    async fn firing(&self, state: State) -> Value {
        let firings = self.world.firings().await;
        let mut own = firings.into_iter().filter(|firing| firing["service"] == *state.service());
        own.next().unwrap_or_else(|| panic!("{state:?} has no firing"))
    }

    /// Paths end, budgets and watches too: none of these needs Prometheus. What needs it goes no further.
    async fn all_is_done_that_goes_on_without_prometheus(&self) {
        for state in [State::Veto, State::RollingBack, State::Verifying] {
            self.watch_is(state, "verifying").await;
        }
        self.has_paged(State::Verifying, "budget_spent").await;
        let is_over = |view: &Value| !view["last"].is_null();
        self.world.view_of_until(&State::Ending.service(), "a watch ends in the fault", is_over).await;
    }

    /// Every firing ends, those that were held are approved, and every watch is over.
    async fn everything_ends(&self) {
        let tight = State::Tight.service();
        wait_until_within(self.fault.watch() + PATIENCE, "the tight budget fires", async || {
            let firings = self.world.firings().await;
            let own = firings.iter().find(|firing| firing["service"] == *tight);
            own.map(|_| ()).ok_or_else(|| format!("{} firings", firings.len()))
        })
        .await;
        if self.firing(State::Tight).await["state"] == "paged" {
            self.answer(State::Tight, "approve", json!({})).await;
        }
        join_all(State::ALL.map(async |state| {
            let patience = self.fault.watch() + PATIENCE;
            wait_until_within(patience, &format!("{state:?} is over"), async || {
                let view = self.world.view(&state.service()).await;
                let is_over = view["watch"].is_null() && view["firings"].as_array().is_some_and(Vec::is_empty);
                if is_over { Ok(()) } else { Err(view.to_string()) }
            })
            .await;
        }))
        .await;
    }

    async fn seen(&self) -> BTreeMap<State, Seen> {
        let firings = self.world.firings().await;
        let count = firings.len();
        let receipts = wait_until("every firing has its receipt", async || {
            let receipts = self.world.receipts();
            if receipts.len() == count { Ok(receipts) } else { Err(format!("{} of {count}", receipts.len())) }
        })
        .await;
        let deploys = self.world.production.deploys().await;
        let mut seen = BTreeMap::new();
        for state in State::ALL {
            let service = state.service();
            let of_service = |value: &&Value| value["service"] == *service;
            let view = self.world.view(&service).await;
            let runs = deploys.iter().filter(of_service).filter(|deploy| deploy["by"] != "test").cloned().collect();
            seen.insert(
                state,
                Seen {
                    last: view["last"].as_str().unwrap_or_default().to_owned(),
                    running: view["running"].as_str().unwrap_or_default().to_owned(),
                    firings: firings.iter().filter(of_service).cloned().collect(),
                    receipts: receipts.iter().filter(|receipt| receipt.get("service") == service).cloned().collect(),
                    pages: self.pages(state),
                    runs,
                },
            );
        }
        seen
    }
}
