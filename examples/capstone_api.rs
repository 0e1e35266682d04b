//! An example service for the demonstration and the end-to-end tests: it serves metrics of traffic that it makes up,
//! behaves by version, and has a `deploy` command that stands for a pipeline.
//!
//! Never waits, draws a random number or keeps a timer for its traffic: counters follow from the time that has passed.

#![forbid(unsafe_code)]

#[path = "capstone_api/pipeline.rs"]
mod pipeline;
#[path = "capstone_api/production.rs"]
mod production;
#[path = "capstone_api/routes.rs"]
mod routes;
#[path = "capstone_api/traffic.rs"]
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::production::Production;

#[derive(Parser)]
#[command(about = "An example service that can be deployed, and can misbehave")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve: `/metrics`, `/healthz`, and `/admin/...` to deploy and to misbehave.
    Serve(Serve),
    /// Act as the pipeline: take some time, deploy a version, print the receipt.
    Deploy(pipeline::Deploy),
}

#[derive(clap::Args)]
struct Serve {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The version that serves at first.
    #[arg(long, default_value = "v1")]
    version: String,
    /// The requests per second of a version that nothing else was said about.
    #[arg(long, default_value_t = 50.0)]
    requests_per_second: f64,
    /// Serve the metrics of this many services, `svc-1` and on, instead of `capstone-api` alone.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=500))]
    several: Option<u16>,
    /// Write the port that was taken to this file, once it accepts connections.
    #[arg(long)]
    port_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => serve(arguments).await.map_err(|error| format!("could not serve: {error}")),
        Command::Deploy(arguments) => pipeline::deploy(arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("capstone_api: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Serve) -> io::Result<()> {
    let names = match arguments.several {
        None => vec!["capstone-api".to_owned()],
        Some(several) => (1..=several).map(|number| format!("svc-{number}")).collect(),
    };
    let production = Production::new(&names, &arguments.version, arguments.requests_per_second);
    let listener = tokio::net::TcpListener::bind(arguments.listen).await?;
    if let Some(file) = arguments.port_file {
        publish_port(&file, listener.local_addr()?.port())?;
    }
    axum::serve(listener, routes::router(production)).await
}

/// Written beside and renamed, so that whoever waits for the file never reads half a number.
fn publish_port(file: &std::path::Path, port: u16) -> io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, port.to_string())?;
    std::fs::rename(unfinished, file)
}
