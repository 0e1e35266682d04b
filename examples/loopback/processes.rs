//! Processes of a measurement on loopback: started with nothing around them but what they are given, and ended by their ids.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

/// What the daemon runs under elsewhere: what is measured here has the same environment.
const UNIT: &str = include_str!("../../systemd/rollbackd.service");

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// The environment that the daemon has elsewhere.
pub(crate) fn environment() -> Vec<(&'static str, &'static str)> {
    environment_of(UNIT)
}

/// The environment that this unit of systemd gives its service.
fn environment_of(unit: &str) -> Vec<(&str, &str)> {
    unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')).collect()
}

/// Starts a program with nothing in its environment but the path and this.
pub(crate) fn start(
    dir: &Path,
    name: &str,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Child, String> {
    let log = File::create(dir.join(format!("{name}.log"))).map_err(|error| format!("{name}.log: {error}"))?;
    let second = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(environment.iter().copied()).current_dir(dir);
    command.stdin(Stdio::null()).stdout(second).stderr(log).kill_on_drop(true);
    command.spawn().map_err(|error| format!("could not start {}: {error}", program.display()))
}

/// Asks a process to end, or ends it as a crash would.
pub(crate) async fn end(child: &mut Child, signal: Signal) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process(id, signal);
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Writes a config; JSON is YAML.
pub(crate) fn write(file: &Path, content: &Value) -> Result<(), String> {
    std::fs::write(file, yaml(content)).map_err(|error| format!("{}: {error}", file.display()))
}

/// A config as people write it: each key and each item of its lists on a line of its own. In braces as a whole a parser
/// has to hold all of it.
fn yaml(content: &Value) -> String {
    let Value::Object(keys) = content else { return content.to_string() };
    let of_key = |(key, value): (&String, &Value)| match value.as_array().filter(|items| !items.is_empty()) {
        Some(items) => {
            let items: String = items.iter().map(|item| format!("- {item}\n")).collect();
            format!("{key}:\n{items}")
        }
        None => format!("{key}: {value}\n"),
    };
    keys.iter().map(of_key).collect()
}

/// Free ports below the range that the kernel gives to outgoing connections. None is given out twice: whoever was told
/// one may not listen on it yet.
pub(crate) fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], String> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let given = GIVEN.fetch_add(50, Ordering::Relaxed);
    let begin = 12_000 + u16::try_from(std::process::id() * 61 % 17_000).unwrap_or(0) + given;
    let free = (begin..32_000).filter_map(|port| Some((port, TcpListener::bind(("127.0.0.1", port)).ok()?)));
    let held: Vec<(u16, TcpListener)> = free.take(COUNT).collect();
    let ports: Vec<u16> = held.iter().map(|(port, _)| *port).collect();
    ports.try_into().map_err(|_| "no ports are free".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_gets_the_environment_of_its_unit() {
        let unit =
            "[Service]\n# Environment=NOT=this\nEnvironment=ONE=1\nExecStart=/bin/true --x=1\nEnvironment=TWO=a=b\n";
        assert_eq!(environment_of(unit), [("ONE", "1"), ("TWO", "a=b")]);
        // docs/operations.md says what each is for.
        assert_eq!(environment_of(UNIT), [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072")]);
    }

    #[tokio::test]
    async fn nothing_else_is_in_its_environment() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = start(dir.path(), "env", Path::new("/usr/bin/env"), &[], &[("ONE", "1")]).unwrap();
        assert!(child.wait().await.unwrap().success());
        let shown = std::fs::read_to_string(dir.path().join("env.log")).unwrap();
        let mut names: Vec<&str> = shown.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["ONE", "PATH"], "{shown}");
    }
}
