//! The daemon's machinery above its edges, put together: the loop, its looker, its performer, its receipt writer.
//!
//! The daemon and the simulation put it together here, so that both run the same.

use std::sync::Arc;

use rollbackd_core::config::{Config, Mode};
use rollbackd_core::event::Effect;
use rollbackd_core::firing::{Firing, Stage};
use rollbackd_core::resume;
use rollbackd_core::state::State;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::door::{Door, QUEUED_EVENTS, QUEUED_LOOKS, Shared};
use crate::journal::Store;
use crate::looker::Looker;
use crate::metrics::Metrics;
use crate::outside::{InForce, Outside};
use crate::perform::{Performer, ReceiptWriter};
use crate::supervisor::{Ended, Inbox, Supervisor};

/// The machinery, running.
#[derive(Debug)]
pub struct Machine {
    /// Where events come in, and what everybody may see.
    pub door: Door,
    /// Stops the looker and the supervisor.
    pub stop: CancellationToken,
    /// What must go on for as long as the daemon runs.
    pub tasks: Tasks,
}

/// What must go on for as long as the daemon runs.
#[derive(Debug)]
pub struct Tasks {
    /// Writes receipts.
    pub writer: JoinHandle<()>,
    /// Asks what the core wants to know.
    pub looker: JoinHandle<()>,
    /// The loop.
    pub supervisor: JoinHandle<Ended>,
}

impl Machine {
    /// Starts the machinery on the state that a journal was replayed to, and takes up again what that state promises.
    /// `alive` is called after each turn of the loop.
    #[must_use]
    pub fn start(
        outside: &InForce,
        store: Box<dyn Store>,
        state: State,
        metrics: &Arc<Metrics>,
        alive: impl Fn() + Send + 'static,
    ) -> Self {
        let config = Config { looking_since: Some(clock::now()), ..outside.get().settings().core.clone() };
        let config = Arc::new(config);
        let todo = in_order(resume(&config, &state), &state);
        let shared = Arc::new(Shared::default());
        shared.set_config(Arc::clone(&config));
        *shared.state_mut() = state;
        shared.set_journal_writable(true);
        metrics.journal_opened();
        metrics.config_loaded(clock::now());
        metrics.runs(config.mode);

        let (events, events_inbox) = mpsc::channel(QUEUED_EVENTS);
        let (looks, looks_inbox) = mpsc::channel(QUEUED_LOOKS);
        let (changed, changes) = mpsc::unbounded_channel();
        let (receipts, receipt_orders) = mpsc::unbounded_channel();
        let door = Door::new(events, Arc::clone(&shared));
        let performer = Performer::new(door.clone(), outside.clone(), Arc::clone(metrics), receipts);
        todo.into_iter().for_each(|effect| performer.perform(effect));
        if config.mode == Mode::Live {
            performer.go_on_paging();
        }
        let stop = CancellationToken::new();
        let writer = ReceiptWriter::new(door.clone(), outside.clone(), Arc::clone(metrics));
        let looker = Looker::new(Door::new(looks, Arc::clone(&shared)), outside.clone(), Arc::clone(metrics));
        let supervisor = Supervisor::new(Arc::clone(&shared), store, performer, Arc::clone(metrics), changed);
        let inbox = Inbox { events: events_inbox, looks: looks_inbox };
        let tasks = Tasks {
            writer: tokio::spawn(writer.run(receipt_orders)),
            looker: tokio::spawn(looker.run(changes, stop.clone())),
            supervisor: tokio::spawn(supervisor.run(inbox, stop.clone(), alive)),
        };
        shared.set_replayed();
        Self { door, stop, tasks }
    }
}

/// Puts a config that was reloaded in force.
pub fn put_in_force(outside: &InForce, shared: &Shared, new: impl Outside + 'static) {
    let before = shared.config();
    let (generation, looking_since) = (before.generation + 1, before.looking_since);
    shared.set_config(Arc::new(Config { generation, looking_since, ..new.settings().core.clone() }));
    outside.set(new);
}

/// A service whose rollback is under way can't be forgotten: its receipt is still to be written.
///
/// # Errors
/// The config lacks a service with a firing that has no receipt yet. Which.
pub fn keeps_what_is_open(config: &Config, state: &State) -> Result<(), String> {
    for (name, own) in &state.services {
        if !config.services.contains_key(name) && own.rehearsing().is_some() {
            return Err(format!(
                "a rehearsal of service {name} is under way, so it can't be taken out of the config yet: put it back \
                 until that has ended"
            ));
        }
        let unsettled = |stage: &Stage| !matches!(stage, Stage::Ended { published: true, .. });
        if !config.services.contains_key(name) && own.firings.iter().any(|firing| unsettled(&firing.stage)) {
            return Err(format!(
                "service {name} has a firing whose receipt is still to be written, so it can't be taken out of the \
                 config yet: put it back until then"
            ));
        }
    }
    Ok(())
}

/// A journal belongs to one kind of run. What a dry run has left open would take what is reported for real as its own, and
/// nothing would run; and a dry run would pretend to act on what is really open.
///
/// # Errors
/// A firing of the other kind is open: which, and what to do.
pub fn is_of_this_kind(config: &Config, state: &State) -> Result<(), String> {
    let dry = config.mode == Mode::DryRun;
    let other = |firing: &&Firing| firing.dry_run != dry;
    let open = state.services.iter().find_map(|(name, own)| Some((name, own.open_firings().find(other)?)));
    let Some((service, firing)) = open else { return Ok(()) };
    let (whose, this) = if dry { ("a live run", "dry run") } else { ("a dry run", "live run") };
    Err(format!(
        "firing {} of service {service} is open in the journal, and it is that of {whose}: give this {this} a `state_dir` \
         of its own, or go on as {whose} until that firing has ended",
        firing.id
    ))
}

/// Receipts in the order of their numbers, since each names the hash of the one before.
fn in_order(mut effects: Vec<Effect>, state: &State) -> Vec<Effect> {
    let number = |effect: &Effect| match effect {
        Effect::PublishReceipt { service, firing } => {
            let stage = state.services.get(service).and_then(|own| own.firing(firing)).map(|firing| &firing.stage);
            match stage {
                Some(Stage::Ended { receipt, .. }) => *receipt,
                Some(Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. }) | None => 0,
            }
        }
        Effect::StartAttempt(_)
        | Effect::FollowAttempt { .. }
        | Effect::StopAttempt { .. }
        | Effect::Page { .. }
        | Effect::AcknowledgePage { .. }
        | Effect::Announce { .. } => 0,
    };
    effects.sort_by_key(number);
    effects
}
