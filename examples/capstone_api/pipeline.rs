//! The `deploy` command: a pipeline that takes a while, deploys a version to the example service and prints a receipt.
//!
//! Never deploys twice: it asks once, and says so when that failed.

use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;

use crate::routes::DeployRequest;

/// How long the service has to answer: it is on the same machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Deploy {
    /// The address of the service, `http://127.0.0.1:PORT`.
    #[arg(long)]
    to: String,
    /// The version to deploy.
    version: String,
    /// Which service, where the process serves several.
    #[arg(long)]
    service: Option<String>,
    /// How long the pipeline takes before the version serves.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    take: Duration,
    /// The attempt that this run belongs to; recorded with the deploy. A command of the daemon's finds it there.
    #[arg(long, env = "ROLLBACKD_ATTEMPT")]
    attempt: Option<String>,
    /// Who asks; recorded with the deploy.
    #[arg(long, default_value = "pipeline")]
    by: String,
    /// End red, without deploying anything.
    #[arg(long)]
    fail: bool,
}

#[derive(Deserialize)]
struct Answer {
    number: usize,
}

/// Runs the pipeline once.
///
/// # Errors
/// The pipeline was told to fail, or the service did not take the deploy. Why.
pub(crate) async fn deploy(arguments: Deploy) -> Result<(), String> {
    tokio::time::sleep(arguments.take).await;
    if arguments.fail {
        return Err(format!("the pipeline for {} failed, as it was told to", arguments.version));
    }
    let number = ask(&arguments)
        .await
        .map_err(|error| format!("could not deploy {} to {}: {}", arguments.version, arguments.to, causes(&error)))?;
    writeln!(std::io::stdout(), "deployed {}\nreceipt: run-{number}", arguments.version)
        .map_err(|error| format!("could not print the receipt: {error}"))
}

async fn ask(arguments: &Deploy) -> Result<usize, reqwest::Error> {
    let request = DeployRequest {
        version: arguments.version.clone(),
        by: Some(arguments.by.clone()),
        attempt: arguments.attempt.clone(),
    };
    // No proxy and no certificates: the service is on loopback, and a fresh machine may have neither.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(ANSWER_WITHIN).build()?;
    let mut post = client.post(format!("{}/admin/deploy", arguments.to.trim_end_matches('/')));
    if let Some(service) = &arguments.service {
        post = post.query(&[("service", service)]);
    }
    let answer: Answer = post.json(&request).send().await?.error_for_status()?.json().await?;
    Ok(answer.number)
}

/// An error with its causes: the outermost of a client says little by itself.
fn causes(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let all = std::iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
