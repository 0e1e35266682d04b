//! The seam to the outside, with the simulated world behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rollbackd::config::Settings;
use rollbackd::outside::{Outside, Pending};
use rollbackd::pagers::{Alive, Failure};
use rollbackd::paths::{NotReady, Progress};
use rollbackd_core::announcement::Announcement;
use rollbackd_core::config::{Mode, Service};
use rollbackd_core::event::{Event, Happening, Order};
use rollbackd_core::firing::{Firing, Outcome, Stage};
use rollbackd_core::name::{AnnouncerName, AttemptId, PagerName, Version};
use rollbackd_core::page::Page;
use rollbackd_core::reading::Answer;
use rollbackd_core::receipt::{Evidence, Parts, names_parts, receipt};
use rollbackd_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::life::report_of;
use crate::plan::{Run, Trouble};
use crate::prometheus;
use crate::reached::Seen;
use crate::time;
use crate::world::{Shared, number_of, pager_number};

/// The world as one config describes it.
pub(crate) struct Simulated {
    pub(crate) settings: Settings,
    pub(crate) shared: Shared,
}

impl Simulated {
    fn latency(&self) -> u64 {
        self.shared.lock().plan.latency
    }

    async fn ask(&self, expr: &str, range: (Timestamp, Timestamp, Duration)) -> Answer {
        let (fails, partial, slow) = {
            let world = self.shared.lock();
            let slow = world.troubles().find_map(|trouble| match trouble {
                Trouble::QueriesSlow(milliseconds) => Some(milliseconds),
                _ => None,
            });
            let fails = world.is_wrong(|trouble| trouble == Trouble::QueriesFail);
            let partial = world.is_wrong(|trouble| trouble == Trouble::QueriesPartial);
            (fails, partial, slow.unwrap_or(world.plan.latency))
        };
        self.shared.meet_slowly(slow).await;
        if fails {
            return Answer::Failed("connection refused".to_owned());
        }
        let world = self.shared.lock();
        let answer = prometheus::answer(&world.plan, &world.production, expr, range);
        match answer {
            Answer::Series(_) if partial => Answer::Partial("a store did not answer".to_owned()),
            answer => answer,
        }
    }

    async fn begin(&self, order: &Order, progress: &mpsc::Sender<Progress>, stop: CancellationToken) -> Outcome {
        self.shared.meet_slowly(self.latency()).await;
        let service = number_of(&order.service);
        let version = Version::new(order.run[2].as_str()).expect("a version stands in the order");
        let (waits, announced) = {
            let mut world = self.shared.lock();
            let world = &mut *world;
            world.rules.remote_run_begins(&world.production, order);
            let run = world.production.begin(&world.plan, service, &order.attempt, &version);
            let done = world.production.runs[&order.attempt].done_at.map(|at| at.milliseconds() - time::BEGIN);
            let announced: Vec<u64> = match done {
                Some(at) => world.plan.announced.iter().map(|after| at.cast_unsigned() + after).collect(),
                None => Vec::new(),
            };
            (matches!(run, Run::Waits(_)), announced)
        };
        for at in announced {
            // Whoever announces a rollback's own deploy knows nothing of who caused it.
            let what = Happening::Deployed(report_of(version.clone()));
            self.shared.lock().see(Seen::OwnDeployAnnounced);
            self.shared.tell_at(at, Event { service: order.service.clone(), what });
        }
        self.shared.meet().await;
        let _ = progress.send(Progress::Started { handle: format!("run-{}", order.attempt) }).await;
        if waits {
            let _ = progress.send(Progress::Waits { why: "somebody must approve at the remote".to_owned() }).await;
        }
        self.end(&order.attempt, stop).await
    }

    /// Changes nothing, and may be the last thing that the daemon does.
    async fn look_before(&self) -> Result<(), NotReady> {
        self.shared.meet_slowly(self.latency()).await;
        let mut world = self.shared.lock();
        world.rules.looked_before();
        world.see(Seen::LookedBefore);
        Ok(())
    }

    async fn look_up(&self, order: &Order, progress: &mpsc::Sender<Progress>, stop: CancellationToken) -> Outcome {
        self.shared.meet_slowly(self.latency()).await;
        let (known, sure) = {
            let mut world = self.shared.lock();
            let known = world.production.runs.contains_key(&order.attempt);
            world.see(if known { Seen::AttemptFoundAgain } else { Seen::AttemptNeverBegun });
            (known, world.plan.lookup_is_sure)
        };
        if known {
            let _ = progress.send(Progress::Started { handle: format!("run-{}", order.attempt) }).await;
            return self.end(&order.attempt, stop).await;
        }
        if sure { Outcome::NeverStarted } else { Outcome::Unknown { why: "the remote does not know".to_owned() } }
    }

