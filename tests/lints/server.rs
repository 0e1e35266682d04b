//! A real Prometheus with a week of data that promtool made, and an exporter that says the types of its metrics.
//!
//! Never scrapes a sample: what the exporter shows is dropped, and its types stay known.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ports::free_port;

/// Long enough for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Prometheus that ends with its owner.
pub(crate) struct Server {
    process: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Makes the data, starts it and waits until it answers and knows the types.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        make_data(dir.path());
        let exporter = exporter();
        let port = free_port();
        let relabel = "[{source_labels: [__name__], regex: '.*', action: drop}]";
        let scrape = format!("targets: ['127.0.0.1:{exporter}']");
        let config = format!(
            "scrape_configs:\n  - job_name: shop\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    \
             metric_relabel_configs: {relabel}\n    static_configs: [{{{scrape}}}]\n"
        );
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let process = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=30d"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus; scripts/install-dependencies installs it");
        let server = Self { process, url: format!("http://127.0.0.1:{port}"), _dir: dir };
        let begun_at = Instant::now();
        while !knows_types(port) {
            assert!(begun_at.elapsed() < PATIENCE, "Prometheus does not know the type of queue_length");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// The base of its API.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn knows_types(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let request = "GET /api/v1/metadata?metric=queue_length HTTP/1.0\r\nHost: x\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains("gauge")
}

/// Serves metrics to whoever asks, until the test's process ends.
fn exporter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let body =
            "# TYPE queue_length gauge\nqueue_length 1\n# TYPE http_requests_total counter\nhttp_requests_total 1\n";
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}", body.len());
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    port
}

/// Two hours of requests and queues, 15 s apart, and a version that changes each 45 minutes of the last twelve hours.
fn make_data(dir: &Path) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // The data go on for a while, so that they are fresh however long a test takes.
    let until = now + 1200;
    let mut text = "# TYPE http_requests counter\n".to_owned();
    for (count, at) in (now - 7200..until).step_by(15).enumerate() {
        let _ = writeln!(text, "http_requests_total{{service=\"shop\",code=\"200\"}} {} {at}", count * 150);
    }
    text.push_str("# TYPE queue_length gauge\n");
    for shard in 0..2 {
        for at in (now - 7200..until).step_by(15) {
            let _ = writeln!(text, "queue_length{{service=\"shop\",shard=\"{shard}\"}} {} {at}", 3 + shard);
        }
    }
    text.push_str("# TYPE app_build_info gauge\n");
    let first_change = now - 12 * 3600;
    let version = |at: u64| at.checked_sub(first_change).map_or(0, |since| 1 + since / 2700);
    for number in 0..=version(until) {
        for at in (now - 3 * 24 * 3600..until).step_by(60).filter(|at| version(*at) == number) {
            let _ = writeln!(text, "app_build_info{{service=\"shop\",version=\"v{number}\"}} 1 {at}");
        }
    }
    text.push_str("# EOF\n");
    fs::write(dir.join("data.om"), text).unwrap();
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "data.om", "data"])
        .current_dir(dir)
        .output()
        .expect("promtool");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
