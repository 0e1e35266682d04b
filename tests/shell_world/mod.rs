//! The loop with its journal and its performer, and a pager that answers when it is told to. No daemon, no Prometheus.
//!
//! Never reaches beyond loopback.

#![expect(clippy::unwrap_used, reason = "a part of tests, which clippy sees only in the tests themselves")]
#![expect(dead_code, unreachable_pub, reason = "a module of several test binaries, each of which uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use rollbackd::config;
use rollbackd::door::{Asked, Door, Shared};
use rollbackd::edges::Edges;
use rollbackd::journal::{Journal, OffThread};
use rollbackd::metrics::Metrics;
use rollbackd::outside::InForce;
use rollbackd::perform::Performer;
use rollbackd::supervisor::{Inbox, Supervisor, replay};
use rollbackd_core::config::Mode;
use rollbackd_core::event::{Event, Happening, Reply};
use rollbackd_core::name::{ServiceName, TriggerName};
use rollbackd_core::resume;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver of pages.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    takes: Arc<AtomicBool>,
    taken: mpsc::UnboundedSender<Value>,
}

impl Receiver {
    pub async fn start() -> (Self, mpsc::UnboundedReceiver<Value>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (taken, pages) = mpsc::unbounded_channel();
        let receiver = Self { url, takes: Arc::new(AtomicBool::new(true)), taken };
        let routes = Router::new().route("/", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (receiver, pages)
    }

    /// Whether pages are taken from now on.
    pub fn takes(&self, takes: bool) {
        self.takes.store(takes, Ordering::SeqCst);
    }
}

async fn take(State(receiver): State<Receiver>, Json(page): Json<Value>) -> StatusCode {
    if !receiver.takes.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let _ = receiver.taken.send(page);
    StatusCode::OK
}

/// The next page.
pub async fn next(pages: &mut mpsc::UnboundedReceiver<Value>) -> Value {
    tokio::time::timeout(PATIENCE, pages.recv()).await.expect("a page").expect("a receiver")
}

/// The shell around one service, `api`, with one trigger that pages.
pub struct World {
    pub dir: tempfile::TempDir,
    pub receiver: Receiver,
    pub edges: InForce,
    pub shared: Arc<Shared>,
    pub metrics: Arc<Metrics>,
    pub door: Door,
    pub performer: Performer,
    pub inbox: Option<(Inbox, mpsc::Sender<Asked>)>,
    journal: Option<Journal>,
    stop: CancellationToken,
}

impl World {
    pub async fn start(mode: Mode) -> (Self, mpsc::UnboundedReceiver<Value>) {
        let (receiver, pages) = Receiver::start().await;
        (Self::in_dir(tempfile::tempdir().unwrap(), receiver, mode), pages)
    }

    /// A world that goes on from what this folder's journal holds.
    pub fn in_dir(dir: tempfile::TempDir, receiver: Receiver, mode: Mode) -> Self {
        rollbackd::http_client::install_crypto();
        let file = dir.path().join("rollbackd.yml");
        std::fs::write(&file, plan(dir.path(), &receiver.url).to_string()).unwrap();
        let mut settings = config::load(&file).unwrap_or_else(|error| panic!("{}", config::explain(&error))).settings;
        settings.core.mode = mode;
        let (journal, stored) = Journal::open(dir.path()).unwrap();
        let shared = Arc::new(Shared::default());
        shared.set_config(Arc::new(settings.core.clone()));
        *shared.state_mut() = replay(&stored).unwrap();
        shared.set_journal_writable(true);
        let metrics = Arc::new(Metrics::new("test"));
        let edges = InForce::new(Edges::open(settings).unwrap());
        let (events, events_inbox) = mpsc::channel(1024);
        let (looks, looks_inbox) = mpsc::channel(1024);
        let door = Door::new(events, Arc::clone(&shared));
        let (receipts, _) = mpsc::unbounded_channel();
        let performer = Performer::new(door.clone(), edges.clone(), Arc::clone(&metrics), receipts);
        let inbox = Some((Inbox { events: events_inbox, looks: looks_inbox }, looks));
        let (journal, stop) = (Some(journal), CancellationToken::new());
        Self { dir, receiver, edges, shared, metrics, door, performer, inbox, journal, stop }
    }

    /// Starts the loop as the daemon does.
    pub fn run(&mut self) -> tokio::task::JoinHandle<()> {
        let todo = resume(&self.shared.config(), &self.shared.state());
        todo.into_iter().for_each(|effect| self.performer.perform(effect));
        let (changed, _) = mpsc::unbounded_channel();
        let journal = self.journal.take().expect("it was not started yet");
        let metrics = Arc::clone(&self.metrics);
        let performer = self.performer.clone();
        let supervisor =
            Supervisor::new(Arc::clone(&self.shared), Box::new(OffThread::new(journal)), performer, metrics, changed);
        let (inbox, looks) = self.inbox.take().expect("it was not started yet");
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let _looks = looks;
            supervisor.run(inbox, stop, || {}).await;
        })
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn ask(&self, what: Happening) -> Reply {
        self.door.ask(Event { service: service(), what }).await.expect("an answer")
    }

    /// Says that the trigger is observed, which opens a page.
    pub async fn report(&self) -> Reply {
        let trigger = TriggerName::new("login-broken").unwrap();
        self.ask(Happening::Reported { trigger, note: None, about: Default::default() }).await
    }

    /// Waits until this is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let ends = tokio::time::Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(tokio::time::Instant::now() < ends, "{what} is not so");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many of the service's pages the pager has not taken, by the state.
    pub fn undelivered(&self) -> usize {
        let state = self.shared.state();
        state.services.get(&service()).map_or(0, |own| {
            own.pages.iter().filter(|page| !page.undelivered.is_empty() || !page.unresolved.is_empty()).count()
        })
    }

    /// Whether the metrics hold this line.
    pub fn shows(&self, line: &str) -> bool {
        self.metrics.text().lines().any(|each| each == line)
    }
}

pub fn service() -> ServiceName {
    ServiceName::new("api").unwrap()
}

fn plan(dir: &std::path::Path, pager: &str) -> Value {
    json!({
        "prometheus": {"url": "http://127.0.0.1:9"},
        "evaluation_interval": "1s",
        "listen": "127.0.0.1:0",
        "state_dir": dir,
        "receipts_dir": dir.join("receipts"),
        "pagers": [{"name": "oncall", "webhook": {"url": pager}}],
        "services": [{
            "name": "api", "watch": "30m", "page": ["oncall"],
            "triggers": [{"name": "login-broken", "observed": "report", "action": "page", "budget": "20m"}],
            "paths": [{"name": "path", "timeout": "1m", "command": ["true"]}],
            "side_effects": "none",
        }],
    })
}
