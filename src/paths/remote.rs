//! What all paths by a platform's API share: ask for the change once, find it again, follow it to its end.
//!
//! Never asks a second time once a request may have been carried out; what may have been is looked for instead.

pub(crate) mod api;
pub(crate) mod correlation;
pub(crate) mod github;
pub(crate) mod gitlab;
pub(crate) mod image;
pub(crate) mod reading;
pub(crate) mod secret_file;
pub(crate) mod short_lived;
pub(crate) mod signed;

use std::future::Future;
use std::time::Duration;

use rollbackd_core::event::Order;
use rollbackd_core::firing::Outcome;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::by_hand::ByHand;
use super::ready::Ready;
use super::{Adapter, Attempt, NotReady, Place, Progress, nothing_ran, tell};
use crate::clock::now;
use crate::outside::Pending;

/// How often the change is tried to be sent where that fails; nothing was sent, so the next try asks for nothing twice.
const CONNECTS: u32 = 3;

/// Between two such tries, and the least between two requests of which the first was certainly not carried out.
const RECONNECT: Duration = Duration::from_secs(1);

/// How often it is looked for what was asked for: it shows within seconds, and with [`LOOK_UP_INTERVAL`] this is half
/// a minute.
const LOOK_UPS: u32 = 15;

/// The longest time between two such looks.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(2);

/// How often in a row a look may be refused (401, 403, 404) before the outcome counts as unknown: what is new may not
/// show everywhere at once, and a token may be being replaced.
const REFUSED_LOOKS: u32 = 5;

/// How long what was cancelled may take to end before the attempt counts as timed out all the same.
const CANCEL_GRACE: Duration = Duration::from_secs(15);

/// A platform that an attempt is made at: the settings of one path.
pub(crate) trait Platform: std::fmt::Debug + Send + Sync {
    /// One attempt's view of it.
    type Remote<'a>: Remote
    where
        Self: 'a;

    /// Gets ready for one attempt, with what is ready already. `Err`, with the reason, where the order does not fit the
    /// settings or no client can be made; nothing was sent then.
    fn open<'a>(&'a self, order: &'a Order, ready: &'a Ready) -> Result<Self::Remote<'a>, String>;

    /// How a person does the same without us. `run` is what an order would have, rendered.
    fn by_hand(&self, run: &[String]) -> ByHand;
}

/// What one attempt asks of its platform. Each method sends what it has to and says what came of it; how often and when
/// is decided here.
pub(crate) trait Remote: Send + Sync {
    /// The platform's name, for sentences.
    const NAME: &'static str;

    /// What a handle names there, for sentences: a run, a pipeline.
    const WHAT: &'static str;

    /// Between two looks.
    fn poll_interval(&self) -> Duration;

    /// The pre-flight: reads what can be read before [`Self::ask`] changes something, at best all that would keep it from
    /// that. Changes nothing. `Err`: what asking would come to.
    fn preflight(&mut self) -> impl Future<Output = Result<(), Asked>> + Send;

    /// Finds the version to return to, and asks for the change or, where it has several parts, for its next one. Called
    /// again only after an answer that proves that nothing was changed, and after [`Look::Part`].
    fn ask(&mut self) -> impl Future<Output = Asked> + Send;

    /// Looks for what an earlier [`Self::ask`], of this process or of one before it, may have begun.
    fn find(&mut self) -> impl Future<Output = Found> + Send;

    /// How far what was asked for has come.
    fn look(&mut self, handle: &str) -> impl Future<Output = Look> + Send;

    /// The path's timeout is over: asks the platform to give up what was asked for.
    fn cancel(&mut self, _handle: &str) -> impl Future<Output = Cancelled> + Send {
        std::future::ready(Cancelled::Impossible)
    }

    /// What to tell somebody whose change was asked for and is not found, after a colon; empty where there is nothing.
    fn hint(&self) -> String {
        String::new()
    }
}

