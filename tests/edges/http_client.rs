//! The HTTP client against a real TLS server: whom it trusts, and who it says it is.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::world::{Program, certificates};
use rollbackd::http_client::{HttpSettings, Tls, build, explain};

fn server(dir: &Path, more: &[&str]) -> Program {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(["s_server", "-www", "-cert", "server.pem", "-key", "server.key"]);
    Program::start(command.args(["-accept", "127.0.0.1:0"]).args(more), "ACCEPT ")
}

async fn get(server: &Program, tls: Tls) -> Result<u16, String> {
    let settings = HttpSettings { tls, ..HttpSettings::with_timeout(Duration::from_secs(30)) };
    let request = build(&settings).unwrap().get(format!("https://{}/", server.address));
    request.send().await.map(|response| response.status().as_u16()).map_err(|error| explain(&error))
}

#[tokio::test]
async fn only_servers_of_the_given_ca_are_trusted() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let server = server(dir.path(), &[]);
    let file = |name: &str| Some(dir.path().join(name));
    let unknown = "could not connect: invalid peer certificate: UnknownIssuer";
    assert_eq!(get(&server, Tls { ca_file: file("ca.pem"), ..Tls::default() }).await, Ok(200));
    assert_eq!(get(&server, Tls { ca_file: file("other.pem"), ..Tls::default() }).await, Err(unknown.to_owned()));
    assert_eq!(get(&server, Tls { insecure_skip_verify: true, ..Tls::default() }).await, Ok(200));
    let public = get(&server, Tls::default()).await.unwrap_err();
    assert!(public.contains("invalid peer certificate"), "{public}");
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let server = server(dir.path(), &["-Verify", "1", "-CAfile", "ca.pem", "-verify_return_error"]);
    let file = |name: &str| Some(dir.path().join(name));
    let nobody = Tls { ca_file: file("ca.pem"), ..Tls::default() };
    assert!(get(&server, nobody.clone()).await.is_err());
    assert_eq!(
        get(&server, Tls { cert_file: file("client.pem"), key_file: file("client.key"), ..nobody }).await,
        Ok(200)
    );
}
