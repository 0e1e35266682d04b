//! The journal's records and snapshots, read back: what they add up to can be shown, asked and written again.

use std::sync::LazyLock;
use std::time::Duration;

use rollbackd::config;
use rollbackd_core::apply::apply;
use rollbackd_core::board::Board;
use rollbackd_core::config::Config;
use rollbackd_core::event::{Event, Happening};
use rollbackd_core::name::ServiceName;
use rollbackd_core::receipt::{Evidence, Parts, receipt};
use rollbackd_core::record::Record;
use rollbackd_core::state::State;
use rollbackd_core::time::Timestamp;
use rollbackd_core::view;
use rollbackd_core::wants::wants;
use rollbackd_core::{decide, resume, wake_at};

const REFERENCE: &str = include_str!("../../config/rollbackd.yml");

static CONFIG: LazyLock<Config> = LazyLock::new(|| config::parse(REFERENCE).0.expect("the reference config").core);

/// More of them, and one input takes longer than it teaches.
const MOST_RECORDS: usize = 200;

fn instant(index: usize) -> Timestamp {
    let base = Timestamp::from_milliseconds(1_795_000_000_000);
    base + Duration::from_secs(u64::try_from(index).unwrap_or(0))
}

fn service() -> ServiceName {
    ServiceName::new("capstone-api").expect("a service of the reference config")
}

/// One record in each line.
pub(super) fn records(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut state = State::default();
    let service = service();
    for (index, line) in text.lines().take(MOST_RECORDS).enumerate() {
        let Ok(record) = serde_json::from_str::<Record>(line) else { continue };
        let written = serde_json::to_string(&record).expect("a record that can be written");
        let again = serde_json::from_str::<Record>(&written);
        assert_eq!(again.ok(), Some(record.clone()), "{written}");
        let before = state.services.get(&service).map_or(0, |own| own.sequence);
        let mut whole = state.clone();
        if apply(&mut whole, &service, instant(index), &record).is_ok() {
            assert_eq!(whole.services[&service].sequence, before + 1, "the sequence is the number of records");
            state = whole;
        }
    }
    stands(&state, &service);
}

/// A state, as a snapshot holds it.
pub(super) fn snapshot(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<State>(bytes) else { return };
    stands(&state, &service());
}

/// What a restarted daemon does with a state: writes it, shows it, takes it up again.
fn stands(state: &State, service: &ServiceName) {
    let written = serde_json::to_string(state).expect("a state that can be written");
    let again: State = serde_json::from_str(&written).expect("a state that can be read");
    assert_eq!(&again, state, "{written}");
    let now = instant(3600);
    let _ = resume(&CONFIG, state);
    let _ = wake_at(&CONFIG, state, service);
    let _ = wants(&CONFIG, state, service);
    let shown = view::service(&CONFIG, state, &Board::default(), service, now);
    assert!(serde_json::to_string(&shown).is_ok() && serde_json::to_string(&view::firings(state)).is_ok());
    let event = Event { service: service.clone(), what: Happening::Woke };
    let decision = decide(&CONFIG, state, &event, now);
    let mut next = state.clone();
    for record in &decision.records {
        apply(&mut next, service, now, record).expect("a record that was decided fits");
    }
    let Some(own) = state.services.get(service) else { return };
    for firing in own.firings.iter().take(20) {
        let Ok(receipt) = receipt(firing, &CONFIG.services[service], &Evidence::default()) else { continue };
        let parts = Parts { facts_sha256: "0", svg_sha256: "0" };
        let markdown = receipt.markdown(parts);
        let front = rollbackd_core::receipt::FrontMatter::read(&markdown);
        assert_eq!(front.as_ref(), Ok(&receipt.front), "{markdown}");
        let chart = receipt.chart();
        assert!(!chart.contains("<script") && chart.ends_with("</svg>\n"), "{chart}");
        assert!(serde_json::from_str::<serde_json::Value>(&receipt.facts()).is_ok());
    }
}
