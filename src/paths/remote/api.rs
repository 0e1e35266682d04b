//! A platform's HTTP API: one way to send a request, to tell whether it may have arrived, and to read its answer.
//!
//! Never follows a redirect, never reads an answer without a bound, and never repeats a request by itself.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use rollbackd_core::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Asked, Look};
use crate::clock::now;
use crate::http_client::{self, CONNECT_TIMEOUT, HttpSettings, Pem};
use crate::paths::ready::Ready;

/// How long one request may take where the config doesn't say: platforms give up after ten seconds themselves.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// The longest answer that is read.
const LONGEST_ANSWER_BYTES: usize = 1024 * 1024;

/// What is waited after a limit was met, where the platform names no time.
const UNNAMED_WAIT: Duration = Duration::from_secs(60);

/// The longest wait that is believed: no path may take as long, and no sum with it overflows.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where platforms put what is wrong, in the order in which it is looked for.
const COMPLAINTS: &[&str] = &["/message", "/Message", "/error/message", "/error_description", "/error", "/detail"];

/// What limits call the requests that are left, and the second of the epoch at which there are more: GitHub, and
/// GitLab ("Rate limits", "Response headers").
const LIMITS: &[(&str, &str)] =
    &[("x-ratelimit-remaining", "x-ratelimit-reset"), ("ratelimit-remaining", "ratelimit-reset")];

/// One platform, as far as it can be asked.
pub(crate) struct Api {
    name: &'static str,
    client: Client,
    /// Instead of a client whose connections may have died unseen.
    spare: Option<Spare>,
    settings: HttpSettings,
}

/// A client of which nothing has been asked, beside one that was taken over.
struct Spare {
    client: Client,
    /// Whether the one that was taken over was answered, once that is known: else this one is used.
    lives: OnceLock<bool>,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(crate) struct Answer {
    name: &'static str,
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// A secret can't be read: nothing was sent.
    NoSecret(String),
    /// No connection came about, or no token was to be had this time: nothing was sent.
    NotSent(String),
    /// A limit was met when a token was asked for, and this is how long to wait: nothing was sent.
    Limited(Duration, String),
    /// The request may have arrived.
    Broken(String),
}

impl Api {
    /// `name` is the platform's, for sentences.
    pub(crate) fn new(name: &'static str, settings: &HttpSettings) -> Result<Self, String> {
        Self::with(name, settings, http_client::build(settings))
    }

    /// The same for what is on this machine or beside it, and must not be asked by a proxy.
    pub(crate) fn beside(name: &'static str, settings: &HttpSettings) -> Result<Self, String> {
        Self::with(name, settings, http_client::build_without_proxy(settings))
    }

    /// The same with the connections of a pre-flight; in a pre-flight, they are kept. For platforms of which something is
    /// read before anything is changed: where a connection has died unseen, the read shows it, and what comes after that
    /// goes through a new one. `pem` is what stands in no file of its own.
    pub(crate) fn kept(name: &'static str, settings: &HttpSettings, pem: &Pem, ready: &Ready) -> Result<Self, String> {
        if let Some((client, spare)) = ready.get::<(Client, Client)>(name) {
            let spare = Some(Spare { client: spare, lives: OnceLock::new() });
            return Ok(Self { name, client, spare, settings: settings.clone() });
        }
        let client = set_up(http_client::build_with(settings, pem))?;
        if ready.keeps() {
            ready.keep(name, &(client.clone(), set_up(http_client::build_with(settings, pem))?));
        }
        Ok(Self { name, client, spare: None, settings: settings.clone() })
    }

    fn with(
        name: &'static str,
        settings: &HttpSettings,
        client: Result<Client, http_client::Error>,
    ) -> Result<Self, String> {
        Ok(Self { name, client: set_up(client)?, spare: None, settings: settings.clone() })
    }

    /// The same without a token: for a request that has a secret of its own in it.
    pub(crate) fn without_token(&self) -> Self {
        let settings = HttpSettings { bearer_token_file: None, ..self.settings.clone() };
        Self { name: self.name, client: self.client.clone(), spare: None, settings }
    }

    /// What requests are made with.
    pub(crate) fn client(&self) -> &Client {
        let spare = self.spare.as_ref().filter(|spare| spare.lives.get() == Some(&false));
        spare.map_or(&self.client, |spare| &spare.client)
    }

