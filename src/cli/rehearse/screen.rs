//! Where the steps go: a terminal with one live line below them, or plain lines; and a recording of just that.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::cast::Cast;
use crate::cli::output::{Failure, Output};
use crate::clock;

/// Where no terminal is, a live line is written this often: a log that fills up helps nobody.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
/// What a recording is played in, where there is no terminal to ask.
const USUAL_SIZE: (u16, u16) = (100, 30);

/// Where the steps go.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: bool,
    /// With JSON on stdout, the steps are for people on stderr.
    to_stderr: bool,
    width: u16,
    live_shown: bool,
    plain_at: Option<Instant>,
    cast: Option<Cast>,
}

impl Screen {
    /// A screen; its recording begins now, where one was asked for.
    pub(super) fn open(output: &Output, record: Option<&Path>, title: &str) -> Result<Self, Failure> {
        let to_stderr = output.is_json();
        let terminal = if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let size = size(terminal, to_stderr);
        let cast = match record {
            None => None,
            Some(file) => Some(Cast::create(file, title, size, clock::now()).map_err(|error| {
                Failure::failed(format!("{} can't be recorded into: {error}; nothing was begun", file.display()))
            })?),
        };
        Ok(Self { terminal, to_stderr, width: size.0, live_shown: false, plain_at: None, cast })
    }

    /// One more step, which stays.
    pub(super) fn step(&mut self, line: &str) -> Result<(), Failure> {
        let text = format!("{}{line}\n", self.over_the_live_line());
        self.live_shown = false;
        self.write(&text)
    }

    /// What goes on now: on a terminal it takes the place of the last such line.
    pub(super) fn live(&mut self, line: &str) -> Result<(), Failure> {
        if self.terminal {
            let text = format!("{}{}", self.over_the_live_line(), cut(line, self.width));
            self.live_shown = true;
            return self.write(&text);
        }
        if self.plain_at.is_some_and(|at| at.elapsed() < PLAIN_EVERY) {
            return Ok(());
        }
        self.plain_at = Some(Instant::now());
        self.write(&format!("{line}\n"))
    }

    /// Nothing more comes.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        if self.live_shown { self.write("\n") } else { Ok(()) }
    }

    const fn over_the_live_line(&self) -> &'static str {
        if self.live_shown { "\r\u{1b}[2K" } else { "" }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        if let Some(cast) = &mut self.cast
            && let Err(error) = cast.shown(text)
        {
            // The rehearsal is what matters: it is shown to its end without a recording.
            self.cast = None;
            let _written = writeln!(io::stderr(), "rollbackd: the recording can't be written: {error}");
        }
        if self.to_stderr {
            let mut stderr = io::stderr().lock();
            stderr.write_all(text.as_bytes())?;
            return Ok(stderr.flush()?);
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

fn size(terminal: bool, to_stderr: bool) -> (u16, u16) {
    let asked = if to_stderr {
        rustix::termios::tcgetwinsize(io::stderr())
    } else {
        rustix::termios::tcgetwinsize(io::stdout())
    };
    match asked {
        Ok(size) if terminal && size.ws_col > 20 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        Ok(_) | Err(_) => USUAL_SIZE,
    }
}

/// As much as fits one row, or what is written next could not take its place. Colours count no width.
fn cut(line: &str, width: u16) -> String {
    let room = usize::from(width).saturating_sub(1);
    let (mut kept, mut shown, mut in_code) = (String::new(), 0, false);
    for each in line.chars() {
        if each == '\u{1b}' {
            in_code = true;
        } else if !in_code {
            shown += 1;
            if shown > room {
                return format!("{kept}\u{1b}[0m");
            }
        }
        if in_code && each == 'm' {
            in_code = false;
        }
        kept.push(each);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_line_never_wraps_and_its_colours_count_no_width() {
        assert_eq!(cut("\u{1b}[32mabcdef\u{1b}[0m", 5), "\u{1b}[32mabcd\u{1b}[0m");
        assert_eq!(cut("abc", 5), "abc");
    }
}
