//! The real outside world: the adapters that one config describes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rollbackd_core::announcement::Announcement;
use rollbackd_core::config::Service;
use rollbackd_core::event::Order;
use rollbackd_core::firing::{Firing, Outcome, Stage};
use rollbackd_core::name::{AnnouncerName, AttemptId, PagerName};
use rollbackd_core::page::Page;
use rollbackd_core::reading::Answer;
use rollbackd_core::receipt::{Evidence, receipt};
use rollbackd_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::announcers::AnnouncerClient;
use crate::config::Settings;
use crate::heartbeat::{Ping, PingClient};
use crate::http_client::{self, HttpSettings};
use crate::outside::{Outside, Pending};
use crate::pagers::{Alive, Failure, PagerClient};
use crate::paths::ready::Shelf;
use crate::paths::{self, NotReady, Place, Progress, RollbackPath};
use crate::prometheus::Prometheus;
use crate::receipts::{Kept, NotKept, Receipts};

/// A smoke URL that answers later than this does not answer.
const SMOKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Samples older than this many evaluation intervals are stale, where the config doesn't say `lookback_delta`.
/// Prometheus' own five minutes would let a gap of minutes pass for a breach that goes on.
const LOOKBACK_INTERVALS: u32 = 5;

/// This program, also after an upgrade has replaced its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The edges of one config.
pub struct Edges {
    /// The config.
    pub settings: Settings,
    /// Where queries go.
    pub prometheus: Prometheus,
    /// Where pages go.
    pub pagers: BTreeMap<PagerName, PagerClient>,
    /// Which other systems are told of firings.
    pub announcers: BTreeMap<AnnouncerName, AnnouncerClient>,
    /// The outgoing ping of the heartbeat.
    pub ping: Option<PingClient>,
    /// What asks smoke URLs.
    pub smoke: reqwest::Client,
    /// Where the state of running commands lies.
    pub place: Place,
    /// What pre-flights found.
    pub shelf: Shelf,
}

impl Edges {
    /// The edges that the settings describe.
    ///
    /// # Errors
    /// A client can't be built: a certificate can't be read, an address is none.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let lookback = settings.prometheus.lookback_delta;
        let lookback = lookback.unwrap_or(settings.core.evaluation_interval * LOOKBACK_INTERVALS);
        let prometheus = Prometheus::new(&settings.prometheus.url, &settings.prometheus.http, lookback)
            .map_err(|error| format!("prometheus: {error}"))?;
        let mut pagers = BTreeMap::new();
        for (name, pager) in &settings.pagers {
            pagers.insert(name.clone(), pager.open().map_err(|error| format!("pager {name}: {error}"))?);
        }
        let mut announcers = BTreeMap::new();
        for (name, announcer) in &settings.announcers {
            announcers.insert(name.clone(), announcer.open().map_err(|error| format!("announcer {name}: {error}"))?);
        }
        let ping = settings.heartbeat.as_ref().and_then(|heartbeat| heartbeat.ping.as_ref());
        let ping = ping.map(Ping::open).transpose().map_err(|error| format!("heartbeat: {error}"))?;
        let smoke = HttpSettings::with_timeout(SMOKE_TIMEOUT);
        let smoke = http_client::build(&smoke).map_err(|error| format!("smoke: {error}"))?;
        let place = Place { attempts_dir: settings.state_dir.join("attempts"), program: PathBuf::from(OWN_PROGRAM) };
        Ok(Self { settings, prometheus, pagers, announcers, ping, smoke, place, shelf: Shelf::default() })
    }
}

impl Edges {
    fn path_of(&self, order: &Order) -> Option<&RollbackPath> {
        self.settings.paths.get(&(order.service.clone(), order.path.clone()))
    }
}

impl Outside for Edges {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn range<'a>(&'a self, expr: &'a str, from: Timestamp, to: Timestamp, step: Duration) -> Pending<'a, Answer> {
        Box::pin(self.prometheus.range(expr, from, to, step))
    }

    fn instant<'a>(&'a self, expr: &'a str, at: Timestamp) -> Pending<'a, Answer> {
        Box::pin(self.prometheus.instant(expr, at))
    }

