//! `rehearse`: deploys a bad version on purpose, shows each step while the daemon does it, and says how it ended.
//!
//! Does nothing of it itself: it asks the daemon, looks at what it does, and asks it to stop on Ctrl-C.

mod cast;
mod screen;
mod shown;
mod surprise;
mod views;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rollbackd_core::name::{ServiceName, Version};
use rollbackd_core::rehearsal::RUNS_BEFORE_A_GAME_DAY;
use rollbackd_core::time::parse_duration;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::screen::Screen;
use self::shown::Teller;
use self::views::{Firing, Rehearsal, Service};
use super::output::{Failure, Output, one_line};
use super::remote;
use crate::client::{self, Client};

/// Often enough that a clock seems to run, and a request that costs the daemon nothing.
const POLL: Duration = Duration::from_millis(500);
/// So long a daemon that does not answer is asked again: it may be starting anew, and goes on with the rehearsal.
const PATIENCE: Duration = Duration::from_secs(120);

/// `rehearse`.
#[derive(Args, Debug)]
#[command(after_long_help = "\
The daemon deploys VERSION by the path that `rehearsal: {deploy_bad: PATH}` names, and from there on it is any other bad \
deploy: the triggers see it, the preferred path brings the version from before back, and a receipt of kind `rehearsal` \
tells how long each step took. Where no trigger fires in time, or on Ctrl-C, it is rolled back all the same. It is \
refused where the service is not healthy, frozen or under watch, or where there is nothing to return to.

Exit code 0 only where a trigger saw it and production was back within that trigger's budget.

Examples:
  rollbackd rehearse capstone-api --bad v13-bad --witness 'Ada L.'
  rollbackd rehearse capstone-api --bad v13-bad --yes --record rehearsal.cast
  rollbackd rehearse capstone-api --surprise --within 4h --bad v13-bad --bad v14-slow
                                        one of them, at some time within four hours, and nothing is said before")]
pub(super) struct RehearseArguments {
    /// The service, of the config's.
    #[arg(value_parser = remote::service)]
    service: ServiceName,
    /// The version that is known to be bad; with --surprise several, of which one is drawn. Left out with --surprise:
    /// one of the config's `bad_versions`.
    #[arg(long, value_name = "VERSION", value_parser = remote::version, required_unless_present = "surprise")]
    bad: Vec<Version>,
    /// Don't ask for the service's name first.
    #[arg(long)]
    yes: bool,
    /// Who watches: it goes into the receipt.
    #[arg(long, value_name = "NAME")]
    witness: Option<String>,
    /// Also write what is shown into this file, as asciinema plays it (asciicast v2).
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Draw the version and the time: a game day.
    #[arg(long)]
    surprise: bool,
    /// With --surprise: begin within this time.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "surprise", default_value = "4h")]
    within: Duration,
}

/// Asks for a rehearsal and shows it to its end.
pub(super) async fn rehearse(client: &Client, asked: RehearseArguments, output: &Output) -> Result<(), Failure> {
    if !asked.surprise && asked.bad.len() > 1 {
        return Err(Failure::Usage("several --bad are for --surprise, which draws one of them".to_owned()));
    }
    let service = view(client, &asked.service).await?;
    let bad = surprise::versions(&asked.bad, &service)?;
    if !asked.yes {
        confirm(&asked, &service)?;
    }
    let bad = if asked.surprise { surprise::draw(&bad, asked.within, output).await? } else { bad.first().cloned() };
    let Some(bad) = bad else { return Err(Failure::Usage("--bad VERSION is missing".to_owned())) };
    // Both before anything is begun: a Ctrl-C that comes at once must stop it, and so must a file that can't be written.
    let interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Failure::failed(format!("Ctrl-C can't be waited for: {error}")))?;
    let screen = Screen::open(output, asked.record.as_deref(), &format!("rehearsal of {}", asked.service))?;
    let body = json!({ "bad": bad, "witness": asked.witness });
    let answer = client.post(&["v1", "services", asked.service.as_str(), "rehearse"], &body, None).await?;
    let id = answer.body.get("rehearsal").and_then(Value::as_str).map(str::to_owned);
    let id = id.ok_or_else(|| client.not_rollbackd("its answer has no \"rehearsal\""))?;
    let watcher = Watcher {
        client,
        service: &asked.service,
        id,
        screen,
        teller: Teller::new(*output),
        interrupts,
        asked_to_stop: false,
        game_day: false,
    };
    // That nobody reads says nothing good of the rehearsal.
    watcher.watch(output).await.map_err(|failure| match failure {
        Failure::NobodyReads => Failure::Told,
        Failure::Failed(_) | Failure::Usage(_) | Failure::Unreachable(_) | Failure::Shown(_) | Failure::Told => failure,
    })
}

async fn view(client: &Client, service: &ServiceName) -> Result<Service, Failure> {
    let answer = client.get(&["v1", "services", service.as_str()]).await?;
    Service::read(answer.body, answer.at)
        .map_err(|error| client.not_rollbackd(&format!("its view of a service can't be read: {error}")).into())
}

