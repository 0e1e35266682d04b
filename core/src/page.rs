//! A page: what a human is told, why, and until when.

mod words;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::event::Effect;
use crate::name::{DeployId, FiringId, PageId, PagerName, ServiceName, TriggerName, Version};
use crate::receipt::text::line;
use crate::record::{FiringRecord, PageRecord};
use crate::time::Timestamp;

/// Why a human is paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageReason {
    /// A trigger fired and something holds the automatic rollback.
    Held,
    /// A trigger with `action: page` fired.
    Manual,
    /// The path starts unless a human dismisses in time.
    Veto,
    /// No path is left, or none that can finish within the budget.
    NoPathLeft,
    /// The outcome of an attempt can't be known.
    UnknownOutcome,
    /// The remote waits for a person.
    RemoteWaits,
    /// The budget is spent and production has not recovered.
    BudgetSpent,
    /// A new deploy arrived while a rollback was running.
    DeployDuringRollback,
    /// A new deploy arrived while a rehearsal was deploying its bad version.
    DeployDuringRehearsal,
    /// Nothing can be seen.
    Blind,
    /// A trigger that was breaching before the deploy still is.
    DidNotHelp,
}

impl PageReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Held,
        Self::Manual,
        Self::Veto,
        Self::NoPathLeft,
        Self::UnknownOutcome,
        Self::RemoteWaits,
        Self::BudgetSpent,
        Self::DeployDuringRollback,
        Self::Blind,
        Self::DidNotHelp,
    ];

    /// The reason as it stands in ids, labels and lists.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Manual => "manual",
            Self::Veto => "veto",
            Self::NoPathLeft => "no_path_left",
            Self::UnknownOutcome => "unknown_outcome",
            Self::RemoteWaits => "remote_waits",
            Self::BudgetSpent => "budget_spent",
            Self::DeployDuringRollback => "deploy_during_rollback",
            Self::DeployDuringRehearsal => "deploy_during_rehearsal",
            Self::Blind => "blind",
            Self::DidNotHelp => "did_not_help",
        }
    }
}

/// A page. Its id is the dedup key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its id, which stays the same however often it is delivered.
    pub id: PageId,
    /// Of this service.
    pub service: ServiceName,
    /// Why.
    pub reason: PageReason,
    /// One sentence for a human: what happened and what is asked of them.
    pub summary: String,
    /// More sentences: the trigger's note, the value, how to answer.
    pub details: Vec<String>,
    /// The firing, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<FiringId>,
    /// The deploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployId>,
    /// The deployed version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// The trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerName>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was over; `None` while a human is still needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// When a human said that they have seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// The pagers that it is for.
    pub pagers: BTreeSet<PagerName>,
    /// Whom it goes to next, level by level, where nobody acknowledges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels_left: Vec<Vec<PagerName>>,
    /// When it goes to the next level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalates_at: Option<Timestamp>,
    /// The pagers that have not yet taken it.
    pub undelivered: BTreeSet<PagerName>,
    /// The pagers that have not yet taken the word that it is over; empty until it is.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unresolved: BTreeSet<PagerName>,
}

impl Page {
    /// When it goes to the next level; `None` where somebody has it, it is over, or there is no next level.
    #[must_use]
    pub fn escalates_at(&self) -> Option<Timestamp> {
        self.escalates_at.filter(|_| self.resolved_at.is_none() && self.acknowledged_at.is_none())
    }

    /// Whether nothing more has to be delivered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.resolved_at.is_some() && self.undelivered.is_empty() && self.unresolved.is_empty()
    }
}

