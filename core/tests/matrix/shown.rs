//! A decision in one line: the reply, the kinds of its records, the kinds of its effects.

use rollbackd_core::Decision;
use rollbackd_core::event::{Effect, Order, Reply};
use rollbackd_core::firing::Attempt;
use rollbackd_core::record::{FiringRecord, LedgerRecord, PageRecord, Record, RehearsalRecord, WatchRecord};
use serde_json::Value;

/// The line.
pub(crate) fn decision(decision: &Decision) -> String {
    let mut parts = vec![reply(&decision.reply)];
    let records: Vec<String> = decision.records.iter().map(record).collect();
    let effects: Vec<String> = decision.effects.iter().map(effect).collect();
    if !records.is_empty() {
        parts.push(format!("[{}]", records.join(", ")));
    }
    if !effects.is_empty() {
        parts.push(format!("=> {}", effects.join(", ")));
    }
    parts.join(" ")
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::None => "-".to_owned(),
        Reply::Deploy(_) => "deploy".to_owned(),
        Reply::SameDeploy(_) => "same deploy".to_owned(),
        Reply::Firing(_) => "firing".to_owned(),
        Reply::SameFiring(_) => "same firing".to_owned(),
        Reply::Rehearsal(_) => "rehearsal".to_owned(),
        Reply::Done => "done".to_owned(),
        Reply::NotNews(why) => format!("no news: {why}"),
        Reply::Refused(why) => format!("refused: {why}"),
    }
}

/// The word that an enum's variant is written with.
fn word(value: &impl serde::Serialize) -> String {
    let written = serde_json::to_value(value).unwrap_or(Value::Null);
    let tagged = written.get("record").or_else(|| written.get("outcome")).or_else(|| written.get("turn")).cloned();
    tagged.unwrap_or(written).as_str().unwrap_or("?").to_owned()
}

fn record(record: &Record) -> String {
    match record {
        Record::Ledger(what) => ledger(what),
        Record::Watch(what) => watch(what),
        Record::Fired(firing) => {
            let on = firing.deploy.as_ref().map_or("nothing", |deploy| deploy.version.as_str());
            let back_to = firing.target.as_ref().map_or("nothing", |target| target.version.as_str());
            format!("fired {} of {on}, target {back_to}", firing.trigger)
        }
        Record::Firing { what, .. } => firing(what),
        Record::Page(PageRecord::Opened { page }) => format!("page {}", page.reason.word()),
        Record::Page(PageRecord::Delivered { .. }) => "delivered".to_owned(),
        Record::Page(PageRecord::Acknowledged { .. }) => "page seen".to_owned(),
        Record::Page(PageRecord::Escalated { .. }) => "page goes on".to_owned(),
        Record::Page(PageRecord::Resolved { .. }) => "page over".to_owned(),
        Record::Rehearsal(what) => rehearsal(what),
        Record::Frozen { .. } => "frozen".to_owned(),
        Record::Thawed => "thawed".to_owned(),
    }
}

fn ledger(record: &LedgerRecord) -> String {
    match record {
        LedgerRecord::Deployed { deploy, end, running } => {
            let end = end.map(|end| format!(" {}", word(&end))).unwrap_or_default();
            let serves = if *running { "" } else { " not serving" };
            format!("deployed {}{end}{serves}", deploy.version)
        }
        LedgerRecord::Announced { version, firing } => {
            format!("announced {version}{}", if firing.is_some() { " of the firing" } else { "" })
        }
        LedgerRecord::MigrationLearned { .. } => "migration learned".to_owned(),
        LedgerRecord::Told { .. } => "told".to_owned(),
        LedgerRecord::ReportTaken { .. } => "report taken".to_owned(),
        LedgerRecord::RevisionSeen { version, .. } => format!("revision of {version}"),
    }
}

