//! What the pipeline's own files hold, where the config names them: a rehearsal is of what they say as well.
//!
//! Never keeps more of them than a hash, and never fails for one that can't be read: that is a fact like any other.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use rollbackd_core::config::{Config, PathRule};

use crate::receipts;

/// A pipeline's file has some hundreds of lines; a much larger one is another file.
const LARGEST_BYTES: u64 = 16 * 1024 * 1024;

/// Reads the files that the paths name. To be done whenever a config is loaded: they change with the repository.
pub fn read(config: &mut Config) {
    // What names no file stays shared.
    let names_files = |path: &Arc<PathRule>| !path.pipeline_files.is_empty();
    let services = config.services.values_mut().filter(|service| service.paths.iter().any(names_files));
    let paths = services.flat_map(|service| &mut Arc::make_mut(service).paths).filter(|path| names_files(path));
    for file in paths.flat_map(|path| &mut Arc::make_mut(path).pipeline_files) {
        file.sha256 = match sha256_of(&file.name) {
            Ok(sha256) => Some(sha256),
            Err(error) => {
                tracing::warn!(file = file.name, %error, "a pipeline's file can't be read: its changes are not noticed");
                None
            }
        };
    }
}

fn sha256_of(name: &str) -> io::Result<String> {
    let mut content = Vec::new();
    File::open(name)?.take(LARGEST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_BYTES {
        return Err(io::Error::other(format!("it has more than {LARGEST_BYTES} bytes")));
    }
    Ok(receipts::sha256(&content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_content_and_changes_with_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().to_str().unwrap();
        // SHA-256 of nothing (FIPS 180-4; `sha256sum /dev/null`).
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_of(name).unwrap(), of_nothing);
        std::fs::write(name, "steps: []\n").unwrap();
        assert_ne!(sha256_of(name).unwrap(), of_nothing);
        assert!(sha256_of("/nowhere/deploy.yml").is_err());
    }
}
