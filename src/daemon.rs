//! The daemon: claim the folder, replay the journal, start the loop and its edges, serve, stop cleanly on a signal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rollbackd_core::config::Mode;
use rollbackd_core::state::State;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{self, Settings};
use crate::door::Shared;
use crate::edges::Edges;
use crate::heartbeat::Heart;
use crate::journal::{Journal, OffThread};
use crate::machine::{self, Machine, Tasks, is_of_this_kind, keeps_what_is_open};
use crate::metrics::Metrics;
use crate::outside::InForce;
use crate::rollouts::Rollouts;
use crate::state_dir::StateDir;
use crate::supervisor::{Ended, replay};
use crate::{http, http_client, pipeline_files, sources};

/// The last write to the journal gets this long when the daemon stops; with the requests in flight it stays below
/// systemd's patience.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What `run` was asked for.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The config file.
    pub config: PathBuf,
    /// Whether nothing outside may be touched.
    pub dry_run: bool,
}

/// One thread reads a large answer while the other goes on; one for each processor would take memory and bring nothing.
const WORKERS: usize = 2;

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// Whatever kept it from running, or from going on; logged as well.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    http_client::install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime could not be started: {error}"))?;
    let result = runtime.block_on(run_until_stopped(arguments));
    // Attempts in flight are handed to the next start; nothing here waits for them.
    runtime.shutdown_background();
    result
}

fn load(arguments: &Arguments) -> Result<Settings, String> {
    let loaded = config::load(&arguments.config).map_err(|error| config::explain(&error))?;
    for warning in &loaded.warnings {
        tracing::warn!(file = %arguments.config.display(), "{warning}");
    }
    let mut settings = loaded.settings;
    pipeline_files::read(&mut settings.core);
    settings.core.mode = if arguments.dry_run { Mode::DryRun } else { Mode::Live };
    Ok(settings)
}

async fn run_until_stopped(arguments: &Arguments) -> Result<(), String> {
    let settings = load(arguments)?;
    let claimed = StateDir::claim(&settings.state_dir).map_err(|error| error.to_string())?;
    let (journal, state) = open_journal(claimed.dir())?;
    keeps_what_is_open(&settings.core, &state)?;
    is_of_this_kind(&settings.core, &state)?;
    let listener = listen(settings.listen).await?;
    // Before anybody is told that the daemon is ready: a reload that follows at once must not end it.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]);
    let signals = signals.map_err(|error| format!("signals can't be handled: {error}"))?;
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let tokens = settings.tokens.clone();
    let sources = sources::InForce::new(settings.sources.clone());
    let services = settings.core.services.len();
    let edges = InForce::new(Edges::open(settings)?);
    let machine = Machine::start(&edges, Box::new(OffThread::new(journal)), state, &metrics, watchdog());
    let Machine { door, stop, tasks } = machine;
    let (shared, serving) = (Arc::clone(&door.shared), CancellationToken::new());
    let heart = Heart::new(Arc::clone(&shared), edges.clone(), Arc::clone(&metrics));
    let rollouts = Rollouts::new(door.clone(), sources.clone(), Arc::clone(&metrics));
    let mut tasks = Running {
        machine: tasks,
        heart: tokio::spawn(heart.run(stop.clone())),
        rollouts: tokio::spawn(rollouts.run(stop.clone())),
    };
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let drained = serving.clone();
    let router = http::router(door, http::Access::new(tokens), sources.clone(), Arc::clone(&metrics));
    let server = tokio::spawn(async move { http::serve(listener, router, drained.cancelled_owned()).await });
    let mode = if arguments.dry_run { "dry run" } else { "live" };
    tracing::info!(%address, services, mode, version = env!("CARGO_PKG_VERSION"), "rollbackd serves");
    notify(&[sd_notify::NotifyState::Ready]);

    let reloaded = Reloaded { edges, sources, shared, metrics };
    let ended = until_ended(arguments, &reloaded, signals, &mut tasks).await;
    notify(&[sd_notify::NotifyState::Stopping]);
    // Whoever is being answered still gets the supervisor's answer; then the supervisor ends, and only then another
    // daemon may have the folder.
    serving.cancel();
    let _ = server.await;
    stop.cancel();
    let ended = match ended {
        Ok(()) => flushed(tasks.machine.supervisor).await,
        Err(why) => Err(why),
    };
    if let Err(why) = &ended {
        tracing::error!(why, "the daemon ends");
    }
    drop(claimed);
    ended
}

/// What has to go on for as long as the daemon runs.
struct Running {
    machine: Tasks,
    heart: JoinHandle<()>,
    rollouts: JoinHandle<()>,
}

