//! The journal as it lies on the disk after a kill, read from a copy; and the kinds of records.
//!
//! Never opens the daemon's own files with a database: that would recover them before the daemon can.

use std::collections::BTreeMap;
use std::path::Path;

use rollbackd_core::apply::apply;
use rollbackd_core::firing::Stage;
use rollbackd_core::name::ServiceName;
use rollbackd_core::record::Record;
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;

/// A kind of record.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The text that only such a record holds.
    text: &'static str,
    /// What a start goes on with that finds such a record last.
    pub(super) goes_on: &'static str,
}

const fn kind(name: &'static str, text: &'static str, goes_on: &'static str) -> Kind {
    Kind { name, text, goes_on }
}

/// Every kind of record.
pub(super) const KINDS: [Kind; 38] = [
    kind(
        "deployed",
        r#""record":"deployed""#,
        "the deploy is watched; told again by the pipeline, it is the same deploy",
    ),
    kind("announced", r#""record":"announced""#, "the version that came back opens no watch"),
    kind("revision seen", r#""record":"revision_seen""#, "known for the next path that needs it"),
    kind("watch opened", r#"{"watch":{"record":"opened""#, "the watch goes on to the end it had"),
    kind("target found", r#""record":"target_found""#, "the target stays the one that was found"),
    kind("baseline kept", r#""record":"baseline_kept""#, "the limit stays the one that was read"),
    kind("turned unseen", r#""turn":{"turn":"unseen""#, "looks go on"),
    kind("turned clear", r#""turn":{"turn":"clear""#, "looks go on"),
    kind("turned to breach", r#""turn":{"turn":"breaching""#, "the breach goes on from where it began by the data"),
    kind("turned to low traffic", r#""turn":{"turn":"low_traffic""#, "looks go on"),
    kind("turned blind", r#""turn":{"turn":"blind""#, "looks go on"),
    kind("settled", r#""record":"settled""#, "the watch ends when all its triggers have settled"),
    kind("shadowed", r#""record":"shadowed""#, "told once"),
    kind("watch ended", r#"{"watch":{"record":"ended""#, "nothing is watched"),
    kind("fired", r#"{"fired":{"#, "the clock goes on from the instant by the data; the same firing, the same receipt"),
    kind("joined", r#""record":"joined""#, "the same firing"),
    kind("human asked", r#""record":"paged""#, "the page is sent, the answer awaited until the same instant"),
    kind(
        "veto open",
        r#""record":"vetoable""#,
        "the path starts when the veto's time is over, not later and not earlier",
    ),
    kind(
        "attempt intended",
        r#""record":"attempt_intended""#,
        "the attempt is looked up; only one that provably never began is run again",
    ),
    kind("attempt started", r#""record":"attempt_started""#, "the attempt is followed by what it can be found by"),
    kind("attempt in doubt", r#""record":"attempt_in_doubt""#, "the version that serves is awaited"),
    kind("attempt ended", r#""record":"attempt_ended""#, "the next path, or the proof"),
    kind("path passed over", r#""record":"passed_over""#, "the next path"),
    kind("would run", r#""record":"would_run""#, "nothing runs"),
    kind("verifying", r#""record":"verifying""#, "the proof is awaited until the same instant"),
    kind("proved", r#""record":"proved""#, "what was proved stays proved"),
    kind("approved", r#""record":"approved""#, "the attempt that was intended with it is looked up"),
    kind("dismissed", r#""record":"dismissed""#, "nothing runs, the receipt is written"),
    kind("acknowledged", r#""record":"acknowledged""#, "known"),
    kind("budget spent", r#""record":"budget_spent""#, "paged once"),
    kind("noted", r#""record":"noted""#, "told in the receipt"),
    kind("firing ended", r#""what":{"record":"ended""#, "its receipt is written, under the same number"),
    kind("receipt published", r#""record":"published""#, "nothing is left to do"),
    kind("page opened", r#"{"page":{"record":"opened""#, "sent until it is taken, under the same key"),
    kind("page delivered", r#"{"page":{"record":"delivered""#, "not sent again"),
    kind("page over", r#"{"page":{"record":"resolved""#, "the word that it is over is sent until it is taken"),
    kind("frozen", r#"{"frozen":{"#, "held until the same instant"),
    kind("thawed", r#""thawed""#, "not held"),
];

/// The kind of a record.
pub(super) fn kind_of(body: &str) -> &'static str {
    let kind = KINDS.iter().find(|kind| body.contains(kind.text));
    kind.unwrap_or_else(|| panic!("a record of a kind that the matrix does not know: {body}")).name
}

/// The text by which the first record of this kind is found.
pub(super) fn text_of(kind: &str) -> &'static str {
    KINDS.iter().find(|each| each.name == kind).unwrap_or_else(|| panic!("no kind {kind:?}")).text
}

/// The files of a journal, by their names.
pub(super) type Files = BTreeMap<&'static str, Vec<u8>>;

/// The files of the journal in this folder.
pub(super) fn files_in(state: &Path) -> Files {
    let names = ["journal.db", "journal.db-wal", "journal.acknowledged"].into_iter();
    names.filter_map(|name| Some((name, std::fs::read(state.join(name)).ok()?))).collect()
}

/// The records that a start would find, in order: when they were decided, and their bodies.
pub(super) fn lying_in(state: &Path) -> Vec<(i64, String)> {
    let copy = tempfile::tempdir().expect("a folder for a copy");
    for name in ["journal.db", "journal.db-wal"] {
        let there = state.join(name);
        if there.exists() {
            std::fs::copy(there, copy.path().join(name)).expect("a copy of the journal");
        }
    }
    let file = copy.path().join("journal.db");
    if !file.exists() {
        return Vec::new();
    }
    let journal = rusqlite::Connection::open(file).expect("the copy");
    let mut query = journal.prepare("SELECT at, body FROM record ORDER BY id").expect("a table of records");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("records");
    rows.collect::<Result<_, _>>().expect("records")
}

/// How many records were acknowledged, by the file beside the journal.
pub(super) fn acknowledged_in(state: &Path) -> usize {
    let text = std::fs::read_to_string(state.join("journal.acknowledged")).unwrap_or_default();
    text.split_whitespace().next().and_then(|id| id.parse().ok()).unwrap_or(0)
}

/// What the watch of a service does by these records: a state of the design, or `no watch`.
pub(super) fn state_of(service: &str, bodies: &[String]) -> &'static str {
    let service = ServiceName::new(service.to_owned()).expect("a name");
    let mut state = State::default();
    for body in bodies {
        let record: Record = serde_json::from_str(body).expect("a record");
        apply(&mut state, &service, Timestamp::from_milliseconds(0), &record).expect("a record that fits");
    }
    let own = state.service(&service);
    let stage = own.open_firings().next().map(|firing| firing.stage.clone());
    match stage {
        Some(Stage::Veto { .. }) => "firing",
        Some(Stage::Paged { .. }) => "paged",
        Some(Stage::Rolling) => "rolling_back",
        Some(Stage::Verifying { .. }) => "verifying",
        Some(Stage::Ended { .. }) | None if own.watch.is_some() => "watching",
        Some(Stage::Ended { .. }) | None => "no watch",
    }
}
