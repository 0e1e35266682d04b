//! The answer to git when it asks for a name and a token: this program, called by git once for each.
//!
//! Never takes the token as an argument or from the environment: these name its file alone.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The environment variable that names the file.
pub(super) const TOKEN_FILE: &str = "ROLLBACKD_GIT_TOKEN_FILE";

/// The environment variable with the user name.
pub(super) const USERNAME: &str = "ROLLBACKD_GIT_USERNAME";

/// Longer than any token in use.
const LONGEST_TOKEN_BYTES: u64 = 64 * 1024;

/// Answers, where git is who called: it gives the question as the one argument.
///
/// Source: git's manual, "gitcredentials" and "GIT_ASKPASS".
#[must_use]
pub(crate) fn answer(arguments: &[OsString]) -> Option<ExitCode> {
    let file = std::env::var_os(TOKEN_FILE)?;
    let question = arguments.get(1)?.to_str()?;
    let answer = if question.starts_with("Username") {
        std::env::var(USERNAME).ok()
    } else if question.starts_with("Password") {
        token(Path::new(&file))
    } else {
        None
    };
    let told = answer.is_some_and(|answer| writeln!(std::io::stdout().lock(), "{answer}").is_ok());
    Some(if told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn token(file: &Path) -> Option<String> {
    let mut token = String::new();
    std::fs::File::open(file).ok()?.take(LONGEST_TOKEN_BYTES).read_to_string(&mut token).ok()?;
    let token = token.trim();
    (!token.is_empty() && !token.contains(char::is_control)).then(|| token.to_owned())
}

/// Our program by a name that is the same for git: in git, `/proc/self` would be git.
pub(super) fn findable(program: &Path) -> PathBuf {
    program
        .strip_prefix("/proc/self")
        .map_or_else(|_| program.to_owned(), |rest| Path::new("/proc").join(std::process::id().to_string()).join(rest))
}
