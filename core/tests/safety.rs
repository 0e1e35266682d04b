//! The fourteen rules of the design's "What it never does", each clause a test; never more than the rules say.

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

#[path = "safety/announcements.rs"]
mod announcements;
#[path = "safety/announcing.rs"]
mod announcing;
#[path = "safety/arming.rs"]
mod arming;
#[path = "safety/attempts.rs"]
mod attempts;
#[path = "safety/budget.rs"]
mod budget;
#[path = "safety/builds.rs"]
mod builds;
#[path = "safety/comparisons.rs"]
mod comparisons;
#[path = "safety/escalation.rs"]
mod escalation;
#[path = "safety/hints.rs"]
mod hints;
#[path = "safety/holds.rs"]
mod holds;
#[path = "safety/instants.rs"]
mod instants;
#[path = "safety/looks.rs"]
mod looks;
#[path = "safety/outages.rs"]
mod outages;
#[path = "safety/pages.rs"]
mod pages;
#[path = "safety/proofs.rs"]
mod proofs;
#[path = "safety/rehearsals.rs"]
mod rehearsals;
#[path = "safety/targets.rs"]
mod targets;
#[path = "safety/telling.rs"]
mod telling;
#[path = "safety/versions.rs"]
mod versions;
