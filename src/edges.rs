//! All that reaches the outside world, as the config that is in force describes it. A reload replaces it as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rollbackd_core::name::PagerName;

use crate::config::Settings;
use crate::http_client::{self, HttpSettings};
use crate::pagers::PagerClient;
use crate::paths::Place;
use crate::prometheus::Prometheus;

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
    /// What asks smoke URLs.
    pub smoke: reqwest::Client,
    /// Where the state of running commands lies.
    pub place: Place,
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
        let smoke = HttpSettings::with_timeout(SMOKE_TIMEOUT);
        let smoke = http_client::build(&smoke).map_err(|error| format!("smoke: {error}"))?;
        let place = Place { attempts_dir: settings.state_dir.join("attempts"), program: PathBuf::from(OWN_PROGRAM) };
        Ok(Self { settings, prometheus, pagers, smoke, place })
    }
}

/// The edges that are in force.
#[derive(Clone)]
pub struct InForce(Arc<RwLock<Arc<Edges>>>);

impl InForce {
    /// These edges.
    #[must_use]
    pub fn new(edges: Edges) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(edges))))
    }

    /// The edges now; whoever holds them keeps them until done.
    #[must_use]
    pub fn get(&self) -> Arc<Edges> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force.
    pub fn set(&self, edges: Edges) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(edges);
    }
}