/// What asking for the change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was accepted, and is found by this.
    Accepted(String),
    /// It is over already: the answer tells how.
    Ended(Outcome),
    /// It was accepted, or may have been. What is known.
    Perhaps(String),
    /// It was not carried out, and may be asked again after this time. Why.
    Later(Duration, String),
    /// It was not carried out, and may be asked again once a person has done something. What, and where.
    Waits(String),
    /// It could not be sent: no connection came about, or what has to be known before could not be read. Why.
    NotSent(String),
    /// It was refused, and asking again would not help. Why.
    Refused(String),
}

impl Asked {
    /// What a look-up comes to whose own reads ended like this.
    pub(crate) fn unanswered(self) -> Found {
        match self {
            Self::Accepted(why)
            | Self::Waits(why)
            | Self::Perhaps(why)
            | Self::Later(_, why)
            | Self::NotSent(why)
            | Self::Refused(why) => Found::Unanswered(why),
            Self::Ended(outcome) => Found::Unclear(format!("it ended while it was looked for: {outcome:?}")),
        }
    }

    /// What a pre-flight comes to whose reads ended like this. What an attempt would try again in its time is no failure.
    pub(crate) fn not_ready(self, order: &Order) -> NotReady {
        match self {
            Self::Refused(why) => NotReady::Fails(why),
            Self::Later(wait, why) if now() + wait >= order.ends_at => NotReady::Fails(why),
            Self::Waits(why) => NotReady::Waits(why),
            Self::Accepted(why) | Self::Perhaps(why) | Self::Later(_, why) | Self::NotSent(why) => {
                NotReady::Unseen(why)
            }
            Self::Ended(outcome) => NotReady::Unseen(format!("{outcome:?}")),
        }
    }
}

/// What is found of an earlier request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was carried out, and is found by this.
    It(String),
    /// It does not show; it may yet.
    NotYet,
    /// It was not carried out, and asking again is no second change: the platform's state says so.
    Never,
    /// It can't be told, also later. Why.
    Unclear(String),
    /// It could not be looked up this time. Why.
    Unanswered(String),
}

/// What a look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is over.
    Ended(Outcome),
    /// This part of the change is done, and others are to be asked for.
    Part,
    /// It runs, or will.
    Runs,
    /// It goes on under this handle, by which it is found from now on.
    Renamed(String),
    /// It waits for a person. For what, and where.
    Waits(String),
    /// It is not shown to us. Why.
    Refused(String),
    /// Nothing was shown this time; to be asked again, after this time at least.
    Later(Duration),
}

/// What the platform said to being asked to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It will; its end is awaited.
    Taken,
    /// Not this time.
    NotTaken,
    /// What was asked for can't be given up.
    Impossible,
}

impl<P: Platform> Adapter for P {
    fn start<'a>(&'a self, attempt: Attempt<'a>) -> Pending<'a, Outcome> {
        Box::pin(async move {
            match self.open(attempt.order, attempt.ready) {
                Ok(remote) => Following { remote, attempt }.start().await,
                Err(why) => nothing_ran(&why),
            }
        })
    }

    fn follow<'a>(&'a self, attempt: Attempt<'a>, handle: Option<&'a str>) -> Pending<'a, Outcome> {
        Box::pin(async move {
            match self.open(attempt.order, attempt.ready) {
                Ok(remote) => Following { remote, attempt }.follow(handle).await,
                Err(why) => Outcome::Unknown { why },
            }
        })
    }

    fn preflight<'a>(&'a self, order: &'a Order, _place: &'a Place) -> Option<Pending<'a, Result<Ready, NotReady>>> {
        Some(Box::pin(async move {
            let ready = Ready::of_preflight();
            let looked = self.open(order, &ready).map_err(NotReady::Fails)?.preflight().await;
            looked.map(|()| ready).map_err(|asked| asked.not_ready(order))
        }))
    }

    fn by_hand(&self, run: &[String]) -> ByHand {
        Platform::by_hand(self, run)
    }
}

/// One attempt on its way.
pub(super) struct Following<'a, R> {
    pub(super) remote: R,
    pub(super) attempt: Attempt<'a>,
}

/// Whether there is time left.
enum Pause {
    Over,
    Stopped,
}

