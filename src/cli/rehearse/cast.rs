//! A recording of what was shown, as asciinema plays it: asciicast v2, one JSON value a line.
//!
//! Format: https://docs.asciinema.org/manual/asciicast/v2

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rollbackd_core::time::Timestamp;
use serde_json::json;
use tokio::time::Instant;

/// A recording that is being written.
#[derive(Debug)]
pub(super) struct Cast {
    file: File,
    began: Instant,
}

impl Cast {
    /// Begins a recording; a file that is there already stays as it is.
    pub(super) fn create(file: &Path, title: &str, (width, height): (u16, u16), at: Timestamp) -> io::Result<Self> {
        let mut file = File::create_new(file)?;
        // Whole seconds of the Unix epoch, which is what the format wants.
        let timestamp = at.milliseconds().div_euclid(1000);
        let header = json!({"version": 2, "width": width, "height": height, "timestamp": timestamp, "title": title});
        writeln!(file, "{header}")?;
        Ok(Self { file, began: Instant::now() })
    }

    /// What was just written to the terminal; a bare line end there moves to the left edge as well.
    pub(super) fn shown(&mut self, text: &str) -> io::Result<()> {
        let text = text.replace('\n', "\r\n");
        writeln!(self.file, "{}", json!([self.began.elapsed().as_secs_f64(), "o", text]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_a_header_and_what_was_shown_when() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.cast");
        let at = "2026-11-23T10:00:00.900Z".parse().unwrap();
        let mut cast = Cast::create(&file, "a \"title\"", (80, 24), at).unwrap();
        cast.shown("one\n").unwrap();
        cast.shown("\r\u{1b}[2Ktwo").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines[0],
            json!({"version": 2, "width": 80, "height": 24, "timestamp": 1_795_428_000, "title": "a \"title\""})
        );
        assert_eq!((&lines[1][1], &lines[1][2]), (&json!("o"), &json!("one\r\n")));
        assert!(lines[1][0].as_f64() <= lines[2][0].as_f64());
        let there = Cast::create(&file, "again", (80, 24), at).unwrap_err();
        assert_eq!(there.kind(), io::ErrorKind::AlreadyExists);
    }
}
