//! Waiting for something to become so, by asking again and again until a deadline.
//!
//! Never takes a fixed time for a sign: the deadline is only there so that a broken test ends.

use std::time::{Duration, Instant};

/// How long anything may take that is expected: many times what it takes on two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions: short against every duration in a plan, long against what a question costs.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is `Ok`; panics with the last `Err` when [`PATIENCE`] is over.
pub(crate) async fn wait_until<T>(what: &str, ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    wait_until_within(PATIENCE, what, ask).await
}

/// The same with another deadline.
pub(crate) async fn wait_until_within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let ends_at = Instant::now() + patience;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) if Instant::now() >= ends_at => panic!("waited {patience:?} in vain until {what}; last: {last}"),
            Err(_) => tokio::time::sleep(ASK_EVERY).await,
        }
    }
}
