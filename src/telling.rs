//! What the log says of a record: once, structured, by the supervisor, within the watch's span.
//!
//! Never shows a value in a form that only this program's source explains, and leaves no line without a message.

mod words;

use rollbackd_core::firing::Outcome;
use rollbackd_core::name::{FiringId, PagerName, ServiceName};
use rollbackd_core::record::{FiringRecord, LedgerRecord, PageRecord, Record, RehearsalRecord, WatchRecord};
use rollbackd_core::state::Turn;
use rollbackd_core::word;
use tracing::{debug, info, warn};

/// Logs a record that has become durable.
pub fn log(service: &ServiceName, record: &Record) {
    match record {
        Record::Ledger(record) => ledger(service, record),
        Record::Watch(record) => watch(service, record),
        Record::Fired(firing) => warn!(
            %service, firing = %firing.id, trigger = %firing.trigger, observed_at = %firing.observed_at,
            value = firing.value, limit = firing.limit, "a trigger fired"
        ),
        Record::Firing { id, what } => firing(service, id, what),
        Record::Page(record) => page(service, record),
        Record::Rehearsal(record) => rehearsal(service, record),
        Record::Frozen { until, why } => info!(%service, %until, why, "automatic rollback is frozen"),
        Record::Thawed => info!(%service, "automatic rollback goes on"),
    }
}

fn ledger(service: &ServiceName, record: &LedgerRecord) {
    match record {
        LedgerRecord::Deployed { deploy, end, running } => {
            let said = match (deploy.rehearsal, deploy.seen) {
                (true, _) => "a rehearsal deployed this version on purpose",
                (false, true) => "a version appeared that nobody told of",
                (false, false) => "deploy reported",
            };
            let end = end.map(words::watch_end);
            info!(%service, deploy = %deploy.id, version = %deploy.version, at = %deploy.at, end, running, "{said}");
        }
        LedgerRecord::Announced { version, .. } => {
            info!(%service, %version, "the deploy that a rollback caused was announced; no watch opens");
        }
        LedgerRecord::MigrationLearned { deploy, migration } => {
            let migration = words::migration(*migration);
            info!(%service, %deploy, migration, "the deploy turned out to have migrated data");
        }
        LedgerRecord::Told { deploy, commit, run_url, .. } => {
            let commit = commit.as_ref().map(|commit| commit.as_str());
            info!(%service, %deploy, commit, run_url, "somebody told of the deploy that was seen");
        }
        LedgerRecord::ReportTaken { key } => debug!(%service, key, "report taken"),
        LedgerRecord::RevisionSeen { version, revision } => debug!(%service, %version, revision, "revision seen"),
    }
}

fn watch(service: &ServiceName, record: &WatchRecord) {
    match record {
        WatchRecord::Opened { watch } => {
            let target = watch.target.as_ref().map(|target| target.version.as_str());
            info!(%service, deploy = %watch.deploy, version = %watch.version, until = %watch.until, target_version = target, "watch opened");
        }
        WatchRecord::TargetFound { target } => {
            let target = target.as_ref().map(|target| target.version.as_str());
            info!(%service, target_version = target, "the version before the deploy was read");
        }
        WatchRecord::BaselineKept { trigger, baseline } => {
            info!(%service, %trigger, value = baseline.value, looks = baseline.looks, expected = baseline.expected, "baseline kept");
        }
        WatchRecord::Turned { trigger, turn, arming, value, .. } => {
            let since = match turn {
                Turn::Breaching { since } => Some(since.to_string()),
                Turn::Unseen | Turn::Clear | Turn::LowTraffic | Turn::Blind => None,
            };
            let (turn, arming) = (words::turn(*turn), words::arming(*arming));
            info!(%service, %trigger, turn, since, arming, value, "trigger turned");
        }
        WatchRecord::Settled { trigger } => debug!(%service, %trigger, "the last slot of the watch was answered"),
        WatchRecord::Shadowed { trigger, observed_at, value } => {
            warn!(%service, %trigger, %observed_at, value, "a shadow trigger would have fired");
        }
        WatchRecord::Ended { end } => info!(%service, end = words::watch_end(*end), "watch ended"),
    }
}