/// Whoever breaks production on purpose says which by name.
fn confirm(asked: &RehearseArguments, service: &Service) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Usage("stdin is no terminal that could be asked: say --yes".to_owned()));
    }
    let what = match asked.bad.as_slice() {
        [bad] if !asked.surprise => format!("{bad} will be deployed on purpose"),
        _ => "a bad version will be deployed on purpose, at a time that is drawn".to_owned(),
    };
    let mut stderr = io::stderr().lock();
    let runs = one_line(service.running());
    write!(stderr, "{what}: {} runs {runs} now, and its users will notice.\nType its name to go on: ", asked.service)?;
    stderr.flush()?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == asked.service.as_str() {
        Ok(())
    } else {
        Err(Failure::failed(format!("{:?} is not {}: nothing was begun", one_line(&typed), asked.service)))
    }
}

/// Whoever looks at one rehearsal until it ends.
struct Watcher<'a> {
    client: &'a Client,
    service: &'a ServiceName,
    id: String,
    screen: Screen,
    teller: Teller,
    interrupts: Signal,
    asked_to_stop: bool,
    /// Whether a path has been rehearsed so often that a game day is next.
    game_day: bool,
}

impl Watcher<'_> {
    async fn watch(mut self, output: &Output) -> Result<(), Failure> {
        let mut unanswered_since = None;
        loop {
            match self.look().await {
                Ok((rehearsal, firing)) => {
                    unanswered_since = None;
                    if rehearsal.is_over(firing.as_ref()) {
                        return self.end(&rehearsal, firing.as_ref(), output);
                    }
                }
                Err(Failure::Unreachable(why)) => {
                    let since = *unanswered_since.get_or_insert_with(tokio::time::Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(Failure::Unreachable(why));
                    }
                    self.screen.live("the daemon does not answer; the rehearsal goes on when it does")?;
                }
                Err(failure) => return Err(failure),
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = self.interrupts.recv() => self.interrupted().await?,
            }
        }
    }

    async fn look(&mut self) -> Result<(Rehearsal, Option<Firing>), Failure> {
        let service = view(self.client, self.service).await?;
        self.game_day = service.is_ready_for_a_game_day();
        let rehearsal = service.rehearsal().filter(|rehearsal| rehearsal.id == self.id).cloned();
        let rehearsal =
            rehearsal.ok_or_else(|| Failure::failed(format!("the daemon knows no rehearsal {} any more", self.id)))?;
        let firing = match &rehearsal.firing {
            Some(firing) => Some(self.firing(firing).await?),
            None => None,
        };
        for line in self.teller.news(&service, &rehearsal, firing.as_ref()) {
            self.screen.step(&line)?;
        }
        if let Some(line) = self.teller.live(&service, &rehearsal, firing.as_ref()) {
            self.screen.live(&line)?;
        }
        Ok((rehearsal, firing))
    }

    async fn firing(&self, id: &str) -> Result<Firing, Failure> {
        let answer = self.client.get(&["v1", "firings", id]).await?;
        Firing::read(answer.body)
            .map_err(|error| self.client.not_rollbackd(&format!("its view of a firing can't be read: {error}")).into())
    }

    /// The first Ctrl-C asks the daemon to stop; the second leaves it to that.
    async fn interrupted(&mut self) -> Result<(), Failure> {
        if self.asked_to_stop {
            self.screen.step("left: the daemon goes on bringing production back; see `rollbackd status`")?;
            return Err(Failure::Told);
        }
        let stop = ["v1", "services", self.service.as_str(), "rehearsal", "stop"];
        let said = match self.client.post(&stop, &json!({}), None).await {
            Ok(_) => "stopping: the bad version goes at once; Ctrl-C again leaves, and the daemon goes on".to_owned(),
            Err(client::Error::Refused(problem)) => {
                format!("not stopped: {}; Ctrl-C again leaves", one_line(&problem.detail))
            }
            Err(error) => format!("NOT STOPPED: {}; Ctrl-C again leaves", one_line(&error.to_string())),
        };
        self.asked_to_stop = true;
        self.screen.step(&said)
    }

    fn end(mut self, rehearsal: &Rehearsal, firing: Option<&Firing>, output: &Output) -> Result<(), Failure> {
        let (line, good) = self.teller.verdict(rehearsal, firing);
        self.screen.step(&line)?;
        if good && self.game_day {
            self.screen.step(&format!(
                "{RUNS_BEFORE_A_GAME_DAY} clean runs in a row or more: on to a game day, with --surprise"
            ))?;
        }
        self.screen.close()?;
        if output.is_json() {
            let told =
                json!({ "rehearsal": rehearsal.told, "firing": firing.map(|firing| &firing.told), "clean": good });
            output.say("", &told)?;
        }
        if good { Ok(()) } else { Err(Failure::Told) }
    }
}
