//! The folder of receipts: publishes each one atomically, lists, shows and verifies them.
//!
//! Never changes or replaces a receipt that is there, and never leaves a number with half of its files for good:
//! the markdown comes last, and until it is there publishing starts again. Everything here blocks.

mod past;
mod repository;
mod table;
mod verify;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rollbackd_core::name::ServiceName;
use rollbackd_core::receipt::{Files, FrontMatter, Parts, PathExperience, Receipt, stem};
use sha2::{Digest, Sha256};

use past::Past;
pub use past::PastRun;
pub use repository::{Keeping, Kept, NotKept};
pub use table::{Summary, json, table};
pub use verify::{Problem, Report};

/// No file of a receipt is larger: each of its texts and lists has a limit of its own, and all of them together stay
/// far below this.
const LARGEST_FILE_BYTES: u64 = 8 << 20;

/// How many receipts, from the latest back, tell what to expect of a path: years of them for most teams.
const REMEMBERED: usize = 200;

/// What hidden files that are still being written end with.
const UNFINISHED: &str = ".rollbackd-tmp";

/// Why a receipt could not be published or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file in it can't be written.
    #[error("could not write {}: expected a folder for receipts that this user may write; make it, or change receipts_dir", .file.display())]
    Write {
        /// The file or folder.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The folder or a file in it can't be read.
    #[error("could not read {}: expected a folder of receipts that this user may read (receipts_dir)", .file.display())]
    Read {
        /// The file or folder.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no such receipt.
    #[error("there is no receipt {} in {}", stem(*.number), .dir.display())]
    Missing {
        /// The number that was asked for.
        number: u64,
        /// The folder.
        dir: PathBuf,
    },
    /// The number belongs to something else.
    #[error("could not publish receipt {}: {} is there already and tells another firing ({why}); receipts are never \
        replaced: point receipts_dir at the folder that belongs to this journal, or at an empty one", stem(*.number), .file.display())]
    Taken {
        /// The number.
        number: u64,
        /// The file that is there.
        file: PathBuf,
        /// What it tells.
        why: String,
    },
}

/// A receipt whose files are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub number: u64,
    /// The SHA-256 of its markdown, in hex.
    pub sha256: String,
}

/// The folder of receipts.
#[derive(Debug)]
pub struct Receipts {
    dir: PathBuf,
    /// One at a time: whoever holds this owns every unfinished file in the folder.
    publishing: Mutex<()>,
}

impl Receipts {
    /// The receipts in this folder, which need not exist yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), publishing: Mutex::new(()) }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a receipt's three files durable, the markdown last. Where its markdown is there already, nothing is written.
    ///
    /// # Errors
    /// The folder can't be written, or the number is taken by another firing's receipt.
    pub fn publish(&self, receipt: &Receipt) -> Result<Published, Error> {
        let _alone = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_dir()?;
        self.sweep()?;
        let number = receipt.front.number;
        if let Some(sha256) = self.already_published(receipt)? {
            return Ok(Published { number, sha256 });
        }
        let svg = receipt.chart();
        let (svg_sha256, facts_sha256) = (sha256(svg.as_bytes()), sha256(receipt.facts().as_bytes()));
        let markdown = receipt.markdown(Parts { facts_sha256: &facts_sha256, svg_sha256: &svg_sha256 });
        let sha256 = sha256(markdown.as_bytes());
        let json = receipt.json(Files { md: &sha256, svg: &svg_sha256 });
        self.write(number, "svg", &svg)?;
        self.write(number, "json", &json)?;
        self.write(number, "md", &markdown)?;
        Ok(Published { number, sha256 })
    }

    /// The SHA-256 of the markdown of the receipt before this number; `None` before the first.
    ///
    /// # Errors
    /// There is none although there should be, or it can't be read.
    pub fn previous_sha256(&self, number: u64) -> Result<Option<String>, Error> {
        match number {
            0 | 1 => Ok(None),
            _ => Ok(Some(sha256(&self.read_known(number - 1, "md")?))),
        }
    }