/// How following what was asked for ended.
enum Attended {
    /// The attempt is over.
    Ended(Outcome),
    /// A part of the change is done.
    Part,
}

impl<R: Remote> Following<'_, R> {
    /// Asks for the change, and follows it to its end.
    pub(super) async fn start(mut self) -> Outcome {
        let mut done = 0;
        loop {
            match self.part(done).await {
                Attended::Ended(outcome) => return outcome,
                Attended::Part => done += 1,
            }
        }
    }

    /// Asks for the change, or for the part of it that comes after so many, and follows it.
    async fn part(&mut self, done: u32) -> Attended {
        let mut connects = 0;
        let mut told = false;
        loop {
            if self.attempt.stop.is_cancelled() {
                return Attended::Ended(Outcome::TimedOut);
            }
            let wait = match self.remote.ask().await {
                Asked::Accepted(handle) => return self.attend_new(handle).await,
                Asked::Ended(outcome) => return Attended::Ended(outcome),
                Asked::Perhaps(what) => return self.attend_found(&what, nothing_more::<R>(&what, done)).await,
                Asked::Refused(why) => return Attended::Ended(nothing_more::<R>(&why, done)),
                Asked::Later(wait, why) if now() + wait >= self.attempt.order.ends_at => {
                    let why = format!("{why}; it asks to wait for longer than the path's timeout");
                    return Attended::Ended(nothing_more::<R>(&why, done));
                }
                Asked::NotSent(why) if connects + 1 == CONNECTS => {
                    return Attended::Ended(nothing_more::<R>(&format!("could not ask {}: {why}", R::NAME), done));
                }
                Asked::Later(wait, _) => wait.max(RECONNECT),
                Asked::Waits(why) => {
                    self.page(&mut told, why).await;
                    self.remote.poll_interval()
                }
                Asked::NotSent(_) => {
                    connects += 1;
                    RECONNECT
                }
            };
            if let Pause::Stopped = self.pause(wait).await {
                return Attended::Ended(Outcome::TimedOut);
            }
        }
    }

    /// Finds what an earlier process asked for, and follows it to its end.
    pub(super) async fn follow(mut self, handle: Option<&str>) -> Outcome {
        let attended = match handle {
            Some(handle) => self.attend(handle).await,
            None => {
                let what = "the daemon ended before it was recorded by what the attempt can be found";
                self.attend_found(what, Outcome::NeverStarted).await
            }
        };
        match attended {
            Attended::Ended(outcome) => outcome,
            // Whether the rest may still be changed is not ours to say: a freeze or another deploy may have come.
            Attended::Part => {
                let why =
                    format!("the daemon ended when a part of the change was done: one {} is, others are not", R::WHAT);
                Outcome::Unknown { why }
            }
        }
    }

    /// Looks for what may have been carried out, and follows it. `never` is the outcome where it certainly was not.
    async fn attend_found(&mut self, what: &str, never: Outcome) -> Attended {
        let unknown = |why: &str| Attended::Ended(Outcome::Unknown { why: format!("{what}, and {why}") });
        let mut last = "what it began was not found".to_owned();
        let mut certainly_not = false;
        for _ in 0..LOOK_UPS {
            let found = self.remote.find().await;
            certainly_not = found == Found::Never;
            match found {
                Found::It(handle) => return self.attend_new(handle).await,
                Found::Unclear(why) => return unknown(&why),
                // An earlier process can't have sent it in the last moment: that moment was before the restart.
                Found::Never if never == Outcome::NeverStarted => return Attended::Ended(never),
                Found::NotYet | Found::Never => {}
                Found::Unanswered(why) => last = format!("what it began could not be looked up ({why})"),
            }
            if let Pause::Stopped = self.pause(self.remote.poll_interval().min(LOOK_UP_INTERVAL)).await {
                return unknown("what it began was not found before the path's timeout was over");
            }
        }
        if certainly_not {
            return Attended::Ended(never);
        }
        let hint = self.remote.hint();
        unknown(&if hint.is_empty() { last } else { format!("{last}: {hint}") })
    }

    async fn attend_new(&mut self, handle: String) -> Attended {
        tell(self.attempt.progress, Progress::Started { handle: handle.clone() }).await;
        self.attend(&handle).await
    }

    /// Follows it to its end; cancels it when the path's timeout is over.
    async fn attend(&mut self, handle: &str) -> Attended {
        let mut handle = handle.to_owned();
        let mut told = false;
        let mut refused = 0;
        loop {
            let mut wait = self.remote.poll_interval();
            match self.remote.look(&handle).await {
                Look::Ended(outcome) => return Attended::Ended(outcome),
                Look::Part => return Attended::Part,
                Look::Runs => refused = 0,
                Look::Renamed(known_as) => {
                    tell(self.attempt.progress, Progress::Started { handle: known_as.clone() }).await;
                    handle = known_as;
                    continue;
                }
                Look::Waits(why) => {
                    refused = 0;
                    self.page(&mut told, why).await;
                }
                Look::Refused(why) => {
                    refused += 1;
                    if refused == REFUSED_LOOKS {
                        return Attended::Ended(Outcome::Unknown {
                            why: format!("{} {handle} can't be looked at any more: {why}", R::WHAT),
                        });
                    }
                }
                Look::Later(asked) => wait = asked.max(wait),
            }
            if let Pause::Stopped = self.pause(wait).await {
                return Attended::Ended(self.cancel(&handle).await);
            }
        }
    }

    /// Cancels it, and waits a moment for it to end, so that the next path is alone.
    async fn cancel(&mut self, handle: &str) -> Outcome {
        let give_up_at = Instant::now() + CANCEL_GRACE;
        let mut taken = false;
        while Instant::now() < give_up_at {
            match self.remote.look(handle).await {
                Look::Ended(Outcome::Cancelled { .. }) | Look::Part => return Outcome::TimedOut,
                Look::Ended(outcome) => return outcome,
                Look::Runs | Look::Renamed(_) | Look::Waits(_) | Look::Refused(_) | Look::Later(_) => {}
            }
            if !taken {
                match self.remote.cancel(handle).await {
                    Cancelled::Taken => taken = true,
                    Cancelled::NotTaken => {}
                    Cancelled::Impossible => return Outcome::TimedOut,
                }
            }
            tokio::time::sleep(self.remote.poll_interval().min(LOOK_UP_INTERVAL)).await;
        }
        Outcome::TimedOut
    }

    /// Tells once that a person is waited for.
    async fn page(&self, told: &mut bool, why: String) {
        if !std::mem::replace(told, true) {
            tell(self.attempt.progress, Progress::Waits { why }).await;
        }
    }

    async fn pause(&self, duration: Duration) -> Pause {
        let stop: &CancellationToken = &self.attempt.stop;
        tokio::select! {
            biased;
            () = stop.cancelled() => Pause::Stopped,
            () = tokio::time::sleep(duration) => Pause::Over,
        }
    }
}

/// Nothing was changed by the last request, after so many parts that were.
fn nothing_more<R: Remote>(why: &str, done: u32) -> Outcome {
    match done {
        0 => nothing_ran(why),
        1.. => {
            let why = format!("{why}; {done} of its parts ({}) had been changed before, and stay so", R::WHAT);
            Outcome::Failed { why, output: String::new() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::tests::order;

    #[test]
    fn what_an_attempt_would_try_again_in_its_time_is_no_failure_and_what_outlasts_it_is_one() {
        let order = order();
        let why = || "a limit was met".to_owned();
        let later = |seconds| Asked::Later(Duration::from_secs(seconds), why()).not_ready(&order);
        assert_eq!(later(30), NotReady::Unseen(why()));
        assert_eq!(later(3600), NotReady::Fails(why()));
        assert_eq!(Asked::NotSent(why()).not_ready(&order), NotReady::Unseen(why()));
        assert_eq!(Asked::Waits(why()).not_ready(&order), NotReady::Waits(why()));
        assert_eq!(Asked::Refused(why()).not_ready(&order), NotReady::Fails(why()));
    }
}
