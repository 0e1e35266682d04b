//! The path `http`: one request to a server that can bring a version back, and looks at what became of it.
//!
//! Never sends the request a second time once it may have been carried out, and never sends credentials anywhere but to
//! the server of `url`.

mod address;
mod call;
mod expect;

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderName;
use rollbackd_core::config::node::{self, Fields, Node, Place, Problems};
use rollbackd_core::config::{PathParts, RunPart};
use rollbackd_core::event::Order;
use rollbackd_core::template::{Template, Variable};

use self::address::{Address, Of};
use self::call::Call;
use self::expect::{Condition, Pointer, Success};
use super::by_hand::ByHand;
use super::ready::Ready;
use super::remote::Platform;
use super::remote::api::REQUEST_TIMEOUT;
use crate::http_client::HttpSettings;
use crate::json_body::JsonBody;

/// Between two looks: sixty of them in a budget of five minutes.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two looks, for servers on this machine.
const SHORTEST_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The longest one: what waits for a person pages at the next look.
const LONGEST_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// What may change something. No `GET`: proxies and clients may repeat one as they like.
const METHODS: &[(&str, Method)] =
    &[("POST", Method::POST), ("PUT", Method::PUT), ("PATCH", Method::PATCH), ("DELETE", Method::DELETE)];

/// What git does not know of.
const LEAVES_BEHIND: &str = "git does not know of this rollback: commit the revert";

/// A request, but for what stands in its places, which an [`Order`] brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    method: Method,
    url: Address,
    body: Option<JsonBody<usize>>,
    /// The headers whose values are templates, with the part of the order that is the value.
    headers: Vec<(HeaderName, usize)>,
    success: Success,
    receipt: Option<Pointer>,
    poll: Option<Poll>,
    http: HttpSettings,
    /// How many parts an order has.
    parts: usize,
}

/// How what was begun is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Poll {
    at: Where,
    find: Option<(Address, Pointer)>,
    interval: Duration,
    /// In the order in which they are asked for.
    states: Vec<(State, Condition)>,
}

/// Where what was begun is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Where {
    /// At a URL that has the attempt's id in it.
    Attempt(Address),
    /// At a URL that has in it what the first answer tells at this place.
    Handle { address: Address, pointer: Pointer },
    /// At the `Location` of the first answer.
    Location,
}

/// What a look can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Done,
    Failed,
    Cancelled,
    Waits,
}

/// How what was begun is found again.
enum Finding<'a> {
    /// This URL shows a state of it.
    Shows(&'a Address, &'a Poll),
    /// This URL names it, there.
    Names(&'a Address, &'a Pointer),
}

/// The parts of an order, as they are found in the config.
#[derive(Debug, Default)]
struct Parts(Vec<RunPart>);

impl Parts {
    /// Adds one, and tells its position.
    fn add(&mut self, name: String, value: Template) -> usize {
        self.0.push(RunPart { name, value });
        self.0.len() - 1
    }

    /// Those that name the attempt.
    fn with_attempt(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|index| self.0[*index].value.names(Variable::AttemptId)).collect()
    }
}