    /// Follows a run to its end.
    async fn end(&self, attempt: &AttemptId, stop: CancellationToken) -> Outcome {
        let (run, done_at) = {
            let world = self.shared.lock();
            let run = &world.production.runs[attempt];
            (run.run, run.done_at)
        };
        let done = async {
            match done_at {
                Some(at) => tokio::time::sleep(at.since(time::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.shared.meet().await;
                self.shared.lock().production.stop(attempt);
                self.shared.meet().await;
                return Outcome::TimedOut;
            }
            () = done => {}
        }
        self.shared.meet_slowly(self.latency()).await;
        if let Run::SucceedsLate(_) = run {
            self.shared.lock().see(Seen::LateSuccess);
        }
        let output = String::new();
        match run {
            Run::Succeeds(_) | Run::Lies(_) | Run::SucceedsLate(_) | Run::Waits(_) => {
                Outcome::Succeeded { receipt: Some(format!("run-{attempt}")), output }
            }
            Run::Fails(_) | Run::FailsAndChanges(_) => Outcome::Failed { why: "it failed".to_owned(), output },
            Run::Vanishes(_) | Run::Hangs => Outcome::Unknown { why: "nobody can tell".to_owned() },
        }
    }
}

impl Outside for Simulated {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn range<'a>(&'a self, expr: &'a str, from: Timestamp, to: Timestamp, step: Duration) -> Pending<'a, Answer> {
        Box::pin(self.ask(expr, (from, to, step)))
    }

    fn instant<'a>(&'a self, expr: &'a str, at: Timestamp) -> Pending<'a, Answer> {
        Box::pin(self.ask(expr, (at, at, Duration::from_secs(1))))
    }

    fn smoke<'a>(&'a self, url: &'a str) -> Pending<'a, bool> {
        Box::pin(async move {
            self.shared.meet_slowly(self.latency()).await;
            let service = number_of(&rollbackd_core::name::ServiceName::new(&url[url.len() - 1..]).expect("a name"));
            !self.shared.lock().is_wrong(|trouble| trouble == Trouble::SmokeFails(service))
        })
    }

    fn preflight<'a>(&'a self, _order: &'a Order) -> Option<Pending<'a, Result<(), NotReady>>> {
        Some(Box::pin(self.look_before()))
    }

    fn start<'a>(
        &'a self,
        order: &'a Order,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Option<Pending<'a, Outcome>> {
        Some(Box::pin(self.begin(order, progress, stop)))
    }

    fn follow<'a>(
        &'a self,
        order: &'a Order,
        _handle: Option<&'a str>,
        progress: &'a mpsc::Sender<Progress>,
        stop: CancellationToken,
    ) -> Option<Pending<'a, Outcome>> {
        Some(Box::pin(self.look_up(order, progress, stop)))
    }

    fn forget(&self, _attempt: &AttemptId) -> io::Result<()> {
        Ok(())
    }

    fn page<'a>(&'a self, pager: &'a PagerName, page: &'a Page, _now: Timestamp) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.shared.meet_slowly(self.latency()).await;
            {
                let mut world = self.shared.lock();
                let dry_run = self.settings.core.mode == Mode::DryRun;
                world.rules.must("R12", !dry_run, || format!("a dry run pages: {}", page.summary));
                let number = pager_number(pager);
                if world.is_wrong(|trouble| trouble == Trouble::PagerRefuses(number)) {
                    world.see(Seen::PageRefused);
                    return Err(Failure::Permanent { why: "no such receiver".to_owned() });
                }
                if world.is_wrong(|trouble| trouble == Trouble::PagerDown(number)) {
                    world.see(Seen::PageNotTaken);
                    return Err(Failure::Retry { why: "connection refused".to_owned(), after: None });
                }
            }
            self.shared.page_taken(pager, page);
            self.shared.meet().await;
            Ok(())
        })
    }

    fn acknowledge<'a>(
        &'a self,
        _pager: &'a PagerName,
        _page: &'a Page,
        _now: Timestamp,
    ) -> Option<Pending<'a, Result<(), Failure>>> {
        None
    }

    fn announce<'a>(
        &'a self,
        _announcer: &'a AnnouncerName,
        announcement: &'a Announcement,
        _now: Timestamp,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.shared.meet_slowly(self.latency()).await;
            {
                let mut world = self.shared.lock();
                let dry_run = self.settings.core.mode == Mode::DryRun;
                world.rules.must("R12", !dry_run, || format!("a dry run announces {}", announcement.firing));
                if world.is_wrong(|trouble| trouble == Trouble::AnnouncerDown) {
                    world.see(Seen::AnnouncementNotTaken);
                    return Err(Failure::Retry { why: "connection refused".to_owned(), after: None });
                }
                world.announced(announcement);
            }
            self.shared.meet().await;
            Ok(())
        })
    }

    fn say_alive<'a>(
        &'a self,
        _pager: &'a PagerName,
        _alive: &'a Alive,
        _now: Timestamp,
    ) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn ping(&self) -> Option<Pending<'_, Result<(), String>>> {
        None
    }

    fn resend_every(&self, pager: &PagerName) -> Option<Duration> {
        // The second one forgets, as Alertmanager does.
        (pager_number(pager) == 1).then_some(Duration::from_secs(30))
    }

    fn publish(&self, plan: Arc<Service>, firing: Firing, evidence: Evidence) -> Pending<'_, Result<String, String>> {
        Box::pin(async move {
            self.shared.meet_slowly(self.latency()).await;
            if self.shared.lock().is_wrong(|trouble| trouble == Trouble::ReceiptsFail) {
                self.shared.lock().see(Seen::ReceiptNotWritten);
                return Err("no space left on device".to_owned());
            }
            let told = receipt(&firing, &plan, &evidence).map_err(|error| error.to_string())?;
            let Stage::Ended { receipt: number, .. } = firing.stage else {
                return Err("the firing has not ended".to_owned());
            };
            let sha256 = format!("{number:064x}");
            {
                let mut world = self.shared.lock();
                let before = number == world.rules.receipts_before + 1 || world.receipts.contains_key(&(number - 1));
                let same = world.receipts.get(&number).is_none_or(|(id, _)| id == &firing.id);
                let parts = Parts { facts_sha256: &sha256, svg_sha256: &sha256 };
                let named = told.front.number == number && names_parts(&told.markdown(parts), number, parts);
                world.rules.must("R8", before, || format!("receipt {number} is written before the one before it"));
                world.rules.must("R8", same, || format!("receipt {number} is of two firings"));
                world.rules.must("R8", named, || format!("receipt {number} has no front matter"));
                world.receipts.insert(number, (firing.id.clone(), sha256.clone()));
            }
            self.shared.meet().await;
            Ok(sha256)
        })
    }
}
