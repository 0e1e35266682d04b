//! Verifies the folder of receipts: complete, unchanged, and each continuing the one before.
//!
//! Never repairs anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rollbackd_core::receipt::{Files, FrontMatter, Parts, facts_within, names_parts, stem};
use serde::{Deserialize, Serialize};

use super::{Error, Receipts, number_of, sha256};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many receipts were read.
    pub checked: usize,
    /// What is wrong, in the order of the numbers.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The receipt, where it is about one.
    pub number: Option<u64>,
    /// What, and what was expected.
    pub what: String,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    /// The report as lines of text.
    #[must_use]
    pub fn table(&self) -> String {
        let lines = self.problems.iter().map(|problem| match problem.number {
            Some(number) => format!("receipt {}: {}\n", stem(number), problem.what),
            None => format!("{}\n", problem.what),
        });
        let lines: String = lines.collect();
        let count = if self.checked == 1 { "1 receipt".to_owned() } else { format!("{} receipts", self.checked) };
        match self.problems.len() {
            0 => format!("{count}: complete and unchanged\n"),
            1 => format!("{lines}{count}: 1 problem\n"),
            problems => format!("{lines}{count}: {problems} problems\n"),
        }
    }
}

/// The end of an `NNN.json`.
#[derive(Deserialize)]
struct Json {
    #[serde(flatten)]
    front: FrontMatter,
    sha256: Hashes,
}

#[derive(Deserialize)]
struct Hashes {
    md: String,
    svg: String,
}

/// Which files a number has.
type Extensions = BTreeSet<String>;

pub(super) fn verify(receipts: &Receipts, known: &[(u64, String)]) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut files: BTreeMap<u64, Extensions> = BTreeMap::new();
    for name in receipts.names()? {
        match place(&name) {
            Place::Receipt(number, extension) => {
                files.entry(number).or_default().insert(extension.to_owned());
            }
            Place::Stray => {
                report.find(None, format!("{name} is no name of a receipt's file: expected such as 001.md"))
            }
            Place::Foreign => {}
        }
    }
    let known: BTreeMap<u64, &str> = known.iter().map(|(number, sha256)| (*number, sha256.as_str())).collect();
    report.find_missing(&files, &known);
    let mut before: Option<(u64, String)> = None;
    for (number, extensions) in &files {
        if extensions.contains("md") {
            before = report.check(receipts, *number, before.as_ref(), known.get(number).copied());
        }
    }
    report.problems.sort_by_key(|problem| problem.number);
    Ok(report)
}

enum Place<'a> {
    Receipt(u64, &'a str),
    /// It looks like a receipt's file and is none.
    Stray,
    /// It is nothing of ours: a README, a hidden file.
    Foreign,
}

fn place(name: &str) -> Place<'_> {
    if !name.starts_with(|first: char| first.is_ascii_digit()) {
        return Place::Foreign;
    }
    let parts = name.split_once('.').filter(|(_, extension)| matches!(*extension, "md" | "json" | "svg"));
    let number = parts.and_then(|(text, extension)| Some((number_of(text)?, extension)));
    number.map_or(Place::Stray, |(number, extension)| Place::Receipt(number, extension))
}

impl Report {
    fn find(&mut self, number: impl Into<Option<u64>>, what: impl Into<String>) {
        self.problems.push(Problem { number: number.into(), what: what.into() });
    }

    /// Numbers run from 1 without gaps up to the last that is there or that the journal knows.
    fn find_missing(&mut self, files: &BTreeMap<u64, Extensions>, known: &BTreeMap<u64, &str>) {
        let mut expected = 1;
        let numbers: BTreeSet<u64> = files.keys().chain(known.keys()).copied().collect();
        for number in numbers {
            if number > expected {
                let up_to = if number - expected > 1 { format!(" up to {}", stem(number - 1)) } else { String::new() };
                self.find(expected, format!("missing{up_to}: numbers run from 001 without gaps"));
            }
            expected = number.saturating_add(1);
            match files.get(&number) {
                None => self.find(number, "missing: the journal says that it was published"),
                Some(extensions) => self.find_missing_files(number, extensions),
            }
        }
    }

