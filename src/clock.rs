//! The only place that reads a clock.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use rollbackd_core::time::Timestamp;

/// A clock in place of this machine's.
type Clock = Box<dyn Fn() -> Timestamp>;

thread_local! {
    static REPLACED: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// The instant by this machine's clock, or by the one that this thread was given in its place.
#[must_use]
pub fn now() -> Timestamp {
    REPLACED.with_borrow(|clock| clock.as_ref().map(|clock| clock())).unwrap_or_else(of_this_machine)
}

fn of_this_machine() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_milliseconds(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// From now on this thread reads this clock: a simulation has its own time.
pub fn replace(clock: impl Fn() -> Timestamp + 'static) {
    REPLACED.set(Some(Box::new(clock)));
}
