//! The pod template of the target's revision put back into the workload, as `kubectl rollout undo --to-revision` does.
//!
//! Never guesses: a version that no revision has is refused, with the revisions that are there. Unlike kubectl, leaves
//! the workload's other annotations as they are.
//!
//! Source: kubectl's `polymorphichelpers/rollback.go`; for Rollouts, `kubectl-argo-rollouts/cmd/undo`.

use serde_json::{Value, json};

use super::change::Change;
use super::cluster::workload_of;
use crate::http_client::one_line;
use crate::kubernetes::workload::{CHANGE_CAUSE, Kind, Revision, Workload, fingerprint};
use crate::paths::remote::Asked;

/// Between the words for a human and the fingerprint, in what the workload is annotated with.
const IMAGES: &str = " (images ";

/// What the workload's annotations can't be written under without escaping, in a JSON pointer (RFC 6901).
const CHANGE_CAUSE_POINTER: &str = "/metadata/annotations/kubernetes.io~1change-cause";

/// The handle in what a workload or a revision is annotated with, where that is our doing.
pub(super) fn handle_in(change_cause: Option<&str>, mark: &str) -> Option<String> {
    let (_, rest) = change_cause?.strip_prefix(mark)?.rsplit_once(IMAGES)?;
    rest.strip_suffix(')').map(str::to_owned)
}

/// Finds the target's revision, and puts its pod template in place.
pub(super) async fn ask(change: &mut Change<'_>) -> Result<Asked, Asked> {
    let (workload, target) = target(change).await?;
    let Some(target) = target else {
        // Somebody was faster: there is nothing to change, and that roll-out is followed.
        return Ok(Asked::Accepted(fingerprint(workload.template())));
    };
    let handle = fingerprint(&target.template);
    let cause = format!("{}back to {}{IMAGES}{handle})", change.mark(), change.target_words());
    let answer = match change.cluster.patch(&[], &patch(&workload, &target, &cause)).await {
        Ok(answer) => answer,
        Err(no_answer) => return Ok(no_answer.asked()),
    };
    if let Some(asked) = change.refused(&answer, workload.kind.resource(), &workload).await {
        return Ok(asked);
    }
    // An admission webhook may have written other images than were sent: what counts is what the cluster took.
    let taken = workload_of(change.settings, &answer).ok().filter(|taken| !taken.template().is_null());
    Ok(Asked::Accepted(taken.map_or(handle, |taken| fingerprint(taken.template()))))
}

/// The workload, and the target's revision; `None` where the workload is back already.
pub(super) async fn target(change: &mut Change<'_>) -> Result<(Workload, Option<Revision>), Asked> {
    let workload = change.read().await?;
    if change.names_target(workload.template()) {
        return Ok((workload, None));
    }
    refuse(change, &workload)?;
    let revisions = change.read_revisions(&workload).await?;
    let target = choose(change, &revisions)?;
    let is_back = target.template == *workload.template();
    let target = (!is_back).then(|| target.clone());
    Ok((workload, target))
}

/// What keeps the workload from being changed as it is.
fn refuse(change: &Change<'_>, workload: &Workload) -> Result<(), Asked> {
    let what = change.what();
    if workload.flag("/spec/paused") {
        return Err(Asked::Waits(match workload.kind {
            Kind::Rollout => format!("{what} is paused: set its `spec.paused` to false (kubectl argo rollouts resume)"),
            Kind::Deployment | Kind::StatefulSet => format!("{what} is paused: resume it (kubectl rollout resume)"),
        }));
    }
    if workload.kind == Kind::Rollout && !workload.at("/spec/workloadRef").is_null() {
        let (kind, name) = (workload.text("/spec/workloadRef/kind"), workload.text("/spec/workloadRef/name"));
        let why = format!("{what} takes its pod template from {kind} {name}, which this path does not change");
        return Err(Asked::Refused(format!("{}; use `by: abort`, or another path", one_line(&why))));
    }
    Ok(())
}

/// The newest revision that is the target's.
fn choose<'r>(change: &Change<'_>, revisions: &'r [Revision]) -> Result<&'r Revision, Asked> {
    revisions.iter().find(|revision| change.is_target(revision)).ok_or_else(|| {
        let shown = |revision: &Revision| {
            format!("{} ({})", revision.number, change.shown(&revision.template).unwrap_or("no such image or label"))
        };
        let there: Vec<String> = revisions.iter().map(shown).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let (what, target) = (change.what(), change.target_words());
        let why = format!("{what} keeps no revision that is {target}; there are: {there}");
        Asked::Refused(format!("{}; check its `revisionHistoryLimit`", one_line(&why)))
    })
}

/// All of it is applied, or none: the tests fail where somebody changed the workload's spec since it was read.
fn patch(workload: &Workload, target: &Revision, cause: &str) -> Value {
    let annotate = if workload.annotations().is_object() {
        json!({"op": "add", "path": CHANGE_CAUSE_POINTER, "value": cause})
    } else {
        json!({"op": "add", "path": "/metadata/annotations", "value": {CHANGE_CAUSE: cause}})
    };
    json!([
        {"op": "test", "path": "/metadata/uid", "value": workload.at("/metadata/uid")},
        {"op": "test", "path": "/metadata/generation", "value": workload.at("/metadata/generation")},
        {"op": "replace", "path": "/spec/template", "value": target.template},
        annotate,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_attempt_itself_finds_its_handle() {
        let cause = Some("rollbackd shop-f-1-a1: back to v41 (images 0123456789ab)");
        assert_eq!(handle_in(cause, "rollbackd shop-f-1-a1: ").as_deref(), Some("0123456789ab"));
        assert_eq!(handle_in(cause, "rollbackd shop-f-1-a: "), None);
        assert_eq!(handle_in(cause, "rollbackd shop-f-1-a12: "), None);
        assert_eq!(handle_in(Some("kubectl set image shop=v42"), "rollbackd shop-f-1-a1: "), None);
        assert_eq!(handle_in(None, "rollbackd shop-f-1-a1: "), None);
    }
}
