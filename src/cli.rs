//! The command line: arguments in, one action, an exit code out.
//!
//! Never takes a secret as an argument: other users of the machine can read those.

mod backtest;
mod budgets;
mod census;
mod check;
mod dora;
mod local;
mod output;
mod receipts;
mod rehearse;
mod remote;
mod runbook;
mod status;
mod table;
mod test;
mod whole_file;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use secrecy::SecretString;

pub use check::CheckArguments;
pub use local::{JournalArguments, JournalCommand, LogFormat, LogLevel, RunArguments, SuperviseArguments};
pub use output::{Failure, Output};
pub use receipts::{ReceiptsArguments, ReceiptsCommand};

use crate::client::Client;

/// A token has some dozens of characters; a file much larger is another file.
const LARGEST_TOKEN_FILE_BYTES: u64 = 4096;

/// The commands that ask no daemon for anything.
const LOCAL: [&str; 8] = ["run", "check", "test", "backtest", "receipts", "runbook", "dora", "journal"];

/// Makes your rollback plan executable.
///
/// rollbackd watches each deploy by the triggers of your list, rolls back within the budget by the paths of your
/// list, or pages a human, proves that production is back, and writes a receipt.
#[derive(Debug, Parser)]
#[command(name = "rollbackd", version, max_term_width = 100, after_long_help = EXAMPLES)]
struct Arguments {
    /// How the daemon is reached and how answers are shown.
    #[command(flatten)]
    global: Global,
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rollbackd check --config /etc/rollbackd/rollbackd.yml     is the config right?
  rollbackd run --config /etc/rollbackd/rollbackd.yml --dry-run
                                                            watch, decide and write receipts, but touch nothing
  rollbackd deploy capstone-api v1.4.2 --previous v1.4.1    v1.4.2 starts to serve: open its watch
  rollbackd status capstone-api                             what is watched, which clocks run
  rollbackd report capstone-api login-broken --note 'password form answers 500'
  rollbackd rehearse capstone-api --bad v13-bad             a bad deploy on purpose, against the clock
  rollbackd approve FIRING                                  yes, roll back (FIRING is in the page and in status)

Exit codes:
  0  done
  1  refused or failed; stderr says why and what to do
  2  the command line can't be read
  3  the daemon can't be reached";

/// How the daemon is reached and how answers are shown.
#[derive(Args, Debug)]
struct Global {
    /// Where the daemon serves.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ROLLBACKD_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9797"
    )]
    server: String,
    /// A file that holds the token; without it, the environment variable ROLLBACKD_TOKEN may hold the token itself.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Run(RunArguments),
    /// Check a config, with the line of every mistake.
    Check(CheckArguments),
    /// Run trigger tests: what must be true when, for series that you write.
    Test(test::TestArguments),
    /// Replay the trigger list over the deploys of the last weeks: what it would have done.
    Backtest(backtest::BacktestArguments),
    /// Report a deploy: a version starts to serve, its watch begins.
    Deploy(remote::DeployArguments),
    /// Report that a trigger is observed: a red smoke test, a broken login.
    Report(remote::ReportArguments),
    /// Approve the rollback that a page asks about.
    Approve(remote::FiringArguments),
    /// Say that a firing is no reason to roll back.
    Dismiss(remote::DismissArguments),
    /// Say that you have seen a page.
    Ack(remote::FiringArguments),
    /// Start a rollback now: same guards, clock and receipt.
    Rollback(remote::RollbackArguments),
    /// Deploy a bad version on purpose, and time how the plan brings production back.
    Rehearse(rehearse::RehearseArguments),
    /// Hold automatic rollback; triggers still page.
    Freeze(remote::FreezeArguments),
    /// Let automatic rollback go on.
    Thaw(remote::ThawArguments),
    /// Show what is watched, each trigger against its limit, the clocks that run.
    Status(status::StatusArguments),
    /// List, show or verify the receipts.
    Receipts(ReceiptsArguments),
    /// Write the trigger list, the ways back and the side effects as markdown, for people.
    Runbook(runbook::RunbookArguments),
    /// Show recovery time, change fail rate, deployment frequency and rework rate, from the journal.
    Dora(dora::DoraArguments),
    /// Verify or repair the journal of a daemon that is not running.
    Journal(JournalArguments),
    /// Stand between a daemon that may die and a command that may not: started by the daemon itself.
    #[command(name = "supervise-command", hide = true)]
    Supervise(SuperviseArguments),
}

