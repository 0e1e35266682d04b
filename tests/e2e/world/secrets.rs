//! Secrets that occur nowhere else, planted where an operator would put them, and looked for everywhere else.
//!
//! Never tells a secret itself when it finds one: it names whose it is, and where.

use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{GitHub, World};

/// The planted secrets by whose they are.
pub(crate) struct Secrets {
    all: Vec<(&'static str, String)>,
}

impl Secrets {
    /// Puts one for each use into a file `NAME-secret` of the world's folder. GitHub's is in the plan's own token file.
    pub(crate) fn planted(world: &World) -> Self {
        let names = ["pager", "prometheus", "command", "api", "header"];
        let all: Vec<_> = names.iter().map(|name| (*name, format!("s3cr3t-{name}-0xC0FFEE"))).collect();
        for (name, secret) in &all {
            std::fs::write(world.place(&format!("{name}-secret")), secret).expect("a file with a secret");
        }
        Self { all: all.into_iter().chain([("github", GitHub::TOKEN.to_owned())]).collect() }
    }

    /// The secret of this use.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.all.iter().find(|(known, _)| *known == name);
        found.map(|(_, secret)| secret).expect("a secret that was planted")
    }

    /// The SHA-256 of the secret of this use, in hex.
    pub(crate) fn sha256(&self, name: &str) -> String {
        Self::sha256_of(self.get(name))
    }

    /// The SHA-256 of a text, in hex.
    pub(crate) fn sha256_of(text: &str) -> String {
        Sha256::digest(text).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Whose secrets are in these bytes.
    pub(crate) fn found_in(&self, bytes: &[u8]) -> Vec<&'static str> {
        let is_in = |secret: &str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        self.all.iter().filter(|(_, secret)| is_in(secret)).map(|(name, _)| *name).collect()
    }

    /// Asserts that no secret is in these bytes.
    pub(crate) fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let found = self.found_in(bytes);
        assert!(found.is_empty(), "the secrets of {found:?} are in {place}");
    }

    /// Every file below a folder. Gives how many there are.
    pub(crate) fn assert_absent_below(&self, dir: &Path) -> usize {
        let mut count = 0;
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let file = entry.expect("an entry of a folder").path();
            if file.is_dir() {
                count += self.assert_absent_below(&file);
            } else {
                self.assert_absent(&file.display().to_string(), &std::fs::read(&file).expect("a file"));
                count += 1;
            }
        }
        count
    }
}