/// Reads the config.
pub(super) fn decode(at: &Node, problems: &mut Problems) -> Option<(Http, PathParts)> {
    let mut fields = Fields::of(at, "an `http` path", problems)?;
    let mut parts = Parts::default();
    let method = fields.optional("method").map_or(Some(Method::POST), |at| method(at, problems));
    let url = fields.required("url", problems);
    if let (Some(method), Some(url)) = (&method, url) {
        // For people alone; what is sent is filled in part by part.
        parts.add(String::new(), Template::parse(method.as_str()).ok()?);
        parts.add(String::new(), node::template(url, problems)?);
    }
    let url = url.and_then(|at| Address::decode(at, Of::Change, &mut parts, problems));
    let mut http = HttpSettings::decode(&mut fields, problems, REQUEST_TIMEOUT);
    let headers = headers(fields.value_place("headers"), &mut http, &mut parts, problems);
    let body = fields.optional("body").map(|at| body(at, &mut parts, problems));
    let success =
        fields.optional("success").map_or_else(|| Some(Success::default()), |at| Success::decode(at, problems));
    let receipt = fields.optional("receipt").map(|at| Pointer::decode(at, problems));
    let find = fields.optional("find").map(|at| find(at, &mut parts, problems));
    let poll = fields.optional("poll").map(|at| poll(at, &mut parts, problems));
    if let (Some(_), None) = (&find, &poll) {
        problems
            .error(fields.key_place("find"), "expected `find` together with a `poll`: what is found is then followed");
    }
    let (find_at, poll_at) = (fields.value_place("find"), fields.value_place("poll"));
    fields.finish(problems);

    let url = url?;
    let mut poll = poll.map_or(Some(None), |poll| poll.map(Some))?;
    if let (Some(poll), Some(find)) = (&mut poll, find) {
        add_find(poll, find?, find_at, problems);
    }
    if let Some(poll) = &poll {
        check_servers(&url, poll, (poll_at, find_at), problems);
    }
    let http = Http {
        method: method?,
        url,
        body: body.map_or(Some(None), |body| body.map(Some))?,
        headers,
        success: success?,
        receipt: receipt.map_or(Some(None), |receipt| receipt.map(Some))?,
        poll,
        http,
        parts: parts.0.len(),
    };
    Some((http, PathParts { run: parts.0, leaves_behind: Some(LEAVES_BEHIND.to_owned()) }))
}

fn method(at: &Node, problems: &mut Problems) -> Option<Method> {
    let written = node::text(at, problems)?;
    let found = METHODS.iter().find(|(word, _)| *word == written).map(|(_, method)| method.clone());
    if found.is_none() {
        problems.error(at.place, format!("expected POST, PUT, PATCH or DELETE, not {written:?}"));
    }
    found
}

fn body(at: &Node, parts: &mut Parts, problems: &mut Problems) -> Option<JsonBody<usize>> {
    let mut read = |node: &Node, text: &str, below: &str, problems: &mut Problems| {
        let template = problems.take(node.place, Template::parse(text))?;
        Some(parts.add(format!("body{below}"), template))
    };
    JsonBody::decode(at, &mut read, problems)
}

/// Takes the headers whose values are templates out of the settings, which hold the others.
fn headers(at: Place, http: &mut HttpSettings, parts: &mut Parts, problems: &mut Problems) -> Vec<(HeaderName, usize)> {
    let templates = http.headers.extract_if(.., |_, value| value.contains("{{"));
    let mut found = Vec::new();
    for (name, text) in templates {
        let template = problems.take(at, Template::parse(&text));
        let index = template.map(|template| parts.add(format!("headers.{name}"), template));
        found.extend(HeaderName::try_from(name).ok().zip(index));
    }
    found
}

fn find(at: &Node, parts: &mut Parts, problems: &mut Problems) -> Option<(Address, Pointer)> {
    let mut fields = Fields::of(at, "`find`", problems)?;
    let url = fields.required("url", problems).and_then(|at| Address::decode(at, Of::Find, parts, problems));
    let handle = fields.required("handle", problems).and_then(|at| Pointer::decode(at, problems));
    let place = fields.value_place("url");
    fields.finish(problems);
    let url = url?;
    if !url.names_any(&parts.with_attempt()) {
        let message = "expected {{ attempt.id }} in `find.url`: what it finds could be of another attempt";
        problems.error(place, message);
    }
    Some((url, handle?))
}

fn poll(at: &Node, parts: &mut Parts, problems: &mut Problems) -> Option<Poll> {
    let mut fields = Fields::of(at, "`poll`", problems)?;
    let url = fields.optional("url").map(|at| Address::decode(at, Of::Poll, parts, problems));
    let handle = fields.optional("handle").map(|at| Pointer::decode(at, problems));
    let interval = fields.optional("interval").map_or(Some(POLL_INTERVAL), |at| {
        node::duration_within(at, SHORTEST_POLL_INTERVAL, LONGEST_POLL_INTERVAL, problems)
    });
    let done = fields.required("done", problems).and_then(|at| Condition::decode(at, "`poll.done`", problems));
    let mut states = vec![(State::Done, done)];
    for (key, state) in [("failed", State::Failed), ("cancelled", State::Cancelled), ("waits", State::Waits)] {
        let what = format!("`poll.{key}`");
        states.extend(fields.optional(key).map(|at| (state, Condition::decode(at, &what, problems))));
    }
    let place = fields.value_place("url");
    fields.finish(problems);

    let url = url.map_or(Some(None), |url| url.map(Some))?;
    let handle = handle.map_or(Some(None), |handle| handle.map(Some))?;
    let at_where = where_to_look(url, handle, &parts.with_attempt(), place, problems)?;
    let states = states.into_iter().map(|(state, condition)| Some((state, condition?))).collect::<Option<Vec<_>>>()?;
    check_states(&states, at.place, problems);
    Some(Poll { at: at_where, find: None, interval: interval?, states })
}

