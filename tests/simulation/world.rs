//! The world around the daemon: what it keeps while the daemon is dead, and the point at which the daemon dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rollbackd::config::Settings;
use rollbackd::journal::{Snapshot, Stored};
use rollbackd_core::announcement::Announcement;
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::{FiringId, PageId, PagerName, ServiceName};
use rollbackd_core::page::Page;
use tokio::sync::Notify;

use crate::config::{SERVICES, settings};
use crate::plan::{Human, Kill, Plan, Trouble, Variant};
use crate::production::Production;
use crate::reached::{Reached, Seen};
use crate::rules::Rules;
use crate::time;

/// The pagers' names, in the order in which troubles count them.
const PAGERS: [&str; 2] = ["oncall", "second"];

/// Somebody who is not heard tries again after this time, so many times.
const TRIED_AGAIN_AFTER: u64 = 700;
const TRIES: u32 = 40;

/// An event that somebody brings, how often they have tried, and whether it is of any use after all is well.
#[derive(Clone, Debug)]
pub(crate) struct Tell {
    pub(crate) event: Event,
    pub(crate) tries: u32,
}

/// What the disk holds.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) records: Vec<Stored>,
    pub(crate) sequences: BTreeMap<String, u64>,
    pub(crate) last: u64,
}

/// All that there is beside the daemon.
pub(crate) struct World {
    pub(crate) plan: Plan,
    /// The config in force, which differs from the plan's after a reload.
    pub(crate) variant: Variant,
    pub(crate) settings: Settings,
    pub(crate) production: Production,
    pub(crate) disk: Disk,
    pub(crate) rules: Rules,
    pub(crate) reached: Reached,
    /// The numbers of the receipts that are written, and of which firing each is.
    pub(crate) receipts: BTreeMap<u64, (FiringId, String)>,
    /// What pagers took: how often each page, and whether it was over.
    pub(crate) taken: BTreeMap<(PageId, PagerName, bool), u32>,
    /// What was announced: of which firing, and whether it was its end.
    pub(crate) announced: BTreeSet<(FiringId, bool)>,
    /// Whether the last that a pager took of a page was that it is over.
    pub(crate) last_word: BTreeMap<(PageId, PagerName), bool>,
    /// What people are about to say, and when.
    pub(crate) to_tell: BTreeMap<(u64, u64), Tell>,
    /// What is being said just now: whoever says it does not know yet whether it was heard.
    pub(crate) being_told: Option<Tell>,
    numbered: u64,
    steps: u64,
    pub(crate) next_act: usize,
    answered: usize,
    pub(crate) dead: bool,
    /// How long the daemon will stay dead.
    pub(crate) down: u64,
    kills_done: Vec<bool>,
}

