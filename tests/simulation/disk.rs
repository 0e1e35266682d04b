//! The seam to the journal's disk, with a simulated disk behind it: what was synced stays, what was not is gone.

use std::path::PathBuf;

use rollbackd::journal::{Body, Error, Part, Replay, Snapshot, Store, Stored};
use rollbackd::outside::Pending;
use rollbackd_core::time::Timestamp;

use crate::plan::Trouble;
use crate::reached::Seen;
use crate::time;
use crate::world::Shared;

/// As many records as make the daemon compact its journal.
const MANY: u64 = 1_000_000;

/// The journal on the simulated disk.
pub(crate) struct SimulatedDisk(pub(crate) Shared);

impl SimulatedDisk {
    /// Waits as long as the disk takes; an error where it is full.
    async fn write(&self) -> Result<(), Error> {
        let slow = {
            let world = self.0.lock();
            let slow = world.troubles().find_map(|trouble| match trouble {
                Trouble::DiskSlow(milliseconds) => Some(milliseconds),
                _ => None,
            });
            slow.unwrap_or(0)
        };
        self.0.meet_slowly(slow).await;
        let mut world = self.0.lock();
        if world.is_wrong(|trouble| trouble == Trouble::DiskFull) {
            world.see(Seen::DiskFull);
            return Err(Error::NotWritable {
                act: "append to",
                file: PathBuf::from("journal.db"),
                source: "no space left on device".into(),
            });
        }
        Ok(())
    }

    fn put(&self, Part { service, expected_seq, at, bodies }: Part) {
        let mut world = self.0.lock();
        let world = &mut *world;
        let seq = world.disk.sequences.entry(service.clone()).or_default();
        let found = *seq;
        world.rules.must("R2", found == expected_seq, || {
            format!("{service} is at {found}, and the daemon appends after {expected_seq}")
        });
        for body in &bodies {
            *seq += 1;
            world.disk.last += 1;
            world.disk.records.push(Stored {
                id: world.disk.last,
                service: service.clone(),
                seq: *seq,
                at,
                body: body.clone(),
            });
        }
        world.rules.appended(&world.plan, &world.production, &mut world.reached, &service, at, &bodies);
    }
}

impl Store for SimulatedDisk {
    fn append(&mut self, parts: Vec<Part>) -> Pending<'_, Result<(), Error>> {
        Box::pin(async move {
            if let Err(error) = self.write().await {
                self.0.lock().rules.disk_is_full(time::elapsed());
                return Err(error);
            }
            for part in parts {
                self.put(part);
            }
            self.0.meet().await;
            Ok(())
        })
    }

    fn compact(&mut self, at: Timestamp, body: Box<dyn Body>) -> Pending<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut written = Vec::new();
            body.write_to(&mut written).expect("a state");
            let body = String::from_utf8(written).expect("JSON");
            self.write().await?;
            {
                let mut world = self.0.lock();
                let sequences = world.disk.sequences.clone();
                world.disk.snapshot = Some(Snapshot { id: world.disk.last, at, body, sequences });
                world.disk.records.clear();
                world.see(Seen::Compacted);
            }
            self.0.meet().await;
            Ok(())
        })
    }

    fn probe(&mut self) -> Pending<'_, Result<(), Error>> {
        Box::pin(self.write())
    }

    fn records_since_snapshot(&self) -> u64 {
        let world = self.0.lock();
        let many = world.disk.records.len() as u64 >= world.plan.compacts_after;
        if many { MANY } else { 0 }
    }

    fn is_lost(&self) -> bool {
        false
    }
}

/// All that the disk holds.
pub(crate) fn replayed(shared: &Shared) -> Replay {
    let world = shared.lock();
    Replay { snapshot: world.disk.snapshot.clone(), records: world.disk.records.clone() }
}
