//! One attempt by HTTP: the request, once, and looks at what became of it.
//!
//! Never takes for its own what does not carry the attempt's id, or what the answer to its request did not name.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{StatusCode, Url};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde_json::Value;

use super::expect::{LONGEST_HANDLE, Taken};
use super::{Finding, Http, Poll, State, Where};
use crate::http_client::one_line;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::{Asked, Found, Look, Remote};

/// The header with the attempt's id: a server that knows it carries a request out once, however often it comes.
///
/// Source: IETF draft "The Idempotency-Key HTTP Header Field".
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// One attempt, with all that it needs.
pub(crate) struct Call<'a> {
    settings: &'a Http,
    api: Api,
    order: &'a Order,
    url: Url,
    headers: HeaderMap,
}

impl<'a> Call<'a> {
    pub(super) fn new(settings: &'a Http, order: &'a Order) -> Result<Self, String> {
        let url = settings.url.fill(&order.run, None)?;
        let headers = headers(settings, order)?;
        Ok(Self { settings, api: Api::new("the remote", &settings.http)?, order, url, headers })
    }

    fn body(&self) -> Option<Value> {
        let part = |index: &usize| self.order.run.get(*index).map(String::as_str).into();
        self.settings.body.as_ref().map(|body| body.render(&part))
    }

    async fn get(&self, url: Url) -> Result<Answer, NoAnswer> {
        self.api.send(self.api.client().get(url).headers(self.headers.clone())).await
    }

    /// What an answer of a status from 200 to 299 means.
    fn taken(&self, answer: &Answer) -> Asked {
        let json = answer.json::<Value>().unwrap_or_default();
        match (self.settings.success.of(answer), &self.settings.poll) {
            (Taken::No(why), _) => {
                Asked::Ended(Outcome::Failed { why: format!("the remote did not do it: {why}"), output: String::new() })
            }
            (Taken::Unclear(why), _) => Asked::Perhaps(format!("the request was taken without telling how: {why}")),
            (Taken::Yes, None) => Asked::Ended(self.succeeded(&json, self.order.attempt.as_str(), "")),
            (Taken::Yes, Some(poll)) => match self.handle(poll, answer, &json) {
                Ok(handle) => Asked::Accepted(handle),
                Err(why) => {
                    Asked::Perhaps(format!("the request was taken without telling by what to follow it: {why}"))
                }
            },
        }
    }

    /// By what the answer says that it can be followed.
    fn handle(&self, poll: &Poll, answer: &Answer, json: &Value) -> Result<String, String> {
        match &poll.at {
            Where::Attempt(_) => Ok(self.order.attempt.to_string()),
            Where::Handle { pointer, .. } => {
                pointer.id(json).ok_or_else(|| format!("its answer has no id at {pointer}"))
            }
            Where::Location => self.location(answer.header(LOCATION.as_str()).ok_or("it has no Location header")?),
        }
    }

