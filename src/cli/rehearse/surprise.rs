//! `--surprise`: which bad version, and when, is drawn; nobody who reads the terminal knows before.

use std::time::Duration;

use rollbackd_core::name::Version;

use super::views::Service;
use crate::chance;
use crate::cli::output::{Failure, Output};

/// The versions that may be deployed: those that were named, else the config's.
pub(super) fn versions(named: &[Version], service: &Service) -> Result<Vec<Version>, Failure> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let configured = service.bad_versions();
    if configured.is_empty() {
        let why = "nothing to draw from: name versions with --bad, or list them as `rehearsal: {bad_versions: […]}`";
        return Err(Failure::Usage(why.to_owned()));
    }
    Ok(configured)
}

/// Waits for some time within the window, and gives one of the versions. `None` where there is none.
pub(super) async fn draw(versions: &[Version], within: Duration, output: &Output) -> Result<Option<Version>, Failure> {
    if !output.is_json() {
        let until = humantime::format_duration(Duration::from_secs(within.as_secs()));
        output.say(
            &format!("something will break within {until}; Ctrl-C before that calls it off"),
            &serde_json::Value::Null,
        )?;
    }
    let wait = within.mul_f64(chance::share());
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        _ = tokio::signal::ctrl_c() => return Err(Failure::failed("called off before anything was begun")),
    }
    Ok(versions.get(place(chance::share(), versions.len())).cloned())
}

/// A place below `count`, each as likely as the others.
fn place(share: f64, count: usize) -> usize {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a list that a human wrote"
    )]
    let place = (share.clamp(0.0, 1.0) * count as f64) as usize;
    place.min(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_can_be_drawn_and_none_beyond_the_last() {
        let drawn: Vec<usize> = [0.0, 0.32, 0.34, 0.66, 0.67, 0.999, 1.0].map(|share| place(share, 3)).to_vec();
        assert_eq!(drawn, [0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(place(0.5, 0), 0);
    }
}
