//! A Slack channel, by an incoming webhook.
//!
//! Never lets text of others mention anybody, and never shows the webhook's URL: whoever knows it may post.

use rollbackd_core::config::node::{Fields, Node, Problems};
use rollbackd_core::page::Page;
use serde::Serialize;

use super::{Adapter, DEFAULT_TIMEOUT, Failure, Sending, in_words, not_sent, post, within};
use crate::http_client::{HttpSettings, To};
use crate::outside::Pending;

/// Slack advises 4,000 characters and cuts at 40,000; this much stays below that even if each is escaped.
const LONGEST_WORDS: usize = 3500;

/// One incoming webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slack {
    to: To,
    http: HttpSettings,
}

/// Plain text: no markup, and no name in it becomes a mention.
#[derive(Serialize)]
struct Message {
    text: String,
    mrkdwn: bool,
    parse: &'static str,
    link_names: bool,
    unfurl_links: bool,
}

impl Slack {
    /// Reads `url_file`, and the keys of [`HttpSettings`].
    pub(super) fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::of(node, "`slack`", problems)?;
        let to = To::decode_secret(&mut fields, problems);
        let http = HttpSettings::decode(&mut fields, problems, DEFAULT_TIMEOUT);
        fields.finish(problems);
        Some(Self { to: to?, http })
    }
}

impl Adapter for Slack {
    fn settings(&self) -> &HttpSettings {
        &self.http
    }

    fn send<'a>(&'a self, page: &'a Page, with: Sending<'a>) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let endpoint = self.to.endpoint().await.map_err(|error| not_sent(&error))?;
            let request = with.http.post(endpoint.url().clone()).json(&message(page, with.external_url));
            post(&self.http, request, &endpoint.to_string(), with.now).await
        })
    }
}

fn message(page: &Page, external_url: Option<&str>) -> Message {
    let words = within(&in_words(page, external_url), LONGEST_WORDS);
    // Last, so that it is there however long the rest is: the same in the page and in its end.
    let text = escaped(&format!("{words}\npage: {}", page.id));
    Message { text, mrkdwn: false, parse: "none", link_names: false, unfurl_links: false }
}

/// Slack's three control characters ("Formatting text for app surfaces"): without them there is no `<!channel>`, no
/// `<@U123>` and no link under another name.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
