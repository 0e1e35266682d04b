//! What a pipeline makes of a revert of ours, where it names versions by the commit: a version that nobody has seen
//! before, and as good as the target (design, R4).
//!
//! Never takes a version of the ledger's for one: that is what it is, whatever commit is named with it.

use crate::draft::Draft;
use crate::firing::{Attempt, Firing, Stage};
use crate::name::{Commit, Version};
use crate::state::ServiceState;
use crate::time::Timestamp;

/// The firing of whose revert this version is the build, by the commit that is named with it: one that is open, or the
/// last that went back, for a watch and while nothing else was deployed.
pub(crate) fn by_commit(draft: &Draft<'_>, version: &Version, commit: &Commit, at: Timestamp) -> Option<Firing> {
    let own = draft.own();
    if own.ledger.knows(version) {
        return None;
    }
    let went_back = |firing: &Firing, ended: Timestamp| {
        let target = firing.target.as_ref().map(|target| &target.version);
        let last = own.returned.as_ref().map(|returned| &returned.version);
        target == last && target.is_some() && at < ended + draft.service.watch
    };
    let counts = |firing: &&Firing| match firing.stage {
        Stage::Ended { at: ended, .. } => went_back(firing, ended),
        Stage::Veto { .. } | Stage::Paged { .. } | Stage::Rolling | Stage::Verifying { .. } => true,
    };
    let reverted = |firing: &&Firing| firing.attempts.iter().any(|attempt| attempt.is_commit(commit));
    own.firings.iter().rev().filter(counts).find(reverted).cloned()
}

/// Whether a version that `version_query` shows may be one: while a revert of ours is under way, only the event with its
/// commit can tell it from somebody's deploy.
pub(crate) fn may_be(own: &ServiceState, version: &Version) -> bool {
    let reverts = |firing: &Firing| firing.attempts.iter().any(Attempt::is_a_commit);
    !own.ledger.knows(version) && own.rolling().is_some_and(reverts)
}