    /// Reads the settings' secret files, and sends nothing.
    pub(crate) async fn credentials(&self) -> Result<(), NoAnswer> {
        let never_sent = self.client.head("http://localhost");
        let request = http_client::authorize(&self.settings, never_sent).await;
        request.map(drop).map_err(|error| NoAnswer::NoSecret(error.to_string()))
    }

    /// Sends a request once, with the settings' credentials. Secret files are read anew each time: tokens are replaced.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let request = http_client::authorize(&self.settings, request).await;
        let request = request.map_err(|error| NoAnswer::NoSecret(error.to_string()))?;
        let response = match self.spare.as_ref().filter(|spare| spare.lives.get().is_none()) {
            Some(spare) => spare.try_first(request).await?,
            None => request.send().await,
        };
        let response = response.map_err(|error| {
            let why = http_client::explain(&error);
            if error.is_connect() || error.is_builder() { NoAnswer::NotSent(why) } else { NoAnswer::Broken(why) }
        })?;
        Answer::read(self.name, response).await.map_err(NoAnswer::Broken)
    }
}

fn set_up(built: Result<Client, http_client::Error>) -> Result<Client, String> {
    built.map_err(|error| format!("could not set up an HTTP client: {error}"))
}

impl Spare {
    /// Sends a read through the client that was taken over; where no answer begins in the time that connecting may take,
    /// its connection has died, and the spare is used from now on.
    async fn try_first(&self, request: RequestBuilder) -> Result<reqwest::Result<Response>, NoAnswer> {
        let sent = tokio::time::timeout(CONNECT_TIMEOUT, request.send()).await;
        self.lives.get_or_init(|| matches!(sent, Ok(Ok(_))));
        let seconds = CONNECT_TIMEOUT.as_secs();
        sent.map_err(|_| {
            NoAnswer::Broken(format!("no answer in {seconds} s through a connection that was open before"))
        })
    }
}

impl NoAnswer {
    /// What went wrong.
    pub(crate) fn why(self) -> String {
        match self {
            Self::NoSecret(why) | Self::NotSent(why) | Self::Limited(_, why) | Self::Broken(why) => why,
        }
    }

    /// What it means for a request that changes something.
    pub(crate) fn asked(self) -> Asked {
        match self {
            Self::NoSecret(why) => Asked::Refused(why),
            Self::NotSent(why) => Asked::NotSent(why),
            Self::Limited(wait, why) => Asked::Later(wait, why),
            Self::Broken(why) => Asked::Perhaps(format!("the request was sent and not answered ({why})")),
        }
    }

    /// What it means for a request that changes nothing, and whose answer has to be known before the change is asked for.
    pub(crate) fn unread(self) -> Asked {
        match self {
            Self::NoSecret(why) => Asked::Refused(why),
            Self::Limited(wait, why) => Asked::Later(wait, why),
            Self::NotSent(why) | Self::Broken(why) => Asked::NotSent(why),
        }
    }
}

impl Answer {
    async fn read(name: &'static str, response: Response) -> Result<Self, String> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = http_client::body_within(response, LONGEST_ANSWER_BYTES).await;
        let body = body.map_err(|error| format!("{status}: {error}"))?;
        Ok(Self::of(name, status, headers, body))
    }

    /// What came back, once its length was bounded.
    pub(crate) const fn of(name: &'static str, status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self { name, status, headers, body }
    }

