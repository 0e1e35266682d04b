//! One attempt at Fly.io: machine after machine gets the image, under a lease, and is healthy before the next one.
//!
//! Never changes a machine that somebody else changed since the attempt began, and never shows a lease's nonce.
//!
//! Source: Fly.io, "Machines" (list, get, update, leases), "Working with the Machines API" (statuses, rate limits);
//! superfly/fly-go (`flaps_machines.go`: the header of the nonce, and that a lease somebody has is answered with 409).

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::Fly;
use super::machine::{ImageRef, Machine, Stage};
use crate::http_client::{Pem, one_line};
use crate::paths::ready::Ready;
use crate::paths::remote::api::{Answer, Api, NoAnswer};
use crate::paths::remote::reading::{read, seen};
use crate::paths::remote::{Asked, Found, Look, Remote};

/// The header with which the holder of a lease says that it is.
const NONCE: &str = "fly-machine-lease-nonce";

/// Before a lease is asked for again that somebody else has: a deploy holds its leases for as long.
const LEASED_WAIT: Duration = Duration::from_secs(2);

/// How much longer than the requests under it a lease lasts. After a crash, the machine is locked for no longer.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// One attempt, with all that it needs.
pub(crate) struct Rolling<'a> {
    settings: &'a Fly,
    api: Api,
    order: &'a Order,
    image: &'a str,
    /// The images that machines had when the attempt began: what the target replaces. Empty before, and after a crash.
    replaced: BTreeSet<ImageRef>,
    /// The machine that was asked to change, and which version of it.
    asked: Option<(String, String)>,
    /// Whether that machine is to be up in the end.
    starts: bool,
}

#[derive(Deserialize)]
struct Lease {
    data: LeaseData,
}

#[derive(Deserialize)]
struct LeaseData {
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    description: String,
}

impl<'a> Rolling<'a> {
    pub(super) fn new(settings: &'a Fly, order: &'a Order, image: &'a str, ready: &Ready) -> Result<Self, String> {
        let is_whole = image.split_once('/').is_some_and(|(registry, rest)| {
            (registry.contains(['.', ':']) || registry == "localhost") && rest.contains([':', '@'])
        });
        if !is_whole {
            return Err(format!("expected an image such as registry.fly.io/{}:TAG, not {image:?}", settings.app));
        }
        let api = Api::kept("Fly.io", &settings.http, &Pem::default(), ready)?;
        Ok(Self { settings, api, order, image, replaced: BTreeSet::new(), asked: None, starts: false })
    }

    fn url(&self, tail: &[&str]) -> Url {
        let segments = ["v1", "apps", &self.settings.app, "machines"];
        let segments: Vec<&str> = segments.into_iter().chain(tail.iter().copied()).collect();
        self.settings.url.under(&segments)
    }

    fn request(&self, method: Method, tail: &[&str]) -> RequestBuilder {
        self.api.client().request(method, self.url(tail))
    }

