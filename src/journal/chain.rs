//! The chain of hashes: each record's hash covers the record and the hash before it.
//!
//! Never hashes two different contents to the same input: every part is prefixed with its length.

use std::collections::BTreeMap;

use rollbackd_core::time::Timestamp;
use sha2::{Digest, Sha256};

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// What the first record continues.
pub(super) const GENESIS: Tip = Tip { id: 0, hash: [0; 32] };

/// An end of the chain: the last id and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    /// The last record's id; 0 where there is none yet.
    pub(super) id: u64,
    /// Its hash.
    pub(super) hash: Hash,
}

/// The hash of a record that continues `previous`.
pub(super) fn of_record(previous: &Hash, id: u64, service: &str, seq: u64, at: Timestamp, body: &str) -> Hash {
    digest(&[
        b"rollbackd journal record 1",
        previous,
        &id.to_be_bytes(),
        service.as_bytes(),
        &seq.to_be_bytes(),
        &at.milliseconds().to_be_bytes(),
        body.as_bytes(),
    ])
}

/// The hash of a snapshot that stands for everything up to `tip`.
pub(super) fn of_snapshot(tip: &Tip, at: Timestamp, body: &str, sequences: &BTreeMap<String, u64>) -> Hash {
    let mut hasher = OfSnapshot::begin(tip, at, body.len());
    hasher.take(body.as_bytes());
    hasher.end(sequences)
}

/// The same, whose body comes in pieces.
pub(super) struct OfSnapshot(Sha256);

impl OfSnapshot {
    /// That of a snapshot whose body has so many bytes.
    pub(super) fn begin(tip: &Tip, at: Timestamp, body_bytes: usize) -> Self {
        let mut hasher = Sha256::new();
        add(&mut hasher, b"rollbackd journal snapshot 1");
        add(&mut hasher, &tip.hash);
        add(&mut hasher, &tip.id.to_be_bytes());
        add(&mut hasher, &at.milliseconds().to_be_bytes());
        hasher.update(length(body_bytes));
        Self(hasher)
    }

    /// The next of the body's bytes.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// After the last of them.
    pub(super) fn end(mut self, sequences: &BTreeMap<String, u64>) -> Hash {
        let mut counted = Vec::new();
        for (service, seq) in sequences {
            counted.extend_from_slice(&length(service.len()));
            counted.extend_from_slice(service.as_bytes());
            counted.extend_from_slice(&seq.to_be_bytes());
        }
        add(&mut self.0, &counted);
        self.0.finalize().into()
    }
}

/// The hash of some parts, each prefixed with its length.
pub(super) fn digest(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| add(&mut hasher, part));
    hasher.finalize().into()
}

fn add(hasher: &mut Sha256, part: &[u8]) {
    hasher.update(length(part.len()));
    hasher.update(part);
}

/// A length as it goes into a hash.
fn length(bytes: usize) -> [u8; 8] {
    (bytes as u64).to_be_bytes()
}

/// A hash as hexadecimal digits.
pub(super) fn hex(hash: &Hash) -> String {
    use std::fmt::Write;
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads what `hex` wrote.
pub(super) fn from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_moves_from_one_field_to_the_next_changes_the_hash() {
        let at = Timestamp::from_milliseconds(1);
        let hash = |service: &str, body: &str| of_record(&GENESIS.hash, 1, service, 1, at, body);
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        let counted = |pairs: &[(&str, u64)]| {
            let sequences = pairs.iter().map(|(service, seq)| ((*service).to_owned(), *seq)).collect();
            of_snapshot(&GENESIS, at, "", &sequences)
        };
        assert_ne!(counted(&[("a", 1), ("b", 2)]), counted(&[("a", 1)]));
    }

    #[test]
    fn a_hash_survives_being_written_and_read() {
        let hash = digest(&[b"something"]);
        assert_eq!(from_hex(&hex(&hash)), Some(hash));
        assert_eq!(from_hex("12"), None);
        assert_eq!(from_hex(&"g".repeat(64)), None);
        assert_eq!(from_hex(&"é".repeat(32)), None);
    }
}
