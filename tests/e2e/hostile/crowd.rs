//! Connections that are only held open: ten thousand that say nothing, and some hundred that never finish a sentence.

use std::fs;

use futures_util::{StreamExt as _, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::until_closed;
use crate::world::{Daemon, SERVICE, World};

/// How many are held open.
const IDLE: usize = 10_000;

/// How many begin a body: more than the daemon lets in at once.
const HALF: usize = 600;

/// Of the daemon's files: its connections, and as many again for all else that it has open.
const MOST_FILES: usize = 512;

/// What the connections may cost, at most: 32 KiB of a head for each that the daemon keeps, and then some.
const MOST_GROWTH_KIB: u64 = 64 * 1024;

/// This process holds the other ends. The daemon got the limit that was in force when it was started.
fn may_hold_open(files: usize) {
    let limit = getrlimit(Resource::Nofile);
    let files = u64::try_from(files).unwrap();
    if limit.current.is_some_and(|current| current < files) {
        let maximum = limit.maximum.map(|maximum| maximum.max(files));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum });
        raised.unwrap_or_else(|error| panic!("{files} files can't be held open here ({limit:?}): {error}"));
    }
}

fn resident_kib(daemon: &mut Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_files(daemon: &mut Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count()
}

/// Everything that a team needs while it goes on: a probe, a look, a deploy that is reported.
async fn serves(world: &mut World, version: &str) {
    assert_eq!(world.daemon().get("/healthz").await.status, 200);
    assert_eq!(world.view(SERVICE).await["name"], SERVICE);
    let deploy = json!({"service": SERVICE, "version": version});
    world.post("/v1/deploys", deploy).await.text_of(202, "deploy");
}

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_from_being_answered() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    serves(&mut world, "v2").await;
    let before = resident_kib(world.daemon());
    may_hold_open(IDLE + 2_000);

    let beginnings: [&[u8]; 3] = [b"", b"GET /v1/services HTTP/1.1\r\nHost: local", b"\x16\x03\x01\x02\x00\x01"];
    let mut held = Vec::with_capacity(IDLE);
    for (wave, version) in ["v3", "v4", "v5", "v6"].into_iter().enumerate() {
        let opened = stream::iter(0..IDLE / 4).map(|number| {
            let address = plan.listen();
            async move {
                let mut stream = TcpStream::connect(address).await.expect("a connection is taken");
                // It may be closed already to make room for another one.
                let _ = stream.write_all(beginnings[number % beginnings.len()]).await;
                stream
            }
        });
        held.extend(opened.buffer_unordered(64).collect::<Vec<_>>().await);
        assert_eq!(held.len(), (wave + 1) * IDLE / 4);
        serves(&mut world, version).await;
    }
    let (files, after) = (open_files(world.daemon()), resident_kib(world.daemon()));
    assert!(files < MOST_FILES, "the daemon has {files} files open");
    assert!(after < before + MOST_GROWTH_KIB, "the daemon grew from {before} KiB to {after} KiB");
    let log = world.daemon().log();
    assert!(log.contains("there are too many HTTP connections"), "{log}");
    drop(held);
    serves(&mut world, "v7").await;
}

#[tokio::test]
async fn bodies_that_never_come_keep_nobody_from_being_answered() {
    let mut world = World::start().await;
    let plan = world.plan();
    world.run(&plan).await;
    let head = "POST /v1/deploys HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let beginnings = [
        format!("{head}Content-Length: 1000\r\n\r\n{{\"service\": "),
        format!("{head}Content-Length: 1048576\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{ \r\n"),
    ];
    may_hold_open(HALF + 2_000);
    let mut held = Vec::new();
    for number in 0..HALF {
        let mut stream = TcpStream::connect(plan.listen()).await.unwrap();
        let _ = stream.write_all(beginnings[number % beginnings.len()].as_bytes()).await;
        held.push(stream);
    }
    serves(&mut world, "v2").await;
    // Those that made room heard nothing; those that were kept hear that they are too slow.
    let mut told = 0;
    for stream in held {
        let answer = until_closed(stream).await;
        assert!(answer.is_empty() || answer.contains("urn:rollbackd:problem:too-slow"), "{answer}");
        told += usize::from(!answer.is_empty());
    }
    assert!(told > 100, "{told} of those that were kept were told");
    assert!(told < HALF, "none made room: everybody else had to wait until they were told");
    assert_eq!(world.view(SERVICE).await["watch"]["version"], "v2", "no half of a body was taken for a deploy");
}