    fn smoke<'a>(&'a self, url: &'a str) -> Pending<'a, bool> {
        Box::pin(async move { self.smoke.get(url).send().await.is_ok_and(|response| response.status().is_success()) })
    }

    fn preflight<'a>(&'a self, order: &'a Order) -> Option<Pending<'a, Result<(), NotReady>>> {
        let look = self.path_of(order)?.preflight(order, &self.place)?;
        self.shelf.fill(order, look)
    }

    fn start<'a>(
        &'a self,
        order: &'a Order,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Option<Pending<'a, Outcome>> {
        let path = self.path_of(order)?;
        Some(Box::pin(async move {
            match self.shelf.take(order) {
                Some(ready) => path.start_ready(order, &self.place, &ready, progress, stop).await,
                None => path.start(order, &self.place, progress, stop).await,
            }
        }))
    }

    fn follow<'a>(
        &'a self,
        order: &'a Order,
        handle: Option<&'a str>,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Option<Pending<'a, Outcome>> {
        let path = self.path_of(order)?;
        Some(Box::pin(path.follow(order, handle, &self.place, progress, stop)))
    }

    fn forget(&self, attempt: &AttemptId) -> io::Result<()> {
        paths::forget(&self.place, attempt)
    }

    fn page<'a>(&'a self, pager: &'a PagerName, page: &'a Page, now: Timestamp) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            match self.pagers.get(pager) {
                Some(client) => client.send(page, now, self.settings.external_url.as_deref()).await,
                None => Err(Failure::Permanent { why: "the config has no such pager".to_owned() }),
            }
        })
    }

    fn acknowledge<'a>(
        &'a self,
        pager: &'a PagerName,
        page: &'a Page,
        now: Timestamp,
    ) -> Option<Pending<'a, Result<(), Failure>>> {
        self.pagers.get(pager)?.acknowledge(page, now, self.settings.external_url.as_deref())
    }

    fn announce<'a>(
        &'a self,
        announcer: &'a AnnouncerName,
        announcement: &'a Announcement,
        now: Timestamp,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            match self.announcers.get(announcer) {
                Some(client) => client.announce(announcement, now, self.settings.external_url.as_deref()).await,
                None => Err(Failure::Permanent { why: "the config has no such announcer".to_owned() }),
            }
        })
    }

    fn say_alive<'a>(
        &'a self,
        pager: &'a PagerName,
        alive: &'a Alive,
        now: Timestamp,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            match self.pagers.get(pager) {
                Some(client) => client.say_alive(alive, now, self.settings.external_url.as_deref()).await,
                None => Err(Failure::Permanent { why: "the config has no such pager".to_owned() }),
            }
        })
    }

    fn ping(&self) -> Option<Pending<'_, Result<(), String>>> {
        self.ping.as_ref().map(|ping| -> Pending<'_, Result<(), String>> { Box::pin(ping.send()) })
    }

    fn resend_every(&self, pager: &PagerName) -> Option<Duration> {
        self.pagers.get(pager).and_then(PagerClient::resend_every)
    }

    fn publish(
        &self,
        plan: Arc<Service>,
        firing: Firing,
        mut evidence: Evidence,
    ) -> Pending<'_, Result<String, String>> {
        let receipts = Receipts::new(self.settings.receipts_dir.clone());
        let written = tokio::task::spawn_blocking(move || {
            let Stage::Ended { receipt: number, .. } = firing.stage else {
                return Err("the firing has not ended".to_owned());
            };
            evidence.previous_sha256 = receipts.previous_sha256(number).map_err(|error| error.to_string())?;
            evidence.earlier = Some(receipts.experience(&plan.name).map_err(|error| error.to_string())?);
            let told = receipt(&firing, &plan, &evidence).map_err(|error| error.to_string())?;
            receipts.publish(&told).map(|published| published.sha256).map_err(|error| error.to_string())
        });
        Box::pin(async move { written.await.map_err(|error| error.to_string())? })
    }

    fn keep_receipts(&self) -> Option<Pending<'_, Result<Kept, NotKept>>> {
        let keeping = self.settings.receipts.as_ref()?;
        Some(Box::pin(keeping.keep(&self.settings.receipts_dir, &self.place.program)))
    }
}
