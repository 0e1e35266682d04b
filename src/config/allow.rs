//! Comments that allow on purpose what `check` points at: `# rollbackd: allow NAME, NAME: why`.
//!
//! Never allows an error: what can't be used stays refused.

use rollbackd_core::config::lint::Lint;
use rollbackd_core::config::node::{Place, Problem, Severity};
use rollbackd_core::name;

/// All comments of a config.
#[derive(Debug, Default)]
pub struct Allowed {
    entries: Vec<Entry>,
}

/// One name in a comment.
#[derive(Debug)]
struct Entry {
    name: String,
    lint: Option<Lint>,
    /// Where the name stands.
    place: Place,
    /// The line that it speaks of; none where nothing follows.
    line: Option<usize>,
    used: bool,
}

/// Which lints were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Those that need nobody.
    Offline,
    /// Those that ask Prometheus too.
    Online,
}

impl Allowed {
    /// The comments of a config. One behind something speaks of its own line, one alone of the next line that is neither
    /// empty nor a comment.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut waiting = 0;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let is_alone = line.trim_start().starts_with('#');
            let found = entries_of(line, number);
            if is_alone || line.trim().is_empty() {
                entries.extend(found);
                continue;
            }
            entries.extend(found);
            for entry in entries.iter_mut().skip(waiting) {
                entry.line = Some(number);
            }
            waiting = entries.len();
        }
        Self { entries }
    }

    /// Takes out what is allowed.
    pub fn silence(&mut self, problems: &mut Vec<Problem>) {
        problems.retain(|problem| {
            let mut allowed = false;
            for entry in &mut self.entries {
                if entry.lint.is_some() && entry.lint == problem.lint && entry.line == Some(problem.place.line) {
                    entry.used = true;
                    allowed = true;
                }
            }
            !allowed
        });
    }

    /// What the comments name that does not exist, or that is not found where they stand.
    #[must_use]
    pub fn left(&self, looked: Looked) -> Vec<Problem> {
        self.entries.iter().filter_map(|entry| entry.left(looked)).collect()
    }
}

impl Entry {
    fn left(&self, looked: Looked) -> Option<Problem> {
        let (lint, message) = match self.lint {
            None => (Lint::UnknownAllow, self.unknown()),
            Some(lint) if !self.used && (looked == Looked::Online || !lint.needs_prometheus()) => {
                let message = format!("nothing on the line that this speaks of is {lint}: leave the comment out");
                (Lint::UnusedAllow, message)
            }
            Some(_) => return None,
        };
        let severity = Severity::Warning;
        Some(Problem { place: self.place, severity, message, hides_line: false, lint: Some(lint) })
    }

    fn unknown(&self) -> String {
        let names = Lint::ALL.map(Lint::name);
        let near = name::nearest(&self.name, names);
        let hint = if near.is_empty() {
            "see docs/lints.md".to_owned()
        } else {
            format!("did you mean {}?", near.join(" or "))
        };
        format!("there is no lint {:?} to allow: {hint}", self.name)
    }
}

/// The names that a line's comment allows, without the line that they speak of.
fn entries_of(line: &str, number: usize) -> Vec<Entry> {
    let Some((start, names)) = comment(line) else { return Vec::new() };
    let names = names.split(':').next().unwrap_or_default();
    let mut entries = Vec::new();
    let mut offset = start;
    for part in names.split(',') {
        let name = part.trim();
        let before = offset + (part.len() - part.trim_start().len());
        let column = line.get(..before).unwrap_or_default().chars().count() + 1;
        offset += part.len() + 1;
        let place = Place { line: number, column };
        if !name.is_empty() {
            entries.push(Entry { name: name.to_owned(), lint: Lint::named(name), place, line: None, used: false });
        }
    }
    entries
}

/// Where the names of a comment begin, and all that follows.
fn comment(line: &str) -> Option<(usize, &str)> {
    line.match_indices('#').find_map(|(hash, _)| {
        let (before, after) = (line.get(..hash)?, line.get(hash + 1..)?);
        if !before.is_empty() && !before.ends_with(char::is_whitespace) {
            return None;
        }
        let names = after.trim_start().strip_prefix("rollbackd:")?.trim_start().strip_prefix("allow ")?;
        Some((line.len() - names.len(), names))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, lint: Lint) -> Problem {
        let (place, severity) = (Place { line, column: 3 }, Severity::Warning);
        Problem { place, severity, message: String::new(), hides_line: false, lint: Some(lint) }
    }

    fn left_of(text: &str, mut problems: Vec<Problem>) -> Vec<(usize, Lint)> {
        let mut allowed = Allowed::of(text);
        allowed.silence(&mut problems);
        problems.extend(allowed.left(Looked::Offline));
        problems.into_iter().map(|problem| (problem.place.line, problem.lint.unwrap())).collect()
    }

    #[test]
    fn a_comment_speaks_of_its_own_line_or_of_the_next_one() {
        let behind = "a: 1 # rollbackd: allow no-budget\nb: 2\n";
        assert_eq!(left_of(behind, vec![problem(1, Lint::NoBudget)]), []);
        let before = "# rollbackd: allow no-budget, long-budget: it is a batch job\n\n# more\nb: 2\nc: 3\n";
        assert_eq!(left_of(before, vec![problem(4, Lint::NoBudget), problem(4, Lint::LongBudget)]), []);
        let elsewhere = left_of(before, vec![problem(5, Lint::NoBudget), problem(4, Lint::LongBudget)]);
        assert_eq!(elsewhere, [(5, Lint::NoBudget), (1, Lint::UnusedAllow)]);
    }

    #[test]
    fn a_name_that_does_not_exist_is_pointed_at_with_the_nearest() {
        let left = Allowed::of("x: 1   #  rollbackd:  allow no-budgets").left(Looked::Offline);
        assert_eq!(left[0].place, Place { line: 1, column: 29 });
        let expected = "there is no lint \"no-budgets\" to allow: did you mean no-budget or";
        assert!(left[0].message.starts_with(expected), "{}", left[0].message);
    }

    #[test]
    fn what_was_not_looked_for_is_not_missed() {
        let text = "x: 1 # rollbackd: allow few-scrapes";
        assert_eq!(Allowed::of(text).left(Looked::Offline), []);
        assert_eq!(Allowed::of(text).left(Looked::Online).len(), 1);
    }

    #[test]
    fn what_only_looks_like_a_comment_allows_nothing() {
        for text in ["x: a# rollbackd: allow no-budget", "# rollbackd allow no-budget", "# rollbackd: the config", "#"]
        {
            assert_eq!(left_of(text, vec![problem(1, Lint::NoBudget)]), [(1, Lint::NoBudget)], "{text}");
        }
    }
}
