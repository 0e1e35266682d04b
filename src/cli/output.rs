//! What the command line says: results on stdout, one line on stderr when something failed.
//!
//! Never lets text of others (a note, a service's own words) act on the terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use rollbackd_core::receipt::text::is_hidden;
use serde_json::Value;

use crate::client;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was refused, or failed. Exit code 1.
    #[error("{0}")]
    Failed(String),
    /// The command line can't be used. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The daemon can't be reached. Exit code 3.
    #[error("{0}")]
    Unreachable(String),
    /// The same, in a text of several lines that stays as it is. Exit code 1.
    #[error("{0}")]
    Shown(String),
    /// What was printed already says it. Exit code 1.
    #[error("see above")]
    Told,
    /// Whoever reads stdout has gone; there is nobody to tell. Exit code 0.
    #[error("stdout is closed")]
    NobodyReads,
}

impl Failure {
    /// It was refused, or failed.
    pub fn failed(why: impl Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// Tells it, in one line, and gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::NobodyReads => return ExitCode::SUCCESS,
            Self::Told => return ExitCode::FAILURE,
            Self::Shown(text) => {
                let _written = writeln!(io::stderr(), "{}", text.trim_end());
                return ExitCode::FAILURE;
            }
        };
        // Where stderr is closed, the exit code is all that is left to say it.
        let _written = writeln!(io::stderr(), "rollbackd: {}", one_line(&self.to_string()));
        ExitCode::from(code)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let text = error.to_string();
        match error {
            client::Error::Unreachable { .. } => Self::Unreachable(text),
            client::Error::BadServer { .. } => Self::Usage(text),
            client::Error::BadToken
            | client::Error::Broken(_)
            | client::Error::Refused(_)
            | client::Error::NotRollbackd { .. } => Self::Failed(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::NobodyReads;
        }
        Self::Failed(format!("stdout can't be written: {error}"))
    }
}

/// Where results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    colour: bool,
}

/// How a word stands out on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// Not at all.
    Plain,
    /// All is well.
    Good,
    /// Nothing can be said, or a human held it.
    Notable,
    /// Something is the matter.
    Bad,
    /// A heading.
    Heading,
}

impl Output {
    /// JSON or text; coloured only on a terminal, and not where `NO_COLOR` is set.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: !no_colour && io::stdout().is_terminal() }
    }

    /// Whether JSON was asked for.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints text, or the JSON where that was asked for.
    ///
    /// # Errors
    /// Stdout can't be written.
    pub fn say(&self, text: &str, json: &Value) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        if self.json {
            writeln!(stdout, "{json:#}")?;
        } else {
            writeln!(stdout, "{}", text.trim_end_matches('\n'))?;
        }
        Ok(stdout.flush()?)
    }

    /// A text that stands out.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Good => "32",
            Paint::Notable => "33",
            Paint::Bad => "31",
            Paint::Heading => "1",
            Paint::Plain => "",
        };
        if !self.colour || code.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// A text in one line, without what would act on a terminal or turn around how its neighbours show.
pub(super) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().map(|each| if is_hidden(each) { '\u{fffd}' } else { each }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_does_not_act_on_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2J\nb\r\tc\u{7}"), "a\u{fffd}[2J b c\u{fffd}");
        assert_eq!(one_line("v1 \u{202e}1v\u{2069}\u{9b}2J"), "v1 \u{fffd}1v\u{fffd}\u{fffd}2J");
    }

    #[test]
    fn nothing_is_coloured_where_no_terminal_is() {
        let plain = Output { json: false, colour: false };
        assert_eq!(plain.paint(Paint::Bad, "fired"), "fired");
        let coloured = Output { json: false, colour: true };
        assert_eq!(coloured.paint(Paint::Bad, "fired"), "\u{1b}[31mfired\u{1b}[0m");
        assert_eq!(coloured.paint(Paint::Plain, "fired"), "fired");
    }
}
