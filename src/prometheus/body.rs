//! The body of an answer, judged with the status it came with.
//!
//! Never fails but with a reason on one line.

use reqwest::StatusCode;
use rollbackd_core::reading::Answer;
use rollbackd_core::reading::body::{Body, read};

use crate::http_client::one_line;

/// Judges an answer. `is_text` says that the server called the body plain text, which may then be quoted.
pub(crate) fn decode(status: StatusCode, is_text: bool, bytes: &[u8]) -> Answer {
    match read(bytes) {
        Ok(body) if body.status == "error" || !status.is_success() => Answer::Failed(refusal(status, &body)),
        Ok(body) if body.status == "success" => success(body),
        Ok(body) => failed(status, &format!("its status is {:?}, neither success nor error", body.status)),
        Err(_) if status.is_redirection() => {
            failed(status, "a redirect, which is not followed: expected the URL that it leads to")
        }
        Err(_) if is_text && !status.is_success() => failed(status, &String::from_utf8_lossy(bytes)),
        Err(error) => failed(status, &format!("not the JSON of the Prometheus API: {error}")),
    }
}

fn failed(status: StatusCode, why: &str) -> Answer {
    Answer::Failed(one_line(&format!("HTTP {status}: {why}")))
}

fn refusal(status: StatusCode, body: &Body) -> String {
    let kind = body.error_type.as_deref().unwrap_or("error");
    let message = body.error.as_deref().unwrap_or("without a message");
    one_line(&format!("HTTP {status}: {kind}: {message}"))
}

fn success(body: Body) -> Answer {
    match body.data {
        Ok(Answer::Partial(why)) => Answer::Partial(one_line(&why)),
        Ok(answer) => answer,
        Err(why) => Answer::Failed(one_line(&why)),
    }
}