    /// The path and query of a `Location` header; the server must be the one that was asked.
    fn location(&self, header: &str) -> Result<String, String> {
        let url = self.url.join(header).map_err(|error| format!("its Location header is no URL: {error}"))?;
        if url.origin() != self.url.origin() {
            return Err("its Location header leads to another server, where credentials do not go".to_owned());
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let handle = format!("{}{query}", url.path());
        if handle.len() > LONGEST_HANDLE {
            return Err(format!("its Location header is longer than {LONGEST_HANDLE} bytes"));
        }
        Ok(handle)
    }

    fn poll_url(&self, poll: &Poll, handle: &str) -> Result<Url, String> {
        match &poll.at {
            Where::Attempt(address) | Where::Handle { address, .. } => address.fill(&self.order.run, Some(handle)),
            Where::Location => {
                let url = self.url.join(handle).map_err(|error| format!("that is no URL: {error}"))?;
                let same = url.origin() == self.url.origin();
                same.then_some(url).ok_or_else(|| "it leads to another server".to_owned())
            }
        }
    }

    /// What a poll's answer of a status from 200 to 299 shows.
    fn seen(&self, poll: &Poll, answer: &Answer, handle: &str) -> Look {
        let Ok(json) = answer.json::<Value>() else { return Look::Later(Duration::ZERO) };
        let met = poll.states.iter().find_map(|(state, condition)| Some((*state, condition.met(&json)?)));
        let Some((state, seen)) = met else { return Look::Runs };
        match state {
            State::Done => Look::Ended(self.succeeded(&json, handle, &seen)),
            State::Failed => {
                Look::Ended(Outcome::Failed { why: format!("{handle} failed at the remote: {seen}"), output: seen })
            }
            State::Cancelled => {
                Look::Ended(Outcome::Cancelled { why: format!("{handle} was cancelled at the remote: {seen}") })
            }
            State::Waits => {
                let server = self.settings.url.server();
                Look::Waits(format!("{handle} waits for a person at {server}: {seen}"))
            }
        }
    }

    fn succeeded(&self, json: &Value, known_as: &str, seen: &str) -> Outcome {
        let told = self.settings.receipt.as_ref().and_then(|receipt| receipt.id(json));
        let receipt = one_line(&told.unwrap_or_else(|| known_as.to_owned()));
        Outcome::Succeeded { receipt: Some(receipt), output: seen.to_owned() }
    }

    /// Where what was begun is looked for, and by what in the answer it is found.
    fn finding(&self) -> Result<(Url, Finding<'a>), String> {
        let poll = self.settings.poll.as_ref().ok_or("without `poll`, nothing tells what was begun")?;
        let finding = poll.finding().ok_or("without `find`, or {{ attempt.id }} in `poll.url`, it can't be found")?;
        let url = match &finding {
            Finding::Shows(address, _) | Finding::Names(address, _) => address.fill(&self.order.run, None)?,
        };
        Ok((url, finding))
    }

    fn found(&self, finding: &Finding<'_>, json: &Value) -> Found {
        let handle = match finding {
            // A state of any kind: a list without the attempt in it has none.
            Finding::Shows(_, poll) => {
                let shown = poll.states.iter().any(|(_, condition)| condition.read(json).is_some());
                shown.then(|| self.order.attempt.to_string())
            }
            Finding::Names(_, pointer) => pointer.id(json),
        };
        handle.map_or(Found::NotYet, Found::It)
    }
}

impl Remote for Call<'_> {
    const NAME: &'static str = "the remote";
    const WHAT: &'static str = "the request";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval()
    }

    /// What a server makes of a request that nobody has described is not known: nothing is sent.
    async fn preflight(&mut self) -> Result<(), Asked> {
        self.api.credentials().await.map_err(NoAnswer::unread)
    }

    async fn ask(&mut self) -> Asked {
        let request = self.api.client().request(self.settings.method.clone(), self.url.clone());
        let request = request.headers(self.headers.clone()).header(IDEMPOTENCY_KEY, self.order.attempt.as_str());
        let request = match self.body() {
            Some(body) => request.json(&body),
            None => request,
        };
        match self.api.send(request).await {
            Ok(answer) => {
                let check = "the `url`, and that the credentials may use it";
                answer.refusal(check).unwrap_or_else(|| self.taken(&answer))
            }
            Err(no_answer) => no_answer.asked(),
        }
    }

    async fn find(&mut self) -> Found {
        let (url, finding) = match self.finding() {
            Ok(found) => found,
            Err(why) => return Found::Unclear(why),
        };
        match self.get(url).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Found::NotYet,
            Ok(answer) => answer.json().map_or_else(Found::Unanswered, |json| self.found(&finding, &json)),
            Err(no_answer) => Found::Unanswered(no_answer.why()),
        }
    }

    async fn look(&mut self, handle: &str) -> Look {
        let Some(poll) = &self.settings.poll else {
            return Look::Refused("the config has no `poll` any more".to_owned());
        };
        let url = match self.poll_url(poll, handle) {
            Ok(url) => url,
            Err(why) => return Look::Refused(why),
        };
        // Without an answer, what was begun goes on all the same: look again.
        let Ok(answer) = self.get(url).await else { return Look::Later(Duration::ZERO) };
        answer.unseen().unwrap_or_else(|| self.seen(poll, &answer, handle))
    }
}

/// The headers whose values are templates.
fn headers(settings: &Http, order: &Order) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, index) in &settings.headers {
        let value = order.run.get(*index).ok_or("the order has too few parts")?;
        let value = HeaderValue::try_from(value);
        headers
            .insert(name, value.map_err(|_| format!("the value of header {name} has characters that none may have"))?);
    }
    Ok(headers)
}
