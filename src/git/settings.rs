//! What configs say of git, read the same wherever they say it.
//!
//! Never takes anything that git could take for an option.

use std::path::PathBuf;

use rollbackd_core::config::node::{self, Node, Problems};

/// A branch's name.
pub(crate) fn branch(at: &Node, problems: &mut Problems) -> Option<String> {
    let written = node::text(at, problems)?;
    let is_branch = is_branch(written);
    if !is_branch {
        problems.error(at.place, format!("expected a branch such as main, not {written:?}"));
    }
    is_branch.then(|| written.to_owned())
}

/// A part of what git takes for a branch, which no option and no range of commits can be.
pub(crate) fn is_branch(written: &str) -> bool {
    let allowed = |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-');
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.chars().all(allowed)
            && !part.contains("..")
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    written.split('/').all(is_part)
}

/// A name or an address for commits.
pub(crate) fn text<'a>(at: &'a Node, problems: &mut Problems) -> Option<&'a str> {
    let written = node::text(at, problems)?;
    if written.is_empty() || written.contains(|each: char| each.is_control() || matches!(each, '<' | '>')) {
        problems.error(at.place, "expected a text without < and > and without line breaks");
        return None;
    }
    Some(written)
}

/// The absolute path of a file.
pub(crate) fn absolute(at: &Node, problems: &mut Problems) -> Option<PathBuf> {
    let written = node::text(at, problems)?;
    if !written.starts_with('/') {
        // Not shown: somebody may have put the secret itself here.
        problems.error_about_secret(at.place, "expected the absolute path of a file");
        return None;
    }
    Some(PathBuf::from(written))
}
