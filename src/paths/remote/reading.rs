//! Reads: what serves and what there is to return to, before the change is asked for; and how far it has come, after.
//!
//! Never asks for a change, and never gives up over one failure of a platform that is busy with its own outage.

use std::time::Duration;

use reqwest::StatusCode;
use serde::de::DeserializeOwned;

use super::api::{Answer, NoAnswer};
use super::{Asked, Look};

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

/// What a look was answered; else what it means for what is looked at, which goes on all the same.
pub(crate) fn seen<T: DeserializeOwned>(answer: Result<Answer, NoAnswer>) -> Result<T, Look> {
    let answer = answer.map_err(|no_answer| match no_answer {
        NoAnswer::Limited(wait, _) => Look::Later(wait),
        NoAnswer::NoSecret(_) | NoAnswer::NotSent(_) | NoAnswer::Broken(_) => Look::Later(Duration::ZERO),
    })?;
    answer.unseen().map_or(Ok(()), Err)?;
    answer.json().map_err(|_| Look::Later(Duration::ZERO))
}