    fn find_missing_files(&mut self, number: u64, extensions: &Extensions) {
        let missing = ["md", "json", "svg"].into_iter().filter(|extension| !extensions.contains(*extension));
        for extension in missing {
            let file = format!("{}.{extension}", stem(number));
            self.find(number, format!("{file} is missing: removed, or never finished by a daemon that is down"));
        }
    }

    /// Checks one receipt, and gives its number and hash for the next.
    fn check(
        &mut self,
        receipts: &Receipts,
        number: u64,
        before: Option<&(u64, String)>,
        known: Option<&str>,
    ) -> Option<(u64, String)> {
        self.checked += 1;
        let bytes = self.read(receipts, number, "md")?;
        let sha256 = sha256(&bytes);
        if known.is_some_and(|known| known != sha256) {
            self.find(number, "changed: it is not what the journal says was published");
        }
        let markdown = String::from_utf8_lossy(&bytes);
        match FrontMatter::read(&markdown) {
            Ok(front) => {
                self.check_front(number, &front, &markdown);
                self.check_chain(number, &front, before);
                self.check_json(receipts, number, &front, &markdown, &sha256);
            }
            Err(error) => self.find(number, format!("{}.md is damaged: {error}", stem(number))),
        }
        Some((number, sha256))
    }

    fn check_front(&mut self, number: u64, front: &FrontMatter, markdown: &str) {
        if front.number != number {
            let what =
                format!("{}.md says that it is number {}: it was put in another's place", stem(number), front.number);
            self.find(number, what);
        }
        if !markdown.starts_with(&front.yaml()) {
            self.find(number, format!("changed: the front matter of {}.md is not as it is written", stem(number)));
        }
    }

    fn check_chain(&mut self, number: u64, front: &FrontMatter, before: Option<&(u64, String)>) {
        let named = front.previous_sha256.as_deref();
        if number == 1 && named.is_some() {
            self.find(number, "it names a receipt before it, and the first has none: others were removed");
        }
        let before = before.filter(|(earlier, _)| earlier + 1 == number);
        match (before, named) {
            (Some((earlier, _)), None) => {
                self.find(number, format!("it does not name receipt {} before it (previous_sha256)", stem(*earlier)));
            }
            (Some((earlier, sha256)), Some(named)) if sha256 != named => {
                let earlier = stem(*earlier);
                let what =
                    format!("the chain is broken: {earlier}.md is not the receipt that this one was written after");
                self.find(number, what);
            }
            (Some(_) | None, _) => {}
        }
    }

    fn check_json(&mut self, receipts: &Receipts, number: u64, front: &FrontMatter, markdown: &str, md: &str) {
        let stem = stem(number);
        let svg = self.read(receipts, number, "svg").map(|svg| sha256(&svg));
        let Some(bytes) = self.read(receipts, number, "json") else { return };
        let text = String::from_utf8_lossy(&bytes);
        let json: Json = match serde_json::from_str(&text) {
            Ok(json) => json,
            Err(error) => return self.find(number, format!("{stem}.json is damaged: {error}")),
        };
        if json.sha256.md != md {
            self.find(number, format!("changed: {stem}.md is not what {stem}.json was written beside"));
        }
        if svg.is_some_and(|svg| svg != json.sha256.svg) {
            self.find(number, format!("changed: {stem}.svg is not what {stem}.json was written beside"));
        }
        if &json.front != front {
            self.find(number, format!("changed: {stem}.json and {stem}.md tell different facts"));
        }
        let facts = facts_within(&text, Files { md: &json.sha256.md, svg: &json.sha256.svg });
        let facts_sha256 = facts.map(|facts| sha256(facts.as_bytes())).unwrap_or_default();
        let parts = Parts { facts_sha256: &facts_sha256, svg_sha256: &json.sha256.svg };
        if !names_parts(markdown, number, parts) {
            self.find(number, format!("changed: {stem}.json is not what {stem}.md was written beside"));
        }
    }

    /// Reads a file; that it is missing was found already.
    fn read(&mut self, receipts: &Receipts, number: u64, extension: &str) -> Option<Vec<u8>> {
        match receipts.read(number, extension) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.find(number, format!("{}.{extension} can't be read: {error}", stem(number)));
                }
                None
            }
        }
    }
}
