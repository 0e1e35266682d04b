//! Reads that come before the change: what serves, and what there is to return to.
//!
//! Never asks for a change, and never gives up over one failure of a platform that is busy with its own outage.

use std::time::Duration;

use reqwest::StatusCode;

use super::Asked;
use super::api::{Answer, NoAnswer};
use crate::clock::now;

/// How many reads in all may fail at the platform's side before the attempt is given up, so that the next path starts:
/// with a second between them, what a restart of an API server takes.
const FAILED_READS: u32 = 5;

/// The failures so far of one attempt's reads.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    failed: u32,
}

impl Reads {
    /// The answer where it is a success; else what it means for the change that was not yet asked for. `check` is what
    /// somebody should look at where the read was refused.
    pub(crate) fn take(
        &mut self,
        answer: Result<Answer, NoAnswer>,
        check: impl FnOnce(StatusCode) -> String,
    ) -> Result<Answer, Asked> {
        match answer {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            Ok(answer) => Err(self.refused(&answer, check)),
            Err(NoAnswer::Broken(why)) => Err(self.failed(why)),
            Err(no_answer @ (NoAnswer::NoSecret(_) | NoAnswer::NotSent(_))) => Err(no_answer.asked()),
        }
    }

    fn refused(&mut self, answer: &Answer, check: impl FnOnce(StatusCode) -> String) -> Asked {
        let complaint = answer.complaint();
        if let Some(wait) = answer.wait(now()) {
            return Asked::Later(wait, complaint);
        }
        if answer.status.is_server_error() || answer.status == StatusCode::REQUEST_TIMEOUT {
            return self.failed(complaint);
        }
        Asked::Refused(format!("{complaint}; check {}", check(answer.status)))
    }

    fn failed(&mut self, why: String) -> Asked {
        self.failed += 1;
        if self.failed < FAILED_READS { Asked::Later(Duration::ZERO, why) } else { Asked::Refused(why) }
    }
}
