//! The start: a journal of a year with every watch open, and what an idle daemon takes.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use rollbackd::journal::{Journal, Part};
use rollbackd::supervisor::is_to_be_compacted;
use rollbackd_core::apply::apply;
use rollbackd_core::deploy::{Deploy, Migration, WatchEnd};
use rollbackd_core::name::{DeployId, ServiceName, TriggerName, Version};
use rollbackd_core::record::{LedgerRecord, Record, WatchRecord};
use rollbackd_core::state::{State, TriggerWatch, Turn, Watch};
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::Arming;
use rustix::process::Signal;

use crate::journal::config;
use crate::process;
use crate::processes;
use crate::scale::name;
use crate::usage::{Metrics, Usage};
use crate::{Place, say};

/// The triggers of each service.
const TRIGGERS: u32 = 5;

#[derive(Args)]
pub(crate) struct Start {
    /// How many services, each with an open watch.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// How many records the journal has seen.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
}

impl Start {
    /// Makes the journal, starts on it, and starts without one.
    pub(crate) async fn run(&self, place: &Place) -> Result<(), String> {
        let dir = place.folder("start")?;
        std::fs::create_dir_all(dir.join("state")).map_err(|error| error.to_string())?;
        say(&format!("making a journal of {} records", self.records));
        let left = self.make(&dir.join("state"))?;
        let size = std::fs::metadata(dir.join("state/journal.db")).map_or(0, |file| file.len()) / 1024 / 1024;
        let [port] = processes::free_ports()?;
        processes::write(&dir.join("rollbackd.yml"), &config(&dir, self.services, port))?;
        let (mut daemon, ready) = process::rollbackd(&dir, &place.rollbackd, port).await?;
        let used = Usage::of(daemon.id)?;
        let open = Metrics::parse(&process::get(port, "/metrics").await?).sum("rollbackd_watches_open", "");
        daemon.end(Signal::TERM).await;
        let idle = dir.join("idle");
        std::fs::create_dir_all(&idle).map_err(|error| error.to_string())?;
        processes::write(&idle.join("rollbackd.yml"), &config(&idle, 1, port))?;
        let (mut daemon, idle_ready) = process::rollbackd(&idle, &place.rollbackd, port).await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let idle_used = Usage::of(daemon.id)?;
        daemon.end(Signal::TERM).await;
        let binary = std::fs::metadata(&place.rollbackd).map_or(0, |file| file.len());
        say(
            "records | after the snapshot | journal MiB | watches open | ready after s | CPU s | RSS MiB | peak MiB | idle: ready after s | idle RSS MiB | binary MB",
        );
        #[expect(clippy::cast_precision_loss, reason = "a file's size in megabytes")]
        let binary = binary as f64 / 1e6;
        say(&format!(
            "{} | {left} | {size} | {open:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {:.3} | {:.1} | {binary:.1}",
            self.records,
            ready.as_secs_f64(),
            used.processor_seconds()?,
            used.status("VmRSS")? / 1024.0,
            used.status("VmHWM")? / 1024.0,
            idle_ready.as_secs_f64(),
            idle_used.status("VmRSS")? / 1024.0,
        ));
        Ok(())
    }

    /// Writes the journal as the daemon would, compacted when it would be; how many records are left after that.
    fn make(&self, state_dir: &Path) -> Result<u64, String> {
        let (mut journal, _) = Journal::open(state_dir).map_err(|error| error.to_string())?;
        let mut state = State::default();
        let mut made = 0;
        for round in 0_u32.. {
            let at = Timestamp::from_milliseconds(1_780_000_000_000 + i64::from(round) * 3_600_000);
            let mut parts = Vec::new();
            for number in 1..=self.services {
                let service = ServiceName::new(name(number)).map_err(|error| error.to_string())?;
                let records = watch(&service, round, at, made >= self.records)?;
                let expected_seq = state.services.get(&service).map_or(0, |own| own.sequence);
                for record in &records {
                    apply(&mut state, &service, at, record).map_err(|error| error.to_string())?;
                }
                made += records.len() as u64;
                let bodies: Result<Vec<String>, _> = records.iter().map(serde_json::to_string).collect();
                let bodies = bodies.map_err(|error| error.to_string())?;
                parts.push(Part { service: service.to_string(), expected_seq, at, bodies });
            }
            for some in parts.chunks(1000) {
                journal.append_all(some).map_err(|error| error.to_string())?;
            }
            let ended = state.services.values().all(|own| own.watch.is_some());
            if is_to_be_compacted(journal.records_since_snapshot(), &state) {
                let body = serde_json::to_string(&state).map_err(|error| error.to_string())?;
                journal.compact(at, body.as_str()).map_err(|error| error.to_string())?;
            }
            if ended {
                break;
            }
        }
        Ok(journal.records_since_snapshot())
    }
}

/// One watch: opened, each trigger seen clear and settled, and ended unless it is the last.
fn watch(service: &ServiceName, round: u32, at: Timestamp, last: bool) -> Result<Vec<Record>, String> {
    let text = |text: String| text;
    let version = Version::new(text(format!("2026.11.{round}-g0123456789ab"))).map_err(|error| error.to_string())?;
    let deploy =
        DeployId::new(text(format!("{service}-d-20261123T100402125Z-{round}"))).map_err(|error| error.to_string())?;
    let names =
        (1..=TRIGGERS).map(|number| TriggerName::new(format!("trigger-{number}")).map_err(|error| error.to_string()));
    let names: Vec<TriggerName> = names.collect::<Result<_, _>>()?;
    let triggers = names.iter().map(|name| (name.clone(), TriggerWatch::default())).collect();
    let deployed = Deploy {
        rehearsal: false,
        id: deploy.clone(),
        version: version.clone(),
        previous: None,
        commit: None,
        migration: Migration::default(),
        run_url: None,
        at,
        reported_at: at,
        key: None,
        seen: false,
    };
    let watch = Watch {
        deploy,
        version,
        at,
        until: at + Duration::from_secs(1800),
        healthy_before: at,
        target: None,
        target_awaited: false,
        triggers,
        blind_paged: false,
    };
    let mut records = vec![
        Record::Ledger(LedgerRecord::Deployed { deploy: deployed, end: None, running: true }),
        Record::Watch(WatchRecord::Opened { watch: Box::new(watch) }),
    ];
    for trigger in &names {
        let (turn, arming, trigger) = (Turn::Clear, Arming::Armed, trigger.clone());
        records.push(Record::Watch(WatchRecord::Turned { trigger, turn, arming, seen_clear: true, value: Some(0.01) }));
    }
    if !last {
        records.extend(names.into_iter().map(|trigger| Record::Watch(WatchRecord::Settled { trigger })));
        records.push(Record::Watch(WatchRecord::Ended { end: WatchEnd::Passed }));
    }
    Ok(records)
}
