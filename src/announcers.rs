//! Announcers: how other systems are told that a trigger fired, and how that ended.
//!
//! Never changes what serves, and never says a thing twice where the receiver can say that it knows it.

mod cdevents;
mod github;
mod grafana;

use std::fmt;
use std::sync::Arc;

use reqwest::Client;
use rollbackd_core::config::node::{Node, Problems};
use rollbackd_core::time::Timestamp;

use crate::delivery::{DEFAULT_TIMEOUT, Sending, asked, firing_url, later, not_sent, post, within};
use crate::http_client::{self, HttpSettings};
use crate::outside::Pending;

pub use rollbackd_core::announcement::{Announcement, Ended};

pub use crate::delivery::{Failure, wait_after};

/// Every kind of announcer: the key under which the config describes it, and what reads that part of the config.
const ADAPTERS: &[(&str, Decode)] = &[
    ("grafana", |node, problems| registered(grafana::Grafana::decode(node, problems))),
    ("github", |node, problems| registered(github::Github::decode(node, problems))),
    ("cdevents", |node, problems| registered(cdevents::CdEvents::decode(node, problems))),
];

type Decode = fn(&Node, &mut Problems) -> Option<Announcer>;

/// The kinds of announcers, as the config names them.
pub const KINDS: &[&str] = &{
    let mut kinds = [""; ADAPTERS.len()];
    let mut index = 0;
    while index < kinds.len() {
        kinds[index] = ADAPTERS[index].0;
        index += 1;
    }
    kinds
};

/// One announcer as the config describes it. Holds the names of files with secrets, never a secret.
#[derive(Clone, Debug)]
pub struct Announcer(Arc<dyn Adapter>);

/// One kind of announcer.
trait Adapter: fmt::Debug + Send + Sync {
    /// How the client is made that it sends with.
    fn settings(&self) -> &HttpSettings;

    /// Whether it tells anything of this: many tell of ends alone.
    fn has_news(&self, announcement: &Announcement) -> bool;

    /// Tries once to tell it. Telling it again tells nothing new.
    fn tell<'a>(&'a self, announcement: &'a Announcement, with: Sending<'a>) -> Pending<'a, Result<(), Failure>>;
}

fn registered<A: Adapter + 'static>(decoded: Option<A>) -> Option<Announcer> {
    decoded.map(|adapter| Announcer(Arc::new(adapter)))
}

/// Reads an announcer of this kind; notes what is wrong with it.
pub fn decode(kind: &str, node: &Node, problems: &mut Problems) -> Option<Announcer> {
    let Some((_, decode)) = ADAPTERS.iter().find(|(known, _)| *known == kind) else {
        problems.error(node.place, format!("unknown announcer {kind:?}: expected one of {}", KINDS.join(", ")));
        return None;
    };
    decode(node, problems)
}

impl Announcer {
    /// Makes the client; to be done when the config loads, so that no firing is the first to find a mistake.
    ///
    /// # Errors
    /// A certificate file can't be used.
    pub fn open(&self) -> Result<AnnouncerClient, http_client::Error> {
        Ok(AnnouncerClient { announcer: self.clone(), http: http_client::build(self.0.settings())? })
    }

    /// Whether it tells anything of this: where it does not, nothing has to be delivered.
    #[must_use]
    pub fn has_news(&self, announcement: &Announcement) -> bool {
        self.0.has_news(announcement)
    }
}

/// An announcer that can be used.
#[derive(Clone, Debug)]
pub struct AnnouncerClient {
    announcer: Announcer,
    http: Client,
}

impl AnnouncerClient {
    /// Tries once to tell this; does nothing where there is nothing to tell. Whoever is not sure whether an earlier try
    /// was taken may try again. `external_url` is where humans reach this daemon. How long to wait before the next try
    /// is [`wait_after`]'s to say.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn announce(
        &self,
        announcement: &Announcement,
        now: Timestamp,
        external_url: Option<&str>,
    ) -> Result<(), Failure> {
        if !self.announcer.has_news(announcement) {
            return Ok(());
        }
        self.announcer.0.tell(announcement, Sending { http: &self.http, now, external_url }).await
    }
}

/// An announcement in one sentence, of names that were checked alone.
fn in_words(announcement: &Announcement) -> String {
    let Announcement { service, trigger, .. } = announcement;
    let on = announcement.version.as_ref().map(|version| format!(" on {version}")).unwrap_or_default();
    let begin = format!("{service}: {trigger} fired{on}");
    let Some(ended) = &announcement.ended else { return begin };
    let how = match (&announcement.target, ended.recovered) {
        (Some(target), true) => format!("back on {target}"),
        (None, true) => "recovered".to_owned(),
        (Some(_) | None, false) => ended.outcome.replace('_', " "),
    };
    let by = ended.path.as_ref().map(|path| format!(" by {path}")).unwrap_or_default();
    format!("{begin}; {how}{by} (receipt {})", ended.receipt_number)
}