    /// What somebody should check whose request was refused like this.
    fn check(&self, status: StatusCode) -> String {
        let app = &self.settings.app;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("that the token is a deploy token of {app} and has not expired")
            }
            StatusCode::NOT_FOUND => format!("that {app} exists, and that the registry has {}", self.image),
            _ => format!("that the registry has {}", self.image),
        }
    }

    async fn read<T: DeserializeOwned>(&self, tail: &[&str]) -> Result<T, Asked> {
        let answer = self.api.send(self.request(Method::GET, tail)).await;
        read(answer, |status| self.check(status))?.json().map_err(Asked::NotSent)
    }

    /// The machines of the group, always in the same order.
    fn group(&self, machines: Vec<Machine>) -> Vec<Machine> {
        let of_group = |machine: &Machine| machine.belongs_to(&self.settings.process_group);
        let mut group: Vec<Machine> = machines.into_iter().filter(of_group).collect();
        group.sort_by(|one, other| one.id.cmp(&other.id));
        group
    }

    fn has_image(&self, machine: &Machine) -> bool {
        machine.image().is(self.image)
    }

    fn handle(machine: &Machine) -> String {
        format!("{}/{}", machine.id, machine.instance_id)
    }

    /// The machine that is to be changed next.
    fn next<'m>(&self, group: &'m [Machine]) -> Option<&'m Machine> {
        group.iter().find(|machine| !self.has_image(machine) && machine.is_reachable())
    }

    /// A machine that somebody else changed to something that is neither the target nor what it replaces.
    fn strange(&self, group: &[Machine]) -> Option<String> {
        let known = |machine: &&Machine| self.has_image(machine) || self.replaced.contains(machine.image());
        let found = group.iter().find(|machine| !self.replaced.is_empty() && !known(machine))?;
        Some(format!("machine {} was changed by somebody else, to {}", found.id, found.image().shown()))
    }

    fn no_machine(&self) -> Asked {
        let Fly { app, process_group, .. } = self.settings;
        Asked::Refused(format!("{app} has no machine of the process group {process_group} to change"))
    }

    async fn change(&mut self) -> Result<Asked, Asked> {
        let group = self.group(self.read(&[]).await?);
        if let Some(why) = self.strange(&group) {
            return Err(Asked::Refused(why));
        }
        let Some(machine) = self.next(&group) else {
            let there = group.iter().find(|each| self.has_image(each));
            return there.map(|each| Asked::Accepted(Self::handle(each))).ok_or_else(|| self.no_machine());
        };
        if self.replaced.is_empty() {
            self.replaced =
                group.iter().filter(|each| !self.has_image(each)).map(|each| each.image().clone()).collect();
        }
        let nonce = self.lease(&machine.id).await?;
        let asked = self.change_leased(machine, &nonce).await;
        // While an update may be on its way, the lease keeps others off; it ends by itself.
        if !matches!(asked, Asked::Perhaps(_)) {
            self.release(&machine.id, &nonce).await;
        }
        Ok(asked)
    }

    async fn lease(&self, id: &str) -> Result<String, Asked> {
        // Two requests are sent under it.
        let ttl = self.settings.http.timeout * 2 + LEASE_MARGIN;
        let body = json!({"description": self.order.attempt.as_str(), "ttl": ttl.as_secs()});
        let request = self.request(Method::POST, &[id, "lease"]).json(&body);
        let answer = self.api.send(request).await.map_err(NoAnswer::unread)?;
        if answer.status == StatusCode::CONFLICT {
            return Err(Asked::Later(LEASED_WAIT, format!("machine {id} is leased by somebody else")));
        }
        if let Some(asked) = answer.unread(&self.check(answer.status)) {
            return Err(asked);
        }
        answer.json::<Lease>().map(|lease| lease.data.nonce).map_err(Asked::NotSent)
    }

    /// A lease that stays ends by itself, so what comes of this does not matter.
    async fn release(&self, id: &str, nonce: &str) {
        let request = self.request(Method::DELETE, &[id, "lease"]).header(NONCE, nonce);
        let _ends_by_itself = self.api.send(request).await;
    }

    /// Changes the machine, as nobody else can now, unless somebody did since it was listed.
    async fn change_leased(&mut self, listed: &Machine, nonce: &str) -> Asked {
        let machine: Machine = match self.read(&[&listed.id]).await {
            Ok(machine) => machine,
            Err(asked) => return asked,
        };
        if machine.instance_id != listed.instance_id {
            return Asked::Later(Duration::ZERO, format!("machine {} was just changed by somebody else", machine.id));
        }
        let config = match machine.with_image(self.image) {
            Ok(config) => config,
            Err(why) => return Asked::Refused(format!("machine {} can't be changed: {why}", machine.id)),
        };
        self.starts = machine.is_up();
        self.asked = Some((machine.id.clone(), machine.instance_id.clone()));
        let body = json!({"config": config, "current_version": machine.instance_id, "skip_launch": !self.starts});
        let request = self.request(Method::POST, &[&machine.id]).header(NONCE, nonce).json(&body);
        match self.api.send(request).await {
            Ok(answer) => self.judge(&answer),
            Err(no_answer) => no_answer.asked(),
        }
    }

    fn judge(&self, answer: &Answer) -> Asked {
        answer.refusal(&self.check(answer.status)).unwrap_or_else(|| match answer.json::<Machine>() {
            Ok(machine) => Asked::Accepted(Self::handle(&machine)),
            Err(why) => Asked::Perhaps(format!("the update was accepted without telling its version ({why})")),
        })
    }

    async fn search(&self) -> Result<Found, Asked> {
        let group = self.group(self.read(&[]).await?);
        let Some((id, before)) = &self.asked else { return self.search_after_a_crash(&group).await };
        let Some(machine) = group.iter().find(|machine| machine.id == *id) else { return Ok(Found::NotYet) };
        Ok(if machine.instance_id == *before {
            Found::Never
        } else if self.has_image(machine) {
            Found::It(Self::handle(machine))
        } else {
            let image = machine.image().shown();
            Found::Unclear(format!("machine {id} was changed by somebody else, to {image}"))
        })
    }

    /// The machine in flight, if there is one, is the first that has not the image; its lease tells.
    async fn search_after_a_crash(&self, group: &[Machine]) -> Result<Found, Asked> {
        let there = group.iter().filter(|machine| self.has_image(machine)).count();
        let Some(next) = self.next(group) else {
            let any = group.iter().find(|machine| self.has_image(machine));
            return Ok(any.map_or(Found::Never, |machine| Found::It(Self::handle(machine))));
        };
        let lease = self.api.send(self.request(Method::GET, &[&next.id, "lease"])).await.map_err(NoAnswer::unread)?;
        let is_leased = lease.status != StatusCode::NOT_FOUND;
        if let Some(asked) = lease.unread(&self.check(lease.status)).filter(|_| is_leased) {
            return Err(asked);
        }
        let ours = |lease: &Lease| lease.data.description == self.order.attempt.as_str();
        if is_leased && lease.json::<Lease>().is_ok_and(|lease| ours(&lease)) {
            return Ok(Found::NotYet);
        }
        Ok(if there == 0 {
            Found::Never
        } else {
            let all = group.len();
            Found::Unclear(format!("{there} of {all} machines have the image, whether by this attempt can't be told"))
        })
    }

    /// What the machine shows that was changed last.
    fn look_at(&self, machine: &Machine, instance: &str) -> Result<(), Look> {
        let id = &machine.id;
        if !self.has_image(machine) {
            let image = machine.image().shown();
            // An answer may be older than the update.
            let old = self.asked.as_ref().is_some_and(|(_, before)| *before == machine.instance_id);
            let why = format!("machine {id} was changed again by somebody else, to {image}");
            return Err(if old { Look::Runs } else { Look::Ended(Outcome::Cancelled { why }) });
        }
        let restarted = machine.instance_id != instance;
        match machine.stage() {
            Stage::Healthy => Ok(()),
            Stage::Stopped if restarted || !self.starts => Ok(()),
            Stage::Stopped | Stage::Coming => Err(Look::Runs),
            Stage::Broken(state) => Err(broken(machine, &state)),
        }
    }

    /// What all machines show, once the last one is done.
    fn look_at_all(&self, group: &[Machine]) -> Look {
        if let Some(why) = self.strange(group) {
            return Look::Ended(Outcome::Cancelled { why });
        }
        if self.next(group).is_some() {
            return Look::Part;
        }
        let (there, lost): (Vec<&Machine>, Vec<&Machine>) = group.iter().partition(|machine| self.has_image(machine));
        if let Some(machine) = lost.first() {
            let why =
                format!("machine {} was not changed: its host can't be reached; all others have the image", machine.id);
            return Look::Ended(Outcome::Failed { why, output: String::new() });
        }
        for machine in &there {
            match machine.stage() {
                Stage::Healthy | Stage::Stopped => {}
                Stage::Coming => return Look::Runs,
                Stage::Broken(state) => return broken(machine, &state),
            }
        }
        let machines: Vec<String> = there.iter().map(|machine| Self::handle(machine)).collect();
        let output = one_line(&format!("{} has {}", machines.join(", "), self.image));
        Look::Ended(Outcome::Succeeded { receipt: Some(self.image.to_owned()), output })
    }

    async fn show(&self, handle: &str) -> Result<Look, Look> {
        let Some((id, instance)) = handle.split_once('/') else {
            return Err(Look::Refused("that is no machine and its version".to_owned()));
        };
        let machine: Machine = seen(self.api.send(self.request(Method::GET, &[id])).await)?;
        self.look_at(&machine, instance)?;
        let all = seen(self.api.send(self.request(Method::GET, &[])).await)?;
        Ok(self.look_at_all(&self.group(all)))
    }
}

fn broken(machine: &Machine, state: &str) -> Look {
    let why = format!("machine {} has the image and is {state}; no more machines were changed", machine.id);
    Look::Ended(Outcome::Failed { why, output: String::new() })
}

impl Remote for Rolling<'_> {
    const NAME: &'static str = "Fly.io";
    const WHAT: &'static str = "machine";

    fn poll_interval(&self) -> Duration {
        self.settings.poll_interval
    }

    async fn preflight(&mut self) -> Result<(), Asked> {
        let group = self.group(self.read(&[]).await?);
        if group.is_empty() { Err(self.no_machine()) } else { Ok(()) }
    }

    async fn ask(&mut self) -> Asked {
        self.change().await.unwrap_or_else(|asked| asked)
    }

    async fn find(&mut self) -> Found {
        self.search().await.unwrap_or_else(Asked::unanswered)
    }

    async fn look(&mut self, handle: &str) -> Look {
        self.show(handle).await.unwrap_or_else(|look| look)
    }
}
