//! What a line of the log looks like.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rollbackd_core::deploy::{Deploy, Migration, WatchEnd};
use rollbackd_core::firing::{FiringEnd, Proof};
use rollbackd_core::name::{AttemptId, DeployId, PageId, TriggerName, Version};
use rollbackd_core::rehearsal::End;
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::Arming;
use serde_json::{Value, json};

use super::*;

/// Where the lines go.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line about this record, as `--log-format json` writes it.
fn line(record: &Record) -> Value {
    let written = Written::default();
    let lines = written.clone();
    let log_to = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || lines.clone())
        .finish();
    let service = ServiceName::new("shop").unwrap();
    tracing::subscriber::with_default(log_to, || log(&service, record));
    let bytes = written.0.lock().unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {record:?}"))
}

fn at() -> Timestamp {
    Timestamp::from_milliseconds(1_800_000_000_000)
}

fn deploy() -> Deploy {
    let deploy = json!({"id": "shop-d-1", "version": "v2", "at": at(), "reported_at": at()});
    serde_json::from_value(deploy).unwrap()
}

fn of_firing(what: FiringRecord) -> Record {
    Record::Firing { id: FiringId::new("shop-f-1").unwrap(), what }
}

fn turned(turn: Turn) -> Record {
    let (trigger, arming) = (TriggerName::new("error-rate").unwrap(), Arming::Disarmed);
    Record::Watch(WatchRecord::Turned { trigger, turn, arming, seen_clear: true, value: Some(0.25) })
}

#[test]
fn values_are_the_words_of_the_api() {
    let page = PageId::new("shop-f-1-manual").unwrap();
    let pagers = ["oncall", "lead"].map(|name| PagerName::new(name).unwrap()).to_vec();
    let failed = Outcome::Failed { why: "no such tag".to_owned(), output: String::new() };
    let superseded = End::Superseded { by: Version::new("v3").unwrap() };
    let learned =
        LedgerRecord::MigrationLearned { deploy: DeployId::new("shop-d-1").unwrap(), migration: Migration::Breaking };
    let since = Turn::Breaching { since: at() };
    let cases = [
        (turned(since), json!({"turn": "breaching", "since": at(), "arming": "disarmed", "value": 0.25})),
        (turned(Turn::LowTraffic), json!({"turn": "low_traffic", "since": null})),
        (Record::Watch(WatchRecord::Ended { end: WatchEnd::RolledBack }), json!({"end": "rolled_back"})),
        (Record::Ledger(learned), json!({"migration": "breaking"})),
        (
            Record::Ledger(LedgerRecord::Deployed {
                deploy: deploy(),
                end: Some(WatchEnd::Superseded),
                running: false,
            }),
            json!({"version": "v2", "at": at(), "end": "superseded"}),
        ),
        (
            Record::Ledger(LedgerRecord::Deployed { deploy: deploy(), end: None, running: true }),
            json!({"deploy": "shop-d-1", "end": null}),
        ),
        (
            of_firing(FiringRecord::Ended { result: FiringEnd::NotRecovered, receipt: 7, recovered_at: None }),
            json!({"firing": "shop-f-1", "result": "not_recovered", "receipt": 7, "recovered_at": null}),
        ),
        (
            Record::Rehearsal(RehearsalRecord::AttemptEnded { outcome: failed }),
            json!({"outcome": "failed", "why": "no such tag"}),
        ),
        (
            Record::Rehearsal(RehearsalRecord::Ended { end: superseded, paths: Vec::new() }),
            json!({"end": "superseded", "why": "v3 was deployed over it"}),
        ),
        (Record::Page(PageRecord::Escalated { page, pagers, next: None }), json!({"pagers": "oncall, lead"})),
    ];
    for (record, expected) in cases {
        let line = line(&record);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(line.get(field).unwrap_or(&Value::Null), value, "{field} of {line}");
        }
    }
}

#[test]
fn every_line_of_a_firing_has_a_message_of_its_own() {
    let attempt = || AttemptId::new("shop-f-1-a1").unwrap();
    let what = || "path pipeline waits: a person must approve\nERROR forged".to_owned();
    let records = [
        FiringRecord::Proved { proof: Proof::default(), what: what() },
        FiringRecord::Noted { what: what() },
        FiringRecord::Verifying { closes_at: at(), why: what() },
        FiringRecord::AttemptStarted { attempt: attempt(), handle: "run 4".to_owned() },
        FiringRecord::AttemptInDoubt { attempt: attempt(), why: what() },
        FiringRecord::Paged { why: what(), closes_at: at() },
        FiringRecord::BudgetSpent,
        FiringRecord::Approved,
    ];
    for record in records.map(of_firing) {
        let line = line(&record);
        let message = line["message"].as_str().unwrap_or_default();
        assert!(!message.is_empty() && !message.contains("forged"), "others' words are values: {line}");
        assert_eq!(line["firing"], "shop-f-1");
    }
}
