//! Reads that come before the change: what serves, and what there is to return to.
//!
//! Never asks for a change, and never gives up over one failure of a platform that is busy with its own outage.

use reqwest::StatusCode;

use super::Asked;
use super::api::{Answer, NoAnswer};

/// The answer where it is a success; else what it means for the change that was not yet asked for. `check` is what
/// somebody should look at where the read was refused.
pub(crate) fn read(
    answer: Result<Answer, NoAnswer>,
    check: impl FnOnce(StatusCode) -> String,
) -> Result<Answer, Asked> {
    match answer {
        Ok(answer) => {
            let refused = answer.unread(&check(answer.status));
            refused.map_or(Ok(answer), Err)
        }
        // Whether it arrived says nothing: it changes nothing.
        Err(no_answer) => Err(no_answer.unread()),
    }
}
