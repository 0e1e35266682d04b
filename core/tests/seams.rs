//! What the core tells the shell besides decisions: what is to be looked at and got ready, what is shown of the state and told
//! of rehearsals.

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

#[path = "seams/bounds.rs"]
mod bounds;
#[path = "seams/ready.rs"]
mod ready;
#[path = "seams/rehearsing.rs"]
mod rehearsing;
#[path = "seams/shown.rs"]
mod shown;
#[path = "seams/together.rs"]
mod together;
#[path = "seams/wanted.rs"]
mod wanted;
