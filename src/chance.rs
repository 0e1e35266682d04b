//! The only place that draws a random number.

use std::cell::RefCell;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// What draws numbers in place of this machine.
type Source = Box<dyn FnMut() -> f64>;

thread_local! {
    static REPLACED: RefCell<Option<Source>> = const { RefCell::new(None) };
}

/// A share of one, so that pagers that failed together are not tried again together. Nothing depends on its quality.
#[must_use]
pub fn share() -> f64 {
    REPLACED.with_borrow_mut(|source| source.as_mut().map(|source| source())).unwrap_or_else(|| {
        let random = RandomState::new().build_hasher().finish();
        #[expect(clippy::cast_precision_loss, reason = "a share needs no 64 bits")]
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        share
    })
}

/// From now on this thread draws its numbers from here: a simulation is the same each time.
pub fn replace(source: impl FnMut() -> f64 + 'static) {
    REPLACED.set(Some(Box::new(source)));
}