    /// The body of a success.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        if !self.status.is_success() {
            return Err(self.complaint());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("the answer of {} is not as expected: {error}", self.name))
    }

    /// The body, of a success or not.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; `None` for one that is no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the platform says is wrong.
    pub(crate) fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let complaint = COMPLAINTS.iter().filter_map(|place| body.pointer(place)).find(|found| !found.is_null());
        let complaint = complaint.map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned));
        http_client::one_line(&complaint.unwrap_or_default())
    }

    /// The status and what the platform says is wrong.
    pub(crate) fn complaint(&self) -> String {
        let message = self.message();
        let colon = if message.is_empty() { "" } else { ": " };
        format!("{} answered {}{colon}{message}", self.name, self.status.as_u16())
    }

    /// How long the platform asks to wait, where a limit was met. Such a request was not carried out.
    ///
    /// Source: RFC 9110, 10.2.3 (`Retry-After`); GitHub, "Rate limits for the REST API"; GitLab, "Rate limits".
    pub(crate) fn wait(&self, now: Timestamp) -> Option<Duration> {
        if !matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN) {
            return None;
        }
        if let Some(seconds) = self.number(RETRY_AFTER.as_str()) {
            return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
        }
        let spent = LIMITS.iter().find(|(remaining, _)| self.number(remaining) == Some(0));
        if let Some((_, reset)) = spent {
            let reset = self.number(reset).and_then(|seconds| i64::try_from(seconds).ok());
            let reset = reset.map(|seconds| Timestamp::from_milliseconds(seconds.saturating_mul(1000)));
            // A second more: the reset is given in whole seconds.
            let wait = reset.map(|reset| reset.since(now) + Duration::from_secs(1));
            return Some(wait.unwrap_or(UNNAMED_WAIT).min(LONGEST_WAIT));
        }
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS || self.message().contains("rate limit");
        limited.then_some(UNNAMED_WAIT)
    }

    fn number(&self, header: &str) -> Option<u64> {
        self.header(header)?.trim().parse().ok()
    }

    /// What an answer other than a success means for a request that changes something; `None` for a success. `check` is
    /// what somebody should look at.
    pub(crate) fn refusal(&self, check: &str) -> Option<Asked> {
        let complaint = self.complaint();
        if self.status.is_success() {
            return None;
        }
        if let Some(wait) = self.wait(now()) {
            return Some(Asked::Later(wait, complaint));
        }
        Some(match self.status {
            status if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Asked::Perhaps(format!("the request failed at the side of {} ({complaint})", self.name))
            }
            status if status.is_redirection() => {
                Asked::Refused(format!("{complaint}; redirects are not followed with a secret: check the URL"))
            }
            _ => Asked::Refused(format!("{complaint}; check {check}")),
        })
    }

    /// The same for a request that changes nothing, and whose answer has to be known before the change is asked for.
    pub(crate) fn unread(&self, check: &str) -> Option<Asked> {
        match self.refusal(check)? {
            Asked::Perhaps(why) => Some(Asked::NotSent(why)),
            other @ (Asked::Accepted(_)
            | Asked::Ended(_)
            | Asked::Later(..)
            | Asked::Waits(_)
            | Asked::NotSent(_)
            | Asked::Refused(_)) => Some(other),
        }
    }

    /// What an answer other than a success means for a look; `None` for a success.
    pub(crate) fn unseen(&self) -> Option<Look> {
        if self.status.is_success() {
            return None;
        }
        if let Some(wait) = self.wait(now()) {
            return Some(Look::Later(wait));
        }
        Some(match self.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Look::Refused(self.complaint()),
            _ => Look::Later(Duration::ZERO),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    fn client(name: &str) -> Client {
        http_client::install_crypto();
        Client::builder().user_agent(name).no_proxy().build().unwrap()
    }

    /// Both clients' requests can be told apart.
    fn taken_over() -> Api {
        let spare = Spare { client: client("spare"), lives: OnceLock::new() };
        let settings = HttpSettings::with_timeout(REQUEST_TIMEOUT);
        Api { name: "a platform", client: client("kept"), spare: Some(spare), settings }
    }

    /// Reads a request, and answers it with nothing to say.
    async fn answer(connection: &mut TcpStream) -> String {
        let mut read = vec![0; 4096];
        let length = connection.read(&mut read).await.unwrap();
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&read[..length]).into_owned()
    }

    #[tokio::test]
    async fn where_what_was_taken_over_has_died_everything_after_that_goes_another_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let api = taken_over();

        let (broken, dead) = tokio::join!(api.send(api.client().get(&url)), listener.accept());
        assert!(matches!(broken, Err(NoAnswer::Broken(_))), "{broken:?}");
        let again = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            (answer(&mut connection).await, answer(&mut connection).await)
        };
        let asks = async {
            api.send(api.client().get(&url)).await.unwrap();
            api.send(api.client().get(&url)).await.unwrap();
        };
        let ((first, second), ()) = tokio::join!(again, asks);
        assert!(first.contains("user-agent: spare") && second.contains("user-agent: spare"), "{first}{second}");
        drop(dead);
    }

    #[tokio::test]
    async fn where_what_was_taken_over_lives_it_is_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let api = taken_over();
        let server = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            (answer(&mut connection).await, answer(&mut connection).await)
        };
        let asks = async {
            api.send(api.client().get(&url)).await.unwrap();
            api.send(api.client().get(&url)).await.unwrap();
        };
        let ((first, second), ()) = tokio::join!(server, asks);
        assert!(first.contains("user-agent: kept") && second.contains("user-agent: kept"), "{first}{second}");
    }
}