/// Opens a page about a firing, unless one for the same reason is open; in a dry run it is only noted.
pub(crate) fn about_firing(draft: &mut Draft<'_>, id: &FiringId, reason: PageReason, summary: String) {
    let Some(firing) = draft.firing(id) else { return };
    if draft.is_dry_run() {
        draft.firing_record(id, FiringRecord::Noted { what: format!("dry run: would have paged: {summary}") });
        return;
    }
    let details = words::details(draft, &firing);
    let page = Page {
        firing: Some(id.clone()),
        deploy: firing.deploy.as_ref().map(|deploy| deploy.id.clone()),
        version: firing.deploy.as_ref().map(|deploy| deploy.version.clone()),
        trigger: Some(firing.trigger.clone()),
        details,
        ..blank(draft, id.as_str(), reason, summary)
    };
    // A page about a watch can't be acknowledged (`ack` names a firing), so it would always escalate: it has one level.
    let next = draft.service.escalate_after.filter(|_| draft.service.page.len() > 1).map(|after| draft.now + after);
    let levels_left = draft.service.page.iter().skip(1).cloned().collect();
    open(draft, Page { levels_left, escalates_at: next, ..page });
}

/// Opens a page about a watch, unless one for the same reason is open. In a dry run nobody is paged.
pub(crate) fn about_watch(draft: &mut Draft<'_>, reason: PageReason, trigger: &TriggerName, summary: String) {
    let Some(watch) = &draft.own().watch else { return };
    let about = format!("{}-{trigger}", watch.deploy);
    let mut page = Page {
        deploy: Some(watch.deploy.clone()),
        version: Some(watch.version.clone()),
        trigger: Some(trigger.clone()),
        ..blank(draft, &about, reason, summary)
    };
    if draft.is_dry_run() {
        // Kept, so that it is opened once, but for nobody.
        page.pagers.clear();
        page.undelivered.clear();
    }
    open(draft, page);
}

fn blank(draft: &Draft<'_>, about: &str, reason: PageReason, summary: String) -> Page {
    let pagers: BTreeSet<PagerName> = draft.service.page.iter().take(1).flatten().cloned().collect();
    Page {
        id: PageId::shortened(&format!("{about}-{}", reason.word())),
        service: draft.name().clone(),
        reason,
        // It may quote a remote, or the reason that somebody gave.
        summary: line(&summary, words::LONGEST),
        details: Vec::new(),
        firing: None,
        deploy: None,
        version: None,
        trigger: None,
        opened_at: draft.now,
        resolved_at: None,
        acknowledged_at: None,
        undelivered: pagers.clone(),
        pagers,
        levels_left: Vec::new(),
        escalates_at: None,
        unresolved: BTreeSet::new(),
    }
}

fn open(draft: &mut Draft<'_>, mut page: Page) {
    let same = |known: &Page| known.firing == page.firing && known.deploy == page.deploy && known.reason == page.reason;
    if draft.own().pages.iter().any(|known| same(known) && known.trigger == page.trigger && known.resolved_at.is_none())
    {
        return;
    }
    // An earlier page for the same reason is over, but its end is not delivered yet: the ids must differ.
    let base = page.id.clone();
    let mut number = 1;
    while draft.own().page(&page.id).is_some() {
        number += 1;
        page.id = PageId::shortened(&format!("{base}-{number}"));
    }
    let effects: Vec<Effect> = page
        .pagers
        .iter()
        .map(|pager| Effect::Page { service: draft.name().clone(), pager: pager.clone(), page: page.clone() })
        .collect();
    draft.page_record(PageRecord::Opened { page: Box::new(page) });
    effects.into_iter().for_each(|effect| draft.effect(effect));
}

/// What a human was asked is answered, by them or by what follows. That the budget is spent stays so until the firing ends.
pub(crate) fn resolve_questions(draft: &mut Draft<'_>, id: &FiringId) {
    resolve(draft, |page| page.firing.as_ref() == Some(id) && page.reason != PageReason::BudgetSpent);
}

/// No human is needed any more: the pages about a firing are over.
pub(crate) fn resolve_firing_pages(draft: &mut Draft<'_>, id: &FiringId) {
    resolve(draft, |page| page.firing.as_ref() == Some(id));
}

/// What firings that ended have left to a human is over.
pub(crate) fn resolve_left_pages(draft: &mut Draft<'_>) {
    let open: Vec<FiringId> = draft.open_firings().into_iter().map(|firing| firing.id).collect();
    resolve(draft, |page| page.firing.as_ref().is_some_and(|firing| !open.contains(firing)));
}

