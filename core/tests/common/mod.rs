//! The world that the core's tests run in: a config, a driver with a simulated clock, and a small outside.
//!
//! Never decides anything that the core decides: it only does what effects and wants say, as the shell would.

pub(crate) mod outside;
pub(crate) mod plan;
pub(crate) mod seen;
pub(crate) mod world;

use std::time::Duration;

use rollbackd_core::name::{PathName, ServiceName, TriggerName, Version};
use rollbackd_core::time::{Timestamp, parse_duration};

/// An instant out of the text of one.
pub(crate) fn instant(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// A duration as the config writes it.
pub(crate) fn duration(text: &str) -> Duration {
    parse_duration(text).expect("a duration")
}

/// A service's name.
pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("a service name")
}

/// A trigger's name.
pub(crate) fn trigger(name: &str) -> TriggerName {
    TriggerName::new(name).expect("a trigger name")
}

/// A path's name.
pub(crate) fn path(name: &str) -> PathName {
    PathName::new(name).expect("a path name")
}

/// A version.
pub(crate) fn version(name: &str) -> Version {
    Version::new(name).expect("a version")
}
