//! Processes on loopback, and the plainest of HTTP clients: what drives the benchmark must not be what is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::processes;

/// How long a process may take to answer first.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process of the benchmark.
pub(crate) struct Process {
    child: Child,
    /// Its id.
    pub(crate) id: u32,
}

impl Process {
    /// Starts a program in a folder, with this in its environment; its output goes to a file named after it.
    pub(crate) fn start(
        dir: &Path,
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let child = processes::start(dir, name, program, arguments, environment)?;
        let id = child.id().ok_or("it ended at once")?;
        Ok(Self { child, id })
    }

    /// Asks it to end, or ends it as a crash would.
    pub(crate) async fn end(&mut self, signal: Signal) {
        processes::end(&mut self.child, signal).await;
    }
}

/// Starts the example service as so many services, and gives its port.
pub(crate) fn production(dir: &Path, program: &Path, services: usize) -> Result<(Process, u16), String> {
    let [port] = processes::free_ports()?;
    let (several, listen) = (services.to_string(), format!("127.0.0.1:{port}"));
    let served = ["serve", "--several", &several, "--listen", &listen, "--version", "v1"];
    Ok((Process::start(dir, "capstone_api", program, &served, &[])?, port))
}

/// Starts a Prometheus with this config, and waits until it is ready.
pub(crate) async fn prometheus(dir: &Path, name: &str, config: &Value) -> Result<(Process, u16), String> {
    let [port] = processes::free_ports()?;
    processes::write(&dir.join(format!("{name}.yml")), config)?;
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let (config, data) = (format!("--config.file={name}.yml"), format!("--storage.tsdb.path={name}-data"));
    let arguments = [config.as_str(), data.as_str(), listen.as_str(), "--log.level=warn", "--query.max-concurrency=20"];
    let process = Process::start(dir, name, Path::new("prometheus"), &arguments, &[])?;
    answers(port, "/-/ready").await?;
    Ok((process, port))
}

/// Starts the daemon, and waits until it is ready; how long that took.
pub(crate) async fn rollbackd(dir: &Path, program: &Path, port: u16) -> Result<(Process, Duration), String> {
    let began = Instant::now();
    let arguments = ["run", "--config", "rollbackd.yml", "--log-format", "json"];
    let process = Process::start(dir, "rollbackd", program, &arguments, &processes::environment())?;
    answers(port, "/readyz").await?;
    Ok((process, began.elapsed()))
}

async fn answers(port: u16, path: &str) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = async { Connection::open(port).await?.ask("GET", path, "").await };
        match asked.await {
            Ok((200, _)) => return Ok(()),
            Ok((status, _)) if Instant::now() > until => return Err(format!("{path} answers {status}")),
            Err(why) if Instant::now() > until => return Err(format!("{path}: {why}")),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// What a GET answers.
pub(crate) async fn get(port: u16, path: &str) -> Result<String, String> {
    match Connection::open(port).await?.ask("GET", path, "").await? {
        (200, body) => Ok(body),
        (status, body) => Err(format!("{path}: {status}: {body}")),
    }
}

/// What a POST of JSON answers, where it is a success.
pub(crate) async fn post(port: u16, path: &str, body: &Value) -> Result<String, String> {
    match Connection::open(port).await?.ask("POST", path, &body.to_string()).await? {
        (200..=299, body) => Ok(body),
        (status, body) => Err(format!("{path}: {status}: {body}")),
    }
}

/// A connection that is kept open.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// To a server on this machine.
    pub(crate) async fn open(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One request: the status and the body.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(format!("{head}{body}").as_bytes()).await.map_err(|error| format!("{path}: {error}"))
    }

    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<(u16, String)> {
        self.0.write_all(request).await?;
        let (mut status, mut length, mut chunked) = (0, 0, false);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(std::io::Error::other("the connection was closed"));
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.starts_with("http/1.1 ") {
                status = line.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            } else if line == "transfer-encoding: chunked" {
                chunked = true;
            } else if line.is_empty() {
                break;
            }
        }
        let body = if chunked { self.chunks().await? } else { self.read(length).await? };
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn read(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
            let chunk = self.read(length + 2).await?;
            if length == 0 {
                return Ok(all);
            }
            all.extend_from_slice(&chunk[..length]);
        }
    }
}