/// The world, shared by all who meet it.
#[derive(Clone)]
pub(crate) struct Shared {
    world: Arc<Mutex<World>>,
    pub(crate) died: Arc<Notify>,
    pub(crate) more: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(plan: Plan) -> Self {
        let variant = plan.variant;
        let kills = plan.kills.len();
        let settings = settings(variant);
        let world = World {
            production: Production::new(variant.services),
            rules: Rules::new(&settings.core),
            variant,
            settings,
            plan,
            disk: Disk::default(),
            reached: Reached::default(),
            receipts: BTreeMap::new(),
            taken: BTreeMap::new(),
            announced: BTreeSet::new(),
            last_word: BTreeMap::new(),
            to_tell: BTreeMap::new(),
            being_told: None,
            numbered: 0,
            steps: 0,
            next_act: 0,
            answered: 0,
            dead: false,
            down: 0,
            kills_done: vec![false; kills],
        };
        Self { world: Arc::new(Mutex::new(world)), died: Arc::default(), more: Arc::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The daemon meets the outside. Here it may die; a dead daemon never gets past this point, and so does and learns
    /// nothing more.
    pub(crate) async fn meet(&self) {
        if self.lock().step() {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Meets the outside, which takes its time.
    pub(crate) async fn meet_slowly(&self, milliseconds: u64) {
        self.meet().await;
        if milliseconds > 0 {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            self.meet().await;
        }
    }

    /// The daemon is killed now.
    pub(crate) fn kill(&self, down: u64) {
        let mut world = self.lock();
        world.dead = true;
        world.down = down;
        self.died.notify_one();
    }

    /// Somebody will say something at this time.
    pub(crate) fn tell_at(&self, at: u64, event: Event) {
        self.lock().tell_at(at, Tell { event, tries: 0 });
        self.more.notify_one();
    }

    /// Somebody was not heard.
    pub(crate) fn tell_again(&self, tell: Tell) {
        if tell.tries < TRIES {
            let again = Tell { tries: tell.tries + 1, ..tell };
            self.lock().tell_at(time::elapsed() + TRIED_AGAIN_AFTER, again);
        }
    }

    /// A page reached a pager: whoever sits there may answer.
    pub(crate) fn page_taken(&self, pager: &PagerName, page: &Page) {
        let mut world = self.lock();
        let over = page.resolved_at.is_some();
        if over {
            let was_taken = world.taken.contains_key(&(page.id.clone(), pager.clone(), false));
            world.rules.page_is_over(&page.id, pager, was_taken);
        }
        let is_new = !over && !world.taken.keys().any(|(id, _, _)| id == &page.id);
        *world.taken.entry((page.id.clone(), pager.clone(), over)).or_default() += 1;
        world.last_word.insert((page.id.clone(), pager.clone()), over);
        if is_journal_page(&page.id) {
            world.rules.journal_page(over);
        }
        let Some(firing) = page.firing.clone().filter(|_| is_new) else { return };
        let human = world.plan.humans[world.answered % world.plan.humans.len()];
        world.answered += 1;
        let now = time::elapsed();
        let service = page.service.clone();
        let mut say = |after: u64, what: Happening| {
            world.tell_at(now + after, Tell { event: Event { service: service.clone(), what }, tries: 0 });
        };
        let approved = || Happening::Approved { firing: firing.clone() };
        match human {
            Human::Approves { after } => say(after, approved()),
            Human::ApprovesTwice { after } => {
                say(after, approved());
                say(after + 300, approved());
            }
            Human::Dismisses { after } => {
                say(after, Happening::Dismissed { firing: firing.clone(), why: "no".to_owned() });
            }
            Human::Acknowledges { after } => say(after, Happening::Acknowledged { firing: firing.clone() }),
            Human::Sleeps => {}
        }
        drop(world);
        self.more.notify_one();
    }
}

impl World {
    /// Another system is told of a firing: how it ended never before that it began.
    pub(crate) fn announced(&mut self, announcement: &Announcement) {
        let (firing, of_end) = (announcement.firing.clone(), announcement.ended.is_some());
        let in_order = !of_end || self.announced.contains(&(firing.clone(), false));
        self.rules.must("R8", in_order, || format!("the end of {firing} is announced before its beginning"));
        self.announced.insert((firing, of_end));
    }

    /// One more meeting. Whether the daemon is dead by now.
    fn step(&mut self) -> bool {
        self.steps += 1;
        for (index, (kill, down)) in self.plan.kills.iter().enumerate() {
            if *kill == Kill::Step(self.steps) && !self.kills_done[index] {
                self.kills_done[index] = true;
                self.dead = true;
                self.down = *down;
            }
        }
        self.dead
    }

    /// The first kill that is due by time, and how long the daemon then stays dead.
    pub(crate) fn due_kill(&mut self) -> Option<u64> {
        let now = time::elapsed();
        let due = |(index, (kill, _)): &(usize, &(Kill, u64))| {
            matches!(kill, Kill::At(at) if *at <= now) && !self.kills_done[*index]
        };
        let (index, (_, down)) = self.plan.kills.iter().enumerate().find(due)?;
        let down = *down;
        self.kills_done[index] = true;
        Some(down)
    }

    /// When the script has to do something next.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let act = self.plan.acts.get(self.next_act).map(|(at, _)| *at);
        let told = self.to_tell.keys().next().map(|(at, _)| *at);
        let kill = self.plan.kills.iter().zip(&self.kills_done).filter_map(|((kill, _), done)| match kill {
            Kill::At(at) if !done => Some(*at),
            Kill::At(_) | Kill::Step(_) => None,
        });
        act.into_iter().chain(told).chain(kill).min()
    }

    pub(crate) fn tell_at(&mut self, at: u64, tell: Tell) {
        self.numbered += 1;
        self.to_tell.insert((at, self.numbered), tell);
    }

    /// What is wrong with the outside now.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = Trouble> {
        let (now, all_well_at) = (time::elapsed(), self.plan.all_well_at);
        let now_wrong = move |(from, until, trouble): &(u64, u64, Trouble)| {
            (*from <= now && now < *until && now < all_well_at).then_some(*trouble)
        };
        self.plan.troubles.iter().filter_map(now_wrong)
    }

    /// Whether this is wrong now.
    pub(crate) fn is_wrong(&self, what: impl Fn(Trouble) -> bool) -> bool {
        self.troubles().any(what)
    }

    /// All is quiet: something else happens from now on. What nothing depends on any more is forgotten, so that what
    /// grows is the daemon's.
    pub(crate) fn go_on_with(&mut self, plan: Plan) {
        let now = time::elapsed();
        self.plan = plan.later(self.variant, now, self.steps);
        self.kills_done = vec![false; self.plan.kills.len()];
        self.next_act = 0;
        self.taken.clear();
        self.last_word.clear();
        self.receipts.clear();
        self.production.forget();
        self.rules.forget();
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        self.reached.see(seen);
    }
}

/// Whether this is the page that the journal can't be written, which has no firing and no record.
pub(crate) fn is_journal_page(page: &PageId) -> bool {
    page.as_str().contains("journal-not-writable")
}

/// The number of a service.
pub(crate) fn number_of(service: &ServiceName) -> usize {
    SERVICES.iter().position(|name| *name == service.as_str()).unwrap_or(0)
}

/// The number of a pager.
pub(crate) fn pager_number(pager: &PagerName) -> usize {
    PAGERS.iter().position(|name| *name == pager.as_str()).unwrap_or(0)
}

/// The name of a service.
pub(crate) fn service(number: usize) -> ServiceName {
    ServiceName::new(SERVICES[number]).expect("a service's name")
}
