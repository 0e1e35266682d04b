//! What belongs to one service alone is asked for each service; which version serves, one service after the other.
//!
//! Never keeps triggers waiting: ten thousand services whose versions are watched are ten thousand queries.

use std::sync::Arc;

use rollbackd_core::event::Event;
use rollbackd_core::name::ServiceName;
use rollbackd_core::wants::Want;
use tokio::sync::mpsc;

use super::gate::Gate;
use super::{UnderWay, ask};
use crate::door::Door;
use crate::outside::Outside;

/// One thing that is wanted of one service.
pub(super) struct One {
    pub(super) service: ServiceName,
    pub(super) want: Want,
    pub(super) edges: Arc<dyn Outside>,
    pub(super) under_way: UnderWay,
}

impl One {
    /// Asks, and brings what came back.
    pub(super) async fn ask(self, door: Door, gate: Gate) {
        let Self { service, want, edges, under_way } = self;
        let _under_way = under_way;
        if let Some(what) = ask::alone(&door, (edges.as_ref(), &gate), &service, want).await {
            let _ = door.tell(Event { service, what }).await;
        }
    }
}

/// The row of services whose version is to be asked.
pub(super) struct Versions(mpsc::UnboundedSender<One>);

impl Versions {
    /// A row that is worked off until whoever looks is gone. It holds each service once: what is under way is not asked.
    pub(super) fn start(door: Door, gate: Gate) -> Self {
        let (row, mut next) = mpsc::unbounded_channel::<One>();
        tokio::spawn(async move {
            while let Some(one) = next.recv().await {
                // In a task of its own: a mistake in one must not end the others.
                let _ = tokio::spawn(one.ask(door.clone(), gate.clone())).await;
            }
        });
        Self(row)
    }

    /// Puts one at the end of the row.
    pub(super) fn ask(&self, one: One) {
        // Nobody takes it any more only where the daemon stops.
        let _ = self.0.send(one);
    }
}
