//! What a command printed: the end of it, in bounded memory, with secrets replaced as the bytes arrive.
//!
//! Never keeps a secret's bytes once they are recognised, not even half of one at the edge of what is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// How much of the output is kept, the last of it: some 400 lines, and small enough for a record of the journal.
pub(super) const KEPT_BYTES: usize = 32 * 1024;

/// The longest text that may stand for a revert: a digest with an image's name fits.
const LONGEST_RECEIPT: usize = 256;

const REDACTED: &[u8] = b"***";

/// One of the two streams.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// What the receipt shows of the output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    /// What stands for the revert, where the command said so.
    pub(crate) receipt: Option<String>,
    /// The end of both streams together.
    pub(crate) text: String,
}

/// Collects both streams.
pub(crate) struct Collector {
    shared: Arc<Shared>,
    secrets: Arc<Vec<SecretString>>,
}

struct Shared {
    kept: Mutex<Kept>,
    ended: Condvar,
}

#[derive(Default)]
struct Kept {
    both: Tail,
    out: Tail,
    /// What each open stream holds back because it could be the beginning of a secret.
    out_redactor: Option<Redactor>,
    error_redactor: Option<Redactor>,
}

/// Takes the bytes of one stream; its end is when it is dropped.
pub(crate) struct Sink {
    shared: Arc<Shared>,
    which: Stream,
}

impl Collector {
    pub(crate) fn new(mut secrets: Vec<SecretString>) -> Self {
        // Where one secret is the beginning of another, the longer one is looked for first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        let shared = Shared { kept: Mutex::default(), ended: Condvar::new() };
        Self { shared: Arc::new(shared), secrets: Arc::new(secrets) }
    }

    pub(crate) fn sink(&self, which: Stream) -> Sink {
        let redactor = Redactor { secrets: Arc::clone(&self.secrets), pending: Vec::new() };
        *self.shared.lock().redactor(which) = Some(redactor);
        Sink { shared: Arc::clone(&self.shared), which }
    }

    /// What was printed, once both streams have ended or `patience` is over.
    pub(crate) fn printed(&self, patience: Duration) -> Printed {
        let open = |kept: &mut Kept| kept.out_redactor.is_some() || kept.error_redactor.is_some();
        let waited = self.shared.ended.wait_timeout_while(self.shared.lock(), patience, open);
        let (mut kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        kept.close(Stream::Out);
        kept.close(Stream::Error);
        Printed { receipt: receipt(&self.hide(kept.out.text())), text: self.hide(kept.both.text()) }
    }

    /// Replaces the secrets that only the text shows: their bytes stood apart, as in UTF-16, by signs that are not shown.
    fn hide(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| {
            let shown: String = secret.expose_secret().chars().filter(is_shown).collect();
            if shown.is_empty() || !text.contains(&shown) { text } else { text.replace(&shown, "***") }
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What a thread that panicked left is still bytes: nothing in here can be half-done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    pub(crate) fn take(&self, bytes: &[u8]) {
        let mut kept = self.shared.lock();
        // None where the collector gave up waiting for this stream.
        let Some(clean) = kept.redactor(self.which).as_mut().map(|redactor| redactor.take(bytes)) else { return };
        kept.keep(self.which, &clean);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.lock().close(self.which);
        self.shared.ended.notify_all();
    }
}

impl Kept {
    const fn redactor(&mut self, which: Stream) -> &mut Option<Redactor> {
        match which {
            Stream::Out => &mut self.out_redactor,
            Stream::Error => &mut self.error_redactor,
        }
    }

    fn close(&mut self, which: Stream) {
        if let Some(redactor) = self.redactor(which).take() {
            let rest = redactor.finish();
            self.keep(which, &rest);
        }
    }

    fn keep(&mut self, which: Stream, clean: &[u8]) {
        self.both.push(clean);
        match which {
            Stream::Out => self.out.push(clean),
            Stream::Error => {}
        }
    }
}

/// Replaces secrets in a stream that arrives in pieces.
struct Redactor {
    secrets: Arc<Vec<SecretString>>,
    pending: Vec<u8>,
}

impl Redactor {
    /// The bytes that are certain by now.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let longest = self.secrets.first().map_or(1, |secret| secret.expose_secret().len());
        // A secret that starts before this place has all of its bytes here.
        let certain = (self.pending.len() + 1).saturating_sub(longest);
        self.redact_until(certain)
    }

    /// The rest. Where the stream breaks off inside a secret, its beginning is replaced too.
    fn finish(mut self) -> Vec<u8> {
        let mut clean = self.redact_until(self.pending.len());
        // The certain part of earlier pieces has left already; a beginning can only stand in what was pending.
        let cut = self.secrets.iter().filter_map(|secret| beginning_at_end(&clean, secret.expose_secret())).min();
        if let Some(start) = cut {
            clean.truncate(start);
            clean.extend_from_slice(REDACTED);
        }
        clean
    }

    /// Takes everything that starts before `end` out of what is pending, with secrets replaced.
    fn redact_until(&mut self, end: usize) -> Vec<u8> {
        let mut clean = Vec::with_capacity(end);
        let mut place = 0;
        while place < end {
            let rest = &self.pending[place..];
            let found = self.secrets.iter().map(|secret| secret.expose_secret().as_bytes());
            match found.into_iter().find(|secret| rest.starts_with(secret)) {
                Some(secret) => {
                    clean.extend_from_slice(REDACTED);
                    place += secret.len();
                }
                None => {
                    clean.push(rest[0]);
                    place += 1;
                }
            }
        }
        self.pending.drain(..place);
        clean
    }
}

/// The shortest beginning of a secret that is worth hiding: fewer bytes occur by chance.
const SHORTEST_BEGINNING: usize = 4;

/// Where the text ends with the beginning of the secret: the place at which that starts.
fn beginning_at_end(text: &[u8], secret: &str) -> Option<usize> {
    let longest = secret.len().min(text.len());
    let length = (SHORTEST_BEGINNING..=longest).rev().find(|length| text.ends_with(&secret.as_bytes()[..*length]))?;
    Some(text.len() - length)
}

/// Whether a character is shown: no control character but line ends and tabs is.
fn is_shown(each: &char) -> bool {
    !each.is_control() || matches!(each, '\n' | '\t')
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(KEPT_BYTES);
        self.cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    /// As text: no control characters but line ends and tabs, and a first line that says if something is missing.
    fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        let text = String::from_utf8_lossy(&[front, back].concat()).into_owned();
        let text: String = text.chars().filter(is_shown).collect();
        // Broken UTF-8 grows when it is replaced.
        let start = text.ceil_char_boundary(text.len().saturating_sub(KEPT_BYTES));
        if self.cut || start > 0 {
            return format!("[earlier output left out]\n{}", &text[start..]);
        }
        text
    }
}

/// What stands for the revert: the last line `receipt: ID`, else the last line if it looks like an id.
fn receipt(out: &str) -> Option<String> {
    let lines = || out.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let said = lines().find_map(|line| line.strip_prefix("receipt:")).map(str::trim);
    let id = said.or_else(|| lines().next().filter(|line| line.contains(|each: char| each.is_ascii_digit())))?;
    let is_id =
        |each: char| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '+' | ':' | '@' | '/' | '#' | '-');
    (!id.is_empty() && id.len() <= LONGEST_RECEIPT && id.chars().all(is_id)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(secrets: &[&str], pieces: &[&str]) -> Printed {
        let collector = Collector::new(secrets.iter().map(|secret| SecretString::from(*secret)).collect());
        let sink = collector.sink(Stream::Out);
        for piece in pieces {
            sink.take(piece.as_bytes());
        }
        drop(sink);
        collector.printed(Duration::ZERO)
    }

    #[test]
    fn a_secret_is_replaced_wherever_the_pieces_are_cut() {
        let whole = "a hunter2hunter22 b hunter2";
        for cut in 0..whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(printed(&["hunter2", "hunter22"], &[left, right]).text, "a ****** b ***", "cut at {cut}");
        }
    }

