//! Files of secrets that the config names.
//!
//! Never opens one, and never shows what stands in the place of a name: it could be the secret itself.

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Node, Problems};

/// The absolute name of a file; `what` is what it holds.
pub(crate) fn secret_file(at: &Node, what: &str, problems: &mut Problems) -> Option<PathBuf> {
    let written = node::text(at, problems)?;
    if !written.starts_with('/') {
        problems.error_about_secret(at.place, format!("expected the absolute path of the file that holds {what}"));
        return None;
    }
    Some(PathBuf::from(written))
}