/// Reads the arguments (the program's name first), does what they say, and gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(answered) = crate::git::askpass::answer(&arguments) {
        return answered;
    }
    let arguments = match parsed(arguments) {
        Ok(arguments) => arguments,
        Err(mut usage) => {
            without_bad_advice(&mut usage);
            // Where even this can't be printed, the exit code is all that is left to say it.
            let _printed = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(arguments.global.json);
    match dispatch(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Nothing here takes a value that begins with a dash: how to pass one is no advice.
fn without_bad_advice(usage: &mut clap::Error) {
    let is_bad = |advice: &StyledStr| advice.to_string().contains("as a value");
    if let Some(ContextValue::StyledStrs(advice)) = usage.get(ContextKind::Suggested)
        && advice.iter().any(is_bad)
    {
        usage.remove(ContextKind::Suggested);
    }
}

fn parsed(arguments: Vec<OsString>) -> Result<Arguments, clap::Error> {
    Arguments::from_arg_matches(&command_line().try_get_matches_from(arguments)?)
}

/// The command line, with each option in the help of those commands alone to which it means something. Given all the
/// same, as by a script that gives it to every command, it does no harm.
fn command_line() -> clap::Command {
    let whole = Arguments::command();
    let is_of_the_daemon = |argument: &&Arg| matches!(argument.get_id().as_str(), "server" | "token_file");
    let hidden: Vec<Arg> =
        whole.get_arguments().filter(is_of_the_daemon).map(|argument| argument.clone().hide(true)).collect();
    LOCAL.iter().fold(whole, |whole, name| whole.mut_subcommand(name, |command| command.args(&hidden)))
}

fn dispatch(Arguments { global, command }: Arguments, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => local::run(&arguments),
        Command::Check(arguments) => check::check(&arguments, output),
        Command::Test(arguments) => test::test(&arguments, output),
        Command::Backtest(arguments) => backtest::backtest(&arguments, output),
        Command::Receipts(arguments) => receipts::receipts(&arguments, output),
        Command::Runbook(arguments) => runbook::runbook_of(&arguments, output),
        Command::Dora(arguments) => dora::dora(&arguments, output),
        Command::Journal(arguments) => local::journal(&arguments, output),
        Command::Supervise(arguments) => local::supervise_command(&arguments),
        Command::Deploy(arguments) => {
            with_client(&global, async |client| remote::deploy(client, arguments, output).await)
        }
        Command::Report(arguments) => {
            with_client(&global, async |client| remote::report(client, arguments, output).await)
        }
        Command::Approve(arguments) => {
            with_client(&global, async |client| remote::approve(client, arguments, output).await)
        }
        Command::Dismiss(arguments) => {
            with_client(&global, async |client| remote::dismiss(client, arguments, output).await)
        }
        Command::Ack(arguments) => {
            with_client(&global, async |client| remote::acknowledge(client, arguments, output).await)
        }
        Command::Rollback(arguments) => {
            with_client(&global, async |client| remote::rollback(client, arguments, output).await)
        }
        Command::Rehearse(arguments) => {
            with_client(&global, async |client| rehearse::rehearse(client, arguments, output).await)
        }
        Command::Freeze(arguments) => {
            with_client(&global, async |client| remote::freeze(client, arguments, output).await)
        }
        Command::Thaw(arguments) => with_client(&global, async |client| remote::thaw(client, arguments, output).await),
        Command::Status(arguments) => {
            with_client(&global, async |client| status::status(client, arguments, output).await)
        }
    }
}

/// Runs one action against the daemon.
fn with_client(global: &Global, action: impl AsyncFnOnce(&Client) -> Result<(), Failure>) -> Result<(), Failure> {
    let client = Client::new(&global.server, token(global)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(action(&client))
}

/// The token: of the file where one is named, else of the environment.
fn token(global: &Global) -> Result<Option<SecretString>, Failure> {
    let Some(file) = &global.token_file else {
        return match std::env::var("ROLLBACKD_TOKEN") {
            Ok(token) if token.is_empty() => Ok(None),
            Ok(token) => checked_token(&token, "ROLLBACKD_TOKEN").map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(Failure::failed("ROLLBACKD_TOKEN is not UTF-8")),
        };
    };
    let unreadable = |error: std::io::Error| {
        Failure::failed(format!(
            "the token file {} can't be read: {error}; expected a file with one line, the token, that this user may read",
            file.display()
        ))
    };
    let text = read_bounded(file).map_err(unreadable)?;
    checked_token(&text, &format!("the token file {}", file.display())).map(Some)
}

fn read_bounded(file: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(file)?.take(LARGEST_TOKEN_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_TOKEN_FILE_BYTES {
        return Err(std::io::Error::other("it is larger than 4 KiB, so it is no token"));
    }
    Ok(text)
}

fn checked_token(text: &str, place: &str) -> Result<SecretString, Failure> {
    let token = text.trim();
    if token.is_empty() || !token.chars().all(|each| each.is_ascii_graphic()) {
        return Err(Failure::failed(format!("{place} holds no token: expected one line of visible ASCII characters")));
    }
    Ok(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command_line().debug_assert();
    }

    #[test]
    fn no_argument_takes_a_secret() {
        fn options(command: &clap::Command) -> Vec<String> {
            let own = command.get_arguments().map(|argument| argument.get_id().to_string());
            own.chain(command.get_subcommands().flat_map(options)).collect()
        }
        let named = |word: &str| options(&Arguments::command()).into_iter().filter(|id| id.contains(word)).collect();
        let tokens: Vec<String> = named("token");
        assert!(!tokens.is_empty() && tokens.iter().all(|id| id == "token_file"), "{tokens:?}");
        let secrets: Vec<String> =
            ["password", "secret"].iter().flat_map(|word| -> Vec<String> { named(word) }).collect();
        assert_eq!(secrets, Vec::<String>::new());
    }

    #[test]
    fn a_token_is_one_visible_line() {
        assert!(checked_token("hunter2\n", "F").is_ok());
        for bad in ["", " \n", "two words", "a\nb", "é"] {
            let failure = checked_token(bad, "F").unwrap_err().to_string();
            assert_eq!(failure, "F holds no token: expected one line of visible ASCII characters");
        }
    }
}
