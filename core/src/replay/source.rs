//! What a replay asks of the world that it goes by.

use std::time::Duration;

use crate::config::{Metric, Trigger};
use crate::event::{Order, Serving};
use crate::firing::Outcome;
use crate::name::{ServiceName, Version};
use crate::reading::Answers;
use crate::template::Values;
use crate::time::Timestamp;

/// What is asked of the world that a replay goes by.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The trigger.
    pub trigger: &'a Trigger,
    /// Its queries.
    pub metric: &'a Metric,
    /// What the templates of the queries may name.
    pub values: &'a Values,
    /// The deploy under watch: `since_deploy` counts from here.
    pub deploy_at: Timestamp,
    /// The first slot.
    pub from: Timestamp,
    /// The last slot; slots are [`Metric::step`] apart.
    pub to: Timestamp,
}

/// The world that a replay goes by: what its metrics showed, which version served, what paths do.
pub trait Source {
    /// What the queries of a trigger show at each slot. Also asked for the slots of a baseline. A slot that has shown
    /// something shows the same whenever it is asked for; one that has shown nothing may be filled in later.
    fn answers(&mut self, ask: &Ask<'_>) -> Answers;

    /// Which version served at an instant, and since when; `None` where nothing shows it. `not` is a version that is not
    /// the answer: that of the deploy before which was asked.
    fn serving(&mut self, service: &ServiceName, at: Timestamp, not: Option<&Version>) -> Option<Serving>;

    /// Whether the smoke URL answered. History has no word of it: where nothing else is known, it did.
    fn smoke(&mut self, service: &ServiceName, at: Timestamp) -> bool {
        let _ = (service, at);
        true
    }

    /// What a path does that is run ([`crate::config::Mode::Live`] alone): how it ends, after how long; `None` where it
    /// never says anything. Whatever it changes, the other answers have to show.
    fn attempt(&mut self, order: &Order, at: Timestamp) -> Option<(Duration, Outcome)> {
        let _ = (order, at);
        None
    }
}
