//! Random days: whatever happens in whatever order, with jumps in time and restarts, the named invariants hold.

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

#[path = "properties/days.rs"]
mod days;
#[path = "properties/invariants.rs"]
mod invariants;
#[path = "properties/living.rs"]
mod living;

use proptest::prelude::*;
use rollbackd_core::config::Mode;
use rollbackd_core::record::{Record, WatchRecord};
use rollbackd_core::state::Turn;
use rollbackd_core::trigger::{Arming, Baseline};

use days::{Happens, day};
use invariants::{Ledger, check};
use living::one_day;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 3000, ..ProptestConfig::default() }
}

/// Lets a day happen and checks every invariant after each thing that does; then everything heals and must end.
fn live_through(variant: days::Variant, mode: Mode, happens: &[Happens]) {
    let mut world = living::morning(variant, mode);
    let mut known = Ledger::default();
    for each in happens {
        one_day(&mut world, each);
        check(&world, &mut known, each);
    }
    living::heal(&mut world);
    check(&world, &mut known, &Happens::Restart);
    invariants::everything_ended(&world);
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn every_invariant_holds_after_everything_that_happens(variant in days::variant(), happens in day()) {
        live_through(variant, Mode::Live, &happens);
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn a_dry_run_keeps_every_invariant_and_touches_nothing(variant in days::variant(), happens in day()) {
        live_through(variant, Mode::DryRun, &happens);
    }
}

proptest! {
    #![proptest_config(cases(5000))]

    #[test]
    fn a_number_in_a_record_is_read_exactly_as_it_was_written(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let trigger = common::trigger("p99");
        let turned = WatchRecord::Turned {
            trigger: trigger.clone(), turn: Turn::Clear, arming: Arming::Armed, seen_clear: true, value: Some(value),
        };
        let kept = WatchRecord::BaselineKept {
            trigger, baseline: Baseline { value: Some(value), looks: 1, expected: 1 },
        };
        for record in [Record::Watch(turned), Record::Watch(kept)] {
            let written = serde_json::to_string(&record).expect("a record that can be written");
            let read: Record = serde_json::from_str(&written).expect("a record that can be read");
            prop_assert_eq!(read, record);
        }
    }
}