fn where_to_look(
    url: Option<Address>,
    handle: Option<Pointer>,
    with_attempt: &[usize],
    place: Place,
    problems: &mut Problems,
) -> Option<Where> {
    let message = match (url, handle) {
        (None, None) => return Some(Where::Location),
        (Some(address), Some(pointer)) if address.names_handle() => return Some(Where::Handle { address, pointer }),
        (Some(address), None) if !address.names_handle() && address.names_any(with_attempt) => {
            return Some(Where::Attempt(address));
        }
        (Some(address), None) if address.names_handle() => {
            "`{{ handle }}` needs a `handle`: the JSON pointer to it in the first answer, such as /id"
        }
        (Some(_), None) => {
            "expected {{ handle }} or {{ attempt.id }} in `poll.url`: what it shows could be of another attempt"
        }
        (_, Some(_)) => "`handle` needs a `poll.url` with {{ handle }} in it",
    };
    problems.error(place, message);
    None
}

/// One value can't mean two things.
fn check_states(states: &[(State, Condition)], place: Place, problems: &mut Problems) {
    for (index, (state, condition)) in states.iter().enumerate() {
        for (before, other) in &states[..index] {
            if let Some(value) = condition.shares(other) {
                problems.error(place, format!("{value:?} can't mean both {before} and {state}"));
            }
        }
    }
}

fn add_find(poll: &mut Poll, find: (Address, Pointer), place: Place, problems: &mut Problems) {
    match poll.at {
        Where::Handle { .. } => poll.find = Some(find),
        Where::Attempt(_) => {
            problems.error(place, "leave `find` out: `poll.url` has the attempt's id in it, and so finds it by itself");
        }
        Where::Location => {
            problems
                .error(place, "`find` needs a `poll.url` with {{ handle }} in it: a Location header can't be found");
        }
    }
}

/// All go to one server, since the credentials do.
fn check_servers(url: &Address, poll: &Poll, (poll_at, find_at): (Place, Place), problems: &mut Problems) {
    let polled = match &poll.at {
        Where::Attempt(address) | Where::Handle { address, .. } => Some((address, poll_at, "poll.url")),
        Where::Location => None,
    };
    let found = poll.find.as_ref().map(|(address, _)| (address, find_at, "find.url"));
    for (address, place, key) in polled.into_iter().chain(found) {
        if address.server().url().origin() != url.server().url().origin() {
            let server = url.server();
            problems.error(place, format!("expected `{key}` at {server}, as `url`: credentials go nowhere else"));
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Waits => "waits",
        })
    }
}

impl Poll {
    fn finding(&self) -> Option<Finding<'_>> {
        match (&self.at, &self.find) {
            (Where::Attempt(address), _) => Some(Finding::Shows(address, self)),
            (Where::Handle { .. } | Where::Location, Some((address, pointer))) => {
                Some(Finding::Names(address, pointer))
            }
            (Where::Handle { .. } | Where::Location, None) => None,
        }
    }
}

impl Http {
    fn poll_interval(&self) -> Duration {
        self.poll.as_ref().map_or(POLL_INTERVAL, |poll| poll.interval)
    }
}

impl Platform for Http {
    type Remote<'a> = Call<'a>;

    fn open<'a>(&'a self, order: &'a Order, _ready: &'a Ready) -> Result<Call<'a>, String> {
        if order.run.len() != self.parts {
            return Err("the order does not fit the templates of the config, which changed meanwhile".to_owned());
        }
        Call::new(self, order)
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        let [method, url, ..] = run else { return ByHand::default() };
        let first = "With the headers, the body and the credentials that the config names for this path.";
        ByHand::new(first).command(["curl", "--fail", "--request", method, url])
    }
}
