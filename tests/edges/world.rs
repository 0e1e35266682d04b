//! What the tests share: real programs on free ports, stubs, and configs as trees.
//!
//! Ends only what it started.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use rollbackd_core::config::node::{Node, Place, Value};
use rollbackd_core::time::Timestamp;

/// A busy machine may take its time to start a program; waiting ends as soon as it has.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs until this is dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Program {
    /// Starts a program that was told to listen on port 0, and waits until it says where it does: on a line with this
    /// mark, right after it.
    pub(crate) fn start(command: &mut Command, mark: &'static str) -> Self {
        let both = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = both.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", both.get_program()));
        let (found, address) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        listen(stdout, mark, found.clone());
        listen(stderr, mark, found);
        match address.recv_timeout(PATIENCE) {
            Ok(address) => Self { child, address },
            Err(_) => {
                child.kill().unwrap();
                panic!("{:?} never said where it listens: {:?}", command.get_program(), child.wait());
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Reads until the end, so that the program never blocks on a full pipe.
fn listen(output: impl std::io::Read + Send + 'static, mark: &'static str, found: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once(mark) {
                let address = rest.chars().take_while(|each| !each.is_whitespace()).collect();
                found.send(address).ok();
            }
        }
    });
}

/// Serves a router on a free port, and says on which.
pub(crate) async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// A URL on which nothing listens.
pub(crate) fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

const OPENSSL_CONFIG: &str = "[req]\ndistinguished_name = dn\n[dn]\n\
    [ca]\nbasicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n\
    [leaf]\nbasicConstraints = CA:FALSE\nsubjectAltName = IP:127.0.0.1\n";

fn openssl(dir: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().expect("openssl is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A CA, a server's and a client's certificate; and another CA, which knows none of them.
pub(crate) fn certificates(dir: &Path) {
    std::fs::write(dir.join("openssl.cnf"), OPENSSL_CONFIG).unwrap();
    let new = "req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    for ca in ["ca", "other"] {
        openssl(dir, &format!("{new} -extensions ca -subj /CN={ca} -keyout {ca}.key -out {ca}.pem"));
    }
    for leaf in ["server", "client"] {
        let signed = format!("-CA ca.pem -CAkey ca.key -subj /CN={leaf} -keyout {leaf}.key -out {leaf}.pem");
        openssl(dir, &format!("{new} -extensions leaf {signed}"));
    }
}

/// A tree as the config would have it.
pub(crate) fn node(json: &serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(entries) => {
            Value::Map(entries.iter().map(|(key, value)| (node(&key.as_str().into()), node(value))).collect())
        }
        serde_json::Value::String(text) => Value::Scalar { text: text.clone(), quoted: true },
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            Value::Scalar { text: json.to_string(), quoted: false }
        }
    };
    Node { place: Place::default(), value }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
