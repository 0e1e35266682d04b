//! The shell of `rollbackd`: thin edges around a pure core, and the one loop that drives it.

pub mod clock;
pub mod door;
