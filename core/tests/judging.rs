//! Judging by tables: what one look says, what a row of looks says, and that it does not matter how often one looks.

#[expect(dead_code, reason = "each test crate uses another part of it")]
mod common;

#[path = "judging/besides.rs"]
mod besides;
#[path = "judging/comparisons.rs"]
mod comparisons;
#[path = "judging/looks.rs"]
mod looks;
#[path = "judging/pieces.rs"]
mod pieces;
#[path = "judging/rows.rs"]
mod rows;
#[path = "judging/so_far.rs"]
mod so_far;
#[path = "judging/splits.rs"]
mod splits;