fn watch(record: &WatchRecord) -> String {
    match record {
        WatchRecord::Opened { watch } => {
            let target = watch.target.as_ref().map_or("none", |target| target.version.as_str());
            format!("watch opened, target {target}{}", if watch.target_awaited { " yet" } else { "" })
        }
        WatchRecord::TargetFound { target } => {
            format!("target {}", target.as_ref().map_or("none", |target| target.version.as_str()))
        }
        WatchRecord::BaselineKept { .. } => "baseline".to_owned(),
        WatchRecord::Turned { turn, arming, .. } => format!("turned {} {}", word(turn), word(arming)),
        WatchRecord::Settled { .. } => "settled".to_owned(),
        WatchRecord::Shadowed { .. } => "shadowed".to_owned(),
        WatchRecord::Ended { end } => format!("watch ended {}", word(end)),
    }
}

fn attempt(what: &str, attempt: &Attempt) -> String {
    format!("{what} {} {:?}", attempt.path, attempt.run.last().map_or("", String::as_str))
}

fn firing(record: &FiringRecord) -> String {
    match record {
        FiringRecord::AttemptIntended { attempt: intended, automatic } => {
            let by = if *automatic { "intend" } else { "intend by a human" };
            attempt(by, intended)
        }
        FiringRecord::WouldRun { attempt: would } => attempt("would run", would),
        FiringRecord::AttemptEnded { outcome, .. } => format!("attempt {}", word(outcome)),
        FiringRecord::Ended { result, receipt, .. } => format!("ended {} #{receipt}", word(result)),
        FiringRecord::Joined { trigger, .. } => format!("joined {trigger}"),
        FiringRecord::PassedOver { path, .. } => format!("passed over {path}"),
        FiringRecord::Paged { .. }
        | FiringRecord::Vetoable { .. }
        | FiringRecord::AttemptStarted { .. }
        | FiringRecord::AttemptInDoubt { .. }
        | FiringRecord::Verifying { .. }
        | FiringRecord::Proved { .. }
        | FiringRecord::Approved
        | FiringRecord::Dismissed { .. }
        | FiringRecord::Acknowledged
        | FiringRecord::BudgetSpent
        | FiringRecord::Noted { .. }
        | FiringRecord::Announced { .. }
        | FiringRecord::Published { .. } => word(record),
    }
}

fn rehearsal(record: &RehearsalRecord) -> String {
    match record {
        RehearsalRecord::AttemptIntended { attempt: intended } => attempt("rehearsal: intend", intended),
        RehearsalRecord::AttemptEnded { outcome } => format!("rehearsal: attempt {}", word(outcome)),
        RehearsalRecord::Ended { end, .. } => format!("rehearsal: ended {}", end.word()),
        RehearsalRecord::Asked { .. }
        | RehearsalRecord::Checked { .. }
        | RehearsalRecord::AttemptStarted { .. }
        | RehearsalRecord::AttemptWaits { .. }
        | RehearsalRecord::Told { .. }
        | RehearsalRecord::Reported { .. }
        | RehearsalRecord::Watching { .. }
        | RehearsalRecord::StopAsked => format!("rehearsal: {}", word(record)),
    }
}

fn order(what: &str, order: &Order) -> String {
    format!("{what} {} {:?}", order.path, order.run.last().map_or("", String::as_str))
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::StartAttempt(started) => order("START", started),
        Effect::FollowAttempt { order: followed, .. } => order("FOLLOW", followed),
        Effect::StopAttempt { .. } => "STOP".to_owned(),
        Effect::Page { page, .. } => {
            format!("PAGE {}{}", page.reason.word(), if page.resolved_at.is_some() { " over" } else { "" })
        }
        Effect::AcknowledgePage { page, .. } => format!("SEEN {}", page.reason.word()),
        Effect::Announce { announcement, .. } => {
            format!("ANNOUNCE{}", if announcement.ended.is_some() { " the end" } else { "" })
        }
        Effect::PublishReceipt { .. } => "RECEIPT".to_owned(),
    }
}