fn firing(service: &ServiceName, id: &FiringId, what: &FiringRecord) {
    match what {
        FiringRecord::AttemptIntended { attempt, automatic } => {
            warn!(%service, firing = %id, attempt = %attempt.id, path = %attempt.path, automatic, "rollback path starts");
        }
        FiringRecord::AttemptEnded { attempt, outcome } => match outcome {
            Outcome::Succeeded { receipt, .. } => {
                info!(%service, firing = %id, %attempt, receipt = receipt.as_deref(), "rollback path done");
            }
            Outcome::Failed { why, .. } | Outcome::Cancelled { why } | Outcome::Unknown { why } => {
                warn!(%service, firing = %id, %attempt, why, "rollback path did not succeed");
            }
            Outcome::TimedOut => warn!(%service, firing = %id, %attempt, "rollback path used up its timeout"),
            Outcome::NeverStarted => warn!(%service, firing = %id, %attempt, "rollback path had not been started"),
        },
        FiringRecord::Paged { why, .. } => warn!(%service, firing = %id, why, "a human is asked"),
        FiringRecord::PassedOver { path, why } => warn!(%service, firing = %id, %path, why, "path passed over"),
        FiringRecord::WouldRun { attempt } => {
            warn!(%service, firing = %id, path = %attempt.path, run = attempt.shown, "dry run: this would have run");
        }
        FiringRecord::BudgetSpent => warn!(%service, firing = %id, "the budget is spent"),
        FiringRecord::Ended { result, receipt, recovered_at } => {
            let recovered_at = recovered_at.map(|at| at.to_string());
            info!(%service, firing = %id, result = word(*result), receipt, recovered_at, "firing ended");
        }
        FiringRecord::Joined { trigger, .. } => {
            info!(%service, firing = %id, %trigger, "another trigger fired as well")
        }
        FiringRecord::Proved { what, .. } => info!(%service, firing = %id, what, "something was seen of the recovery"),
        FiringRecord::Noted { what } => info!(%service, firing = %id, what, "the firing goes on"),
        FiringRecord::Verifying { why, .. } => info!(%service, firing = %id, why, "the recovery is awaited"),
        FiringRecord::AttemptInDoubt { attempt, why } => {
            warn!(%service, firing = %id, %attempt, why, "outcome unknown; the version that serves is awaited");
        }
        FiringRecord::Vetoable { until } => info!(%service, firing = %id, %until, "a human may dismiss"),
        FiringRecord::Approved => info!(%service, firing = %id, "approved"),
        FiringRecord::Dismissed { why } => info!(%service, firing = %id, why, "dismissed"),
        FiringRecord::Acknowledged => info!(%service, firing = %id, "acknowledged"),
        FiringRecord::Announced { by, of_end } => debug!(%service, firing = %id, %by, of_end, "announced"),
        FiringRecord::AttemptStarted { attempt, handle } => {
            debug!(%service, firing = %id, %attempt, handle, "rollback path was taken on, and can be found by this");
        }
        FiringRecord::Published { sha256 } => debug!(%service, firing = %id, sha256, "receipt published"),
    }
}

fn rehearsal(service: &ServiceName, record: &RehearsalRecord) {
    match record {
        RehearsalRecord::Asked { rehearsal } => {
            let witness = rehearsal.witness.as_deref();
            warn!(%service, rehearsal = %rehearsal.id, bad = %rehearsal.bad, back_to = %rehearsal.back_to, witness, "a rehearsal was asked for");
        }
        RehearsalRecord::Checked { trigger } => {
            info!(%service, %trigger, "seen before the rehearsal: it does not breach")
        }
        RehearsalRecord::AttemptIntended { attempt } => {
            warn!(%service, attempt = %attempt.id, path = %attempt.path, "a bad version is deployed on purpose");
        }
        RehearsalRecord::AttemptStarted { handle } => debug!(%service, handle, "the bad deploy was started"),
        RehearsalRecord::AttemptWaits { why } => warn!(%service, why, "the bad deploy waits for a person"),
        RehearsalRecord::AttemptEnded { outcome } => {
            info!(%service, outcome = words::outcome(outcome), why = words::why(outcome), "the bad deploy ended");
        }
        RehearsalRecord::Told { told } => {
            let since = told.serving_since.map(|at| at.to_string());
            info!(%service, since, "the bad version was told of or seen");
        }
        RehearsalRecord::Reported { report } => {
            warn!(%service, trigger = %report.trigger, "reported while the bad version is being deployed");
        }
        RehearsalRecord::Watching { until } => info!(%service, %until, "the bad version is watched"),
        RehearsalRecord::StopAsked => warn!(%service, "a human stops the rehearsal"),
        RehearsalRecord::Ended { end, .. } => {
            info!(%service, end = end.word(), why = words::why_over(end), "the rehearsal ended");
        }
    }
}

fn page(service: &ServiceName, record: &PageRecord) {
    match record {
        PageRecord::Opened { page } => {
            warn!(%service, page = %page.id, reason = page.reason.word(), summary = page.summary, "page opened");
        }
        PageRecord::Delivered { page, pager, resolved } => info!(%service, %page, %pager, resolved, "page delivered"),
        PageRecord::Acknowledged { page } => info!(%service, %page, "page acknowledged"),
        PageRecord::Escalated { page, pagers, .. } => {
            let pagers = pagers.iter().map(PagerName::as_str).collect::<Vec<_>>().join(", ");
            warn!(%service, %page, pagers, "nobody acknowledged a page in time: it goes to the next level");
        }
        PageRecord::Resolved { page } => info!(%service, %page, "page is over"),
    }
}

#[cfg(test)]
mod tests;