    /// The number of the latest receipt; `None` where there is none.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn last_number(&self) -> Result<Option<u64>, Error> {
        Ok(self.numbers()?.last().copied())
    }

    /// All receipts, oldest first. One that can't be read is listed with the reason.
    ///
    /// # Errors
    /// The folder can't be read. That it does not exist is no error: then there are no receipts.
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let summary = |number| Summary { number, facts: self.facts(number).map_err(|error| causes(&error)) };
        Ok(self.numbers()?.into_iter().map(summary).collect())
    }

    /// The markdown of one receipt.
    ///
    /// # Errors
    /// There is no such receipt, or it can't be read.
    pub fn show(&self, number: u64) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.read_known(number, "md")?).into_owned())
    }

    /// The JSON of one receipt.
    ///
    /// # Errors
    /// There is no such receipt, or it can't be read.
    pub fn told(&self, number: u64) -> Result<serde_json::Value, Error> {
        let text = self.read_known(number, "json")?;
        Ok(serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into()))
    }

    /// Whether all receipts are there, unchanged and in their order. `known` holds numbers and hashes as the journal
    /// has them, by which a changed or missing last receipt is found as well.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn verify(&self, known: &[(u64, String)]) -> Result<Report, Error> {
        verify::verify(self, known)
    }

    /// What the latest receipts of this service tell of its paths. A receipt that can't be read tells nothing.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn experience(&self, service: &ServiceName) -> Result<Vec<PathExperience>, Error> {
        let mut paths = BTreeMap::new();
        self.past(service, |past| past.learn(&mut paths))?;
        Ok(paths.into_values().collect())
    }

    /// The runs of this service's paths that the latest receipts tell of, oldest first. A dry run has none, and a receipt
    /// that can't be read tells nothing.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn runs(&self, service: &ServiceName) -> Result<Vec<PastRun>, Error> {
        let mut runs = Vec::new();
        self.past(service, |past| runs.extend(past.runs()))?;
        Ok(runs)
    }

    /// Calls this with each of the latest receipts of a service, oldest first.
    fn past(&self, service: &ServiceName, mut each: impl FnMut(Past)) -> Result<(), Error> {
        let numbers = self.numbers()?;
        for number in numbers.get(numbers.len().saturating_sub(REMEMBERED)..).unwrap_or_default() {
            let past = self.read(*number, "json").and_then(|json| Ok(serde_json::from_slice::<Past>(&json)?));
            if let Some(past) = past.ok().filter(|past| &past.service == service) {
                each(past);
            }
        }
        Ok(())
    }

    fn file(&self, number: u64, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", stem(number)))
    }

    fn make_dir(&self) -> Result<(), Error> {
        let failed = |source| Error::Write { file: self.dir.clone(), source };
        let missing: Vec<&Path> = self.dir.ancestors().take_while(|dir| !is_there(dir)).collect();
        fs::create_dir_all(&self.dir).map_err(failed)?;
        for dir in missing {
            sync_dir(dir.parent().unwrap_or(dir)).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes what a crash left half written.
    fn sweep(&self) -> Result<(), Error> {
        for name in self.names()? {
            if name.starts_with('.') && name.ends_with(UNFINISHED) {
                let file = self.dir.join(name);
                fs::remove_file(&file).map_err(|source| Error::Write { file, source })?;
            }
        }
        Ok(())
    }

    /// The hash of this very receipt's markdown, where it is there.
    fn already_published(&self, receipt: &Receipt) -> Result<Option<String>, Error> {
        let number = receipt.front.number;
        let file = self.file(number, "md");
        let there = match self.read(number, "md") {
            Ok(there) => there,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { file, source }),
        };
        match FrontMatter::read(&String::from_utf8_lossy(&there)) {
            Ok(front) if front.tells_the_same_firing(&receipt.front) => {
                // Whoever put it there may have been stopped before the folder was durable.
                sync_dir(&self.dir).map_err(|source| Error::Write { file, source })?;
                Ok(Some(sha256(&there)))
            }
            Ok(front) => {
                let why = format!("{} of {}, observed at {}", front.trigger, front.service, front.observed_at);
                Err(Error::Taken { number, file, why })
            }
            Err(error) => Err(Error::Taken { number, file, why: error.to_string() }),
        }
    }

    /// Writes one file: it is there whole and durable, or not at all.
    fn write(&self, number: u64, extension: &str, text: &str) -> Result<(), Error> {
        let file = self.file(number, extension);
        let unfinished = self.dir.join(format!(".{}.{extension}{UNFINISHED}", stem(number)));
        let written = write_new(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &file))
            .and_then(|()| sync_dir(&self.dir));
        written.map_err(|source| Error::Write { file, source })
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let failed = |source| Error::Read { file: self.dir.clone(), source };
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// The numbers of all markdown files, in their order.
    fn numbers(&self) -> Result<Vec<u64>, Error> {
        let names = self.names()?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name.strip_suffix(".md")?)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn facts(&self, number: u64) -> Result<FrontMatter, Error> {
        let markdown = self.read_known(number, "md")?;
        FrontMatter::read(&String::from_utf8_lossy(&markdown)).map_err(|error| Error::Read {
            file: self.file(number, "md"),
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }

    fn read_known(&self, number: u64, extension: &str) -> Result<Vec<u8>, Error> {
        self.read(number, extension).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                Error::Missing { number, dir: self.dir.clone() }
            } else {
                Error::Read { file: self.file(number, extension), source }
            }
        })
    }

    fn read(&self, number: u64, extension: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let length = File::open(self.file(number, extension))?.take(LARGEST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if u64::try_from(length).unwrap_or(u64::MAX) > LARGEST_FILE_BYTES {
            let why = format!("it is larger than the {LARGEST_FILE_BYTES} bytes that a receipt may have");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(bytes)
    }
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).open(file)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

/// Makes the names in a folder durable. No name at all stands for the folder that the process works in.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

fn is_there(dir: &Path) -> bool {
    dir.as_os_str().is_empty() || dir.exists()
}

/// The SHA-256 of these bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The number that a file's stem stands for, if it is written as this program writes it.
fn number_of(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && stem(number) == text).then_some(number)
}

/// An error with all its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