/// Whether a human is still needed for a firing.
pub(crate) fn is_left(draft: &Draft<'_>, id: &FiringId) -> bool {
    draft.own().pages.iter().any(|page| page.firing.as_ref() == Some(id) && page.resolved_at.is_none())
}

/// The watch ends: the pages about it are over.
pub(crate) fn resolve_watch_pages(draft: &mut Draft<'_>) {
    resolve(draft, |page| page.firing.is_none());
}

/// What the pages about the watch for this reason asked for is over.
pub(crate) fn resolve_watch_pages_for(draft: &mut Draft<'_>, reason: PageReason) {
    resolve(draft, |page| page.firing.is_none() && page.reason == reason);
}

fn resolve(draft: &mut Draft<'_>, which: impl Fn(&Page) -> bool) {
    let open = |page: &&Page| page.resolved_at.is_none() && which(page);
    let over: Vec<PageId> = draft.own().pages.iter().filter(open).map(|page| page.id.clone()).collect();
    for id in over {
        draft.page_record(PageRecord::Resolved { page: id.clone() });
        let Some(page) = draft.own().page(&id).cloned() else { continue };
        for pager in page.pagers.clone() {
            let service = draft.name().clone();
            draft.effect(Effect::Page { service, pager, page: page.clone() });
        }
    }
}

/// A human has seen the pages about a firing: they go to nobody else, and pagers that can say so do.
pub(crate) fn acknowledge(draft: &mut Draft<'_>, id: &FiringId) {
    let unseen =
        |page: &&Page| page.firing.as_ref() == Some(id) && page.resolved_at.is_none() && page.acknowledged_at.is_none();
    let seen: Vec<PageId> = draft.own().pages.iter().filter(unseen).map(|page| page.id.clone()).collect();
    for id in seen {
        draft.page_record(PageRecord::Acknowledged { page: id.clone() });
        let Some(page) = draft.own().page(&id).cloned() else { continue };
        for pager in page.pagers.clone() {
            draft.effect(Effect::AcknowledgePage { pager, page: page.clone() });
        }
    }
}

/// Nobody has acknowledged in time: the next level is told as well.
pub(crate) fn escalate_if_due(draft: &mut Draft<'_>) {
    if draft.is_dry_run() {
        return;
    }
    let due = |page: &&Page| page.escalates_at().is_some_and(|at| at <= draft.now);
    let late: Vec<Page> = draft.own().pages.iter().filter(due).cloned().collect();
    for page in late {
        let Some(level) = page.levels_left.first().cloned() else { continue };
        let is_last = page.levels_left.len() == 1;
        let next = draft.service.escalate_after.filter(|_| !is_last).map(|after| draft.now + after);
        let record = PageRecord::Escalated { page: page.id.clone(), pagers: level.clone(), next };
        draft.page_record(record);
        if let Some(firing) = page.firing.as_ref().filter(|id| draft.firing(id).is_some_and(|firing| firing.is_open()))
        {
            let names = level.iter().map(PagerName::as_str).collect::<Vec<_>>().join(", ");
            let what = format!("nobody acknowledged the page: it goes to {names} as well");
            draft.firing_record(firing, FiringRecord::Noted { what });
        }
        let Some(page) = draft.own().page(&page.id).cloned() else { continue };
        for pager in level {
            draft.effect(Effect::Page { service: draft.name().clone(), pager, page: page.clone() });
        }
    }
}

/// A pager took a page, or the word that it is over.
pub(crate) fn delivered(draft: &mut Draft<'_>, id: &PageId, pager: &PagerName, resolved: bool) {
    let Some(page) = draft.own().page(id) else { return };
    let news = if resolved { page.unresolved.contains(pager) } else { page.undelivered.contains(pager) };
    if news {
        draft.page_record(PageRecord::Delivered { page: id.clone(), pager: pager.clone(), resolved });
    }
}