/// What a reload changes.
struct Reloaded {
    edges: InForce,
    sources: sources::InForce,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

/// Waits until the supervisor has finished what it was at.
async fn flushed(supervisor: JoinHandle<Ended>) -> Result<(), String> {
    match tokio::time::timeout(FLUSH_TIMEOUT, supervisor).await {
        Ok(ended) => why_ended(ended),
        Err(_) => Err(format!("the last write to the journal did not end within {FLUSH_TIMEOUT:?}")),
    }
}

fn why_ended(ended: Result<Ended, JoinError>) -> Result<(), String> {
    match ended {
        Ok(Ended::Stopped) => Ok(()),
        Ok(Ended::Journal(error)) => Err(error.to_string()),
        Err(error) => Err(format!("the supervisor failed: {error}")),
    }
}

/// Handles signals until one ends the daemon, or something ends by itself that must not: a daemon that only seems to
/// run is worse than one that is started again.
async fn until_ended(
    arguments: &Arguments,
    reloaded: &Reloaded,
    mut signals: Signals,
    tasks: &mut Running,
) -> Result<(), String> {
    loop {
        tokio::select! {
            ended = &mut tasks.machine.supervisor => {
                return why_ended(ended).and_then(|()| Err("the supervisor ended by itself".to_owned()));
            }
            ended = &mut tasks.machine.looker => return Err(format!("the looker ended by itself: {}", cause(ended))),
            ended = &mut tasks.heart => return Err(format!("the heartbeat ended by itself: {}", cause(ended))),
            ended = &mut tasks.rollouts => return Err(format!("the looks at Deployments ended by themselves: {}", cause(ended))),
            ended = &mut tasks.machine.writer => return Err(format!("the receipt writer ended by itself: {}", cause(ended))),
            signal = signals.next() => match signal {
                Some(SIGHUP) => reload(arguments, reloaded),
                Some(SIGINT | SIGTERM) | None => {
                    tracing::info!("stopping; attempts in flight are handed to the next start");
                    return Ok(());
                }
                Some(_) => {}
            },
        }
    }
}

fn cause(ended: Result<(), JoinError>) -> String {
    ended.map_or_else(|error| error.to_string(), |()| "nobody has told it to".to_owned())
}

/// Puts the config file's new content in force; where it is bad, the old one stays.
fn reload(arguments: &Arguments, reloaded: &Reloaded) {
    let Reloaded { edges, sources, shared, metrics } = reloaded;
    notify(&[sd_notify::NotifyState::Reloading, monotonic()]);
    match new_edges(arguments, edges, shared) {
        Ok(new) => {
            sources.set(new.settings.sources.clone());
            machine::put_in_force(edges, shared, new);
            metrics.config_loaded(clock::now());
            tracing::info!("the config was reloaded");
        }
        Err(why) => {
            metrics.config_refused();
            tracing::error!("the config was not reloaded, the old one stays in force: {why}");
        }
    }
    notify(&[sd_notify::NotifyState::Ready]);
}

fn new_edges(arguments: &Arguments, edges: &InForce, shared: &Shared) -> Result<Edges, String> {
    let settings = load(arguments)?;
    let old = edges.get();
    keeps_what_is_open(&settings.core, &shared.state())?;
    if settings.listen != old.settings().listen || settings.state_dir != old.settings().state_dir {
        return Err("`listen` and `state_dir` can't be changed by a reload: restart instead".to_owned());
    }
    if settings.tokens != old.settings().tokens {
        return Err("`tokens` can't be changed by a reload: restart instead".to_owned());
    }
    Edges::open(settings)
}

fn open_journal(dir: &Path) -> Result<(Journal, State), String> {
    let (journal, stored) = Journal::open(dir).map_err(|error| error.to_string())?;
    let state = replay(&stored).map_err(|why| {
        format!("the journal in {} can't be replayed: {why}; see `rollbackd journal verify`", dir.display())
    })?;
    tracing::info!(records = stored.records.len(), services = state.services.len(), "journal replayed");
    Ok((journal, state))
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("can't listen on {address}: {error}; another address goes into `listen`"))
}

/// Feeds systemd's watchdog from the loop itself, at most as often as it asks for: a loop that hangs starves it.
fn watchdog() -> impl Fn() + Send + 'static {
    let every = sd_notify::watchdog_enabled().map(|timeout| timeout / 3);
    let last = std::sync::Mutex::new(std::time::Instant::now());
    move || {
        let Some(every) = every else { return };
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= every {
            *last = std::time::Instant::now();
            notify(&[sd_notify::NotifyState::Watchdog]);
        }
    }
}

fn monotonic() -> sd_notify::NotifyState<'static> {
    sd_notify::NotifyState::monotonic_usec_now().unwrap_or(sd_notify::NotifyState::Reloading)
}

/// Without systemd there is nobody to notify, and that is no error.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}
