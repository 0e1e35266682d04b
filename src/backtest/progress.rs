//! A bar that says how far it is, on stderr, and only where a person looks at it.

use std::io::{self, IsTerminal as _, Write as _};

/// The bar's width in characters.
const WIDTH: usize = 30;

/// How far it is.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    what: &'static str,
    done: usize,
    all: usize,
}

impl Progress {
    /// A bar that is shown on a terminal alone.
    pub(super) fn on_terminal() -> Self {
        Self { shown: io::stderr().is_terminal(), what: "", done: 0, all: 0 }
    }

    /// A new bar for so many steps.
    pub(super) fn begin(&mut self, what: &'static str, all: usize) {
        (self.what, self.done, self.all) = (what, 0, all);
        self.show();
    }

    /// One step is done.
    pub(super) fn step(&mut self) {
        self.done += 1;
        self.show();
    }

    /// The bar goes away.
    pub(super) fn end(&self) {
        if self.shown {
            // Nobody is told that a bar could not be drawn.
            let _written = write!(io::stderr(), "\r\u{1b}[K");
        }
    }

    fn show(&self) {
        if self.shown {
            let _written = write!(io::stderr(), "\r\u{1b}[K{}", bar(self.what, self.done, self.all));
        }
    }
}

fn bar(what: &str, done: usize, all: usize) -> String {
    let full = (done * WIDTH).checked_div(all).unwrap_or(WIDTH).min(WIDTH);
    format!("{what} [{}{}] {done}/{all}", "#".repeat(full), ".".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_when_all_is_done() {
        assert_eq!(bar("asking", 0, 4), "asking [..............................] 0/4");
        assert_eq!(bar("asking", 2, 4), "asking [###############...............] 2/4");
        assert_eq!(bar("asking", 4, 4), "asking [##############################] 4/4");
        assert_eq!(bar("asking", 0, 0), "asking [##############################] 0/0");
    }
}
