//! The journal as it lies on the disk after a kill, read from a copy; and the kinds of records.
//!
//! Never opens the daemon's own files with a database: that would recover them before the daemon can.

use std::path::Path;

use rollbackd_core::apply::apply;
use rollbackd_core::firing::Stage;
use rollbackd_core::name::ServiceName;
use rollbackd_core::record::Record;
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;

/// Every kind of record, by the text that only such a record holds.
pub(super) const KINDS: [(&str, &str); 38] = [
    ("deployed", r#""record":"deployed""#),
    ("announced", r#""record":"announced""#),
    ("revision seen", r#""record":"revision_seen""#),
    ("watch opened", r#"{"watch":{"record":"opened""#),
    ("target found", r#""record":"target_found""#),
    ("baseline kept", r#""record":"baseline_kept""#),
    ("turned unseen", r#""turn":{"turn":"unseen""#),
    ("turned clear", r#""turn":{"turn":"clear""#),
    ("turned to breach", r#""turn":{"turn":"breaching""#),
    ("turned to low traffic", r#""turn":{"turn":"low_traffic""#),
    ("turned blind", r#""turn":{"turn":"blind""#),
    ("settled", r#""record":"settled""#),
    ("shadowed", r#""record":"shadowed""#),
    ("watch ended", r#"{"watch":{"record":"ended""#),
    ("fired", r#"{"fired":{"#),
    ("joined", r#""record":"joined""#),
    ("human asked", r#""record":"paged""#),
    ("veto open", r#""record":"vetoable""#),
    ("attempt intended", r#""record":"attempt_intended""#),
    ("attempt started", r#""record":"attempt_started""#),
    ("attempt in doubt", r#""record":"attempt_in_doubt""#),
    ("attempt ended", r#""record":"attempt_ended""#),
    ("path passed over", r#""record":"passed_over""#),
    ("would run", r#""record":"would_run""#),
    ("verifying", r#""record":"verifying""#),
    ("proved", r#""record":"proved""#),
    ("approved", r#""record":"approved""#),
    ("dismissed", r#""record":"dismissed""#),
    ("acknowledged", r#""record":"acknowledged""#),
    ("budget spent", r#""record":"budget_spent""#),
    ("noted", r#""record":"noted""#),
    ("firing ended", r#""what":{"record":"ended""#),
    ("receipt published", r#""record":"published""#),
    ("page opened", r#"{"page":{"record":"opened""#),
    ("page delivered", r#"{"page":{"record":"delivered""#),
    ("page over", r#"{"page":{"record":"resolved""#),
    ("frozen", r#"{"frozen":{"#),
    ("thawed", r#""thawed""#),
];

/// The kind of a record.
pub(super) fn kind_of(body: &str) -> &'static str {
    let kind = KINDS.iter().find(|(_, text)| body.contains(text));
    kind.unwrap_or_else(|| panic!("a record of a kind that the matrix does not know: {body}")).0
}

/// The text by which the first record of this kind is found.
pub(super) fn text_of(kind: &str) -> &'static str {
    KINDS.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("no kind {kind:?}")).1
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
