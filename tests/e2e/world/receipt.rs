//! A receipt as a reader finds it: its front matter by key, and its body.
//!
//! Never takes a file for a receipt that is not `NNN.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One receipt.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    /// Its number.
    pub(crate) number: u64,
    /// Its front matter: each value as text, without quotes.
    pub(crate) front: BTreeMap<String, String>,
    /// What follows the front matter.
    pub(crate) body: String,
    /// Its file.
    pub(crate) file: PathBuf,
}

impl Receipt {
    /// All receipts in a folder, by number; none where there is no folder yet.
    pub(crate) fn all(dir: &Path) -> Vec<Self> {
        let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
        let files = entries.map(|entry| entry.expect("an entry of the receipts' folder").path());
        let mut receipts: Vec<_> = files.filter_map(Self::read).collect();
        receipts.sort_by_key(|receipt| receipt.number);
        receipts
    }

    fn read(file: PathBuf) -> Option<Self> {
        let is_receipt = file.extension().is_some_and(|extension| extension == "md");
        let number = file.file_stem()?.to_str()?.parse().ok().filter(|_| is_receipt)?;
        let text = std::fs::read_to_string(&file).expect("a receipt");
        let (front, body) = split(&text).unwrap_or_else(|| panic!("{} has no front matter: {text}", file.display()));
        Some(Self { number, front: entries(front), body: body.to_owned(), file })
    }

    /// A value of the front matter.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.front.get(key).unwrap_or_else(|| panic!("the receipt has no {key:?}: {:?}", self.front))
    }

    /// The chart beside it.
    pub(crate) fn chart(&self) -> PathBuf {
        self.file.with_extension("svg")
    }

    /// The same facts for programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.file.with_extension("json")).expect("the receipt's JSON");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("---\n")?.split_once("\n---\n")
}

fn entries(front: &str) -> BTreeMap<String, String> {
    let lines = front.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())).collect()
}