    #[test]
    fn no_half_of_a_secret_is_left_at_the_edge_of_what_is_kept() {
        let secret = "s3cret-".repeat(5);
        for after in (KEPT_BYTES - secret.len() - 2)..(KEPT_BYTES + 2) {
            let text = printed(&[&secret], &["x\n", &secret, &"y".repeat(after)]).text;
            assert!(!text.contains("cret"), "{after} bytes after the secret");
            assert!(text.len() <= KEPT_BYTES + 40);
        }
    }

    #[test]
    fn the_beginning_of_a_secret_at_which_the_output_breaks_off_is_replaced() {
        assert_eq!(printed(&["hunter2"], &["token hunt"]).text, "token ***");
    }

    #[test]
    fn a_secret_whose_signs_stand_apart_by_what_is_not_shown_is_replaced() {
        let utf16: String = "token hunter2".chars().flat_map(|each| [each, '\0']).collect();
        assert_eq!(printed(&["hunter2"], &[&utf16]).text, "token ***");
        assert_eq!(printed(&["hunter2"], &["receipt: hun\u{1b}ter2\n"]).receipt, None);
    }

    #[test]
    fn the_end_of_long_output_is_kept_and_the_cut_is_said() {
        let text = printed(&[], &[&"a".repeat(KEPT_BYTES), "\u{1b}[31mend\u{0}"]).text;
        assert!(text.starts_with("[earlier output left out]\naaa") && text.ends_with("a[31mend"), "{text}");
    }

    #[test]
    fn what_stands_for_the_revert_is_said_or_looks_like_an_id() {
        let receipt = |out: &str| printed(&["s3cret9"], &[out]).receipt;
        assert_eq!(receipt("receipt: r1\ndone 3 of 3\n"), Some("r1".to_owned()));
        assert_eq!(receipt("updating\ncapstone-api-00041-abc\n\n"), Some("capstone-api-00041-abc".to_owned()));
        for none in ["done\n", "took 3 s\n", "", "receipt: a b\n", "receipt: s3cret9\n", &"1".repeat(300)] {
            assert_eq!(receipt(none), None, "{none}");
        }
    }
}
