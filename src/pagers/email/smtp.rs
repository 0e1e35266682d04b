//! One mail to one address by SMTP (RFC 5321), with STARTTLS (RFC 3207) and AUTH (RFC 4954).
//!
//! Never says a password or a word of the mail before the connection is as secret as it has to be, and never takes for
//! the server's word what anybody could have said before it was.

use std::fmt;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::Failure;
use crate::http_client::{CONNECT_TIMEOUT, one_line};

/// A line of a reply has at most 512 bytes (RFC 5321, 4.5.3.1.5); some servers say more.
const LONGEST_REPLY_LINE: usize = 2048;

/// More than any server has extensions to name.
const MOST_REPLY_LINES: usize = 128;

/// A server that takes mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// What we call ourselves to it.
    pub(super) hello: String,
}

/// How a connection is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS from the first byte on.
    Implicit,
    /// TLS before anything that matters is said.
    StartTls,
    /// Not at all.
    Plain,
}

/// Who we are to the server.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) username: &'a str,
    pub(super) password: &'a SecretString,
}

/// A mail: its lines end in CRLF.
pub(super) struct Mail<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) text: &'a str,
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Hands a mail to the server; it is taken when the server has said so after its last line.
///
/// # Errors
/// It was not taken: the server refused it (5xx), asked to come again (4xx), or could not be spoken to.
pub(super) async fn send(
    server: &Server,
    tls: &TlsConnector,
    login: Option<Login<'_>>,
    mail: &Mail<'_>,
) -> Result<(), Failure> {
    let mut session = Session::open(server, tls).await?;
    if let Some(login) = login {
        session.log_in(login).await?;
    }
    session.ask(&format!("MAIL FROM:<{}>", mail.from), Wanted::Done).await?;
    session.ask(&format!("RCPT TO:<{}>", mail.to), Wanted::Done).await?;
    session.ask("DATA", Wanted::More).await?;
    session.write(&stuffed(mail.text)).await?;
    let taken = session.reply(Wanted::Done, Told::All).await.map(drop);
    // It is taken, whatever becomes of the connection.
    session.write("QUIT\r\n").await.ok();
    taken
}

/// The mail as DATA takes it: a line that begins with a dot gets a second one, and a dot alone ends it.
fn stuffed(text: &str) -> String {
    let lines = text
        .split_inclusive("\r\n")
        .map(|line| if line.starts_with('.') { ".".to_owned() + line } else { line.to_owned() });
    lines.chain(std::iter::once(".\r\n".to_owned())).collect()
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// What a reply has to begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// 2: done.
    Done,
    /// 3: go on.
    More,
}

/// How much of a refusal is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    All,
    /// Without its text, in which a server may repeat what it was told.
    Code,
}

struct Session<'a> {
    server: &'a Server,
    stream: BufReader<Box<dyn Wire>>,
    /// What the server can do, as its last EHLO said.
    extensions: Vec<String>,
}

impl<'a> Session<'a> {
    /// Connects, and says hello; from then on the connection is as secret as it has to be.
    async fn open(server: &'a Server, tls: &TlsConnector) -> Result<Self, Failure> {
        let tcp = TcpStream::connect((server.host.as_str(), server.port));
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, tcp).await;
        let tcp = tcp.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let tcp: Box<dyn Wire> = Box::new(tcp.map_err(|error| server.not_connected(&error))?);
        let stream = match server.security {
            Security::Implicit => encrypted(server, tls, tcp).await?,
            Security::StartTls | Security::Plain => tcp,
        };
        let mut session = Self { server, stream: BufReader::new(stream), extensions: Vec::new() };
        session.reply(Wanted::Done, Told::All).await?;
        session.hello().await?;
        match server.security {
            Security::StartTls => session.start_tls(tls).await,
            Security::Implicit | Security::Plain => Ok(session),
        }
    }

    async fn hello(&mut self) -> Result<(), Failure> {
        self.extensions = self.ask(&format!("EHLO {}", self.server.hello), Wanted::Done).await?;
        Ok(())
    }

    async fn start_tls(mut self, tls: &TlsConnector) -> Result<Self, Failure> {
        if self.extension("STARTTLS").is_none() {
            return Err(self.server.refused("it offers no STARTTLS, and `require_tls` asks for it"));
        }
        self.ask("STARTTLS", Wanted::Done).await?;
        // What is here already was said in the open, and would be taken for what the server said in secret.
        if !self.stream.buffer().is_empty() {
            return Err(self.server.later("it went on without encryption after STARTTLS"));
        }
        let stream = encrypted(self.server, tls, self.stream.into_inner()).await?;
        let mut session = Self { server: self.server, stream: BufReader::new(stream), extensions: Vec::new() };
        session.hello().await?;
        Ok(session)
    }

    /// The words after the name of an extension, where the server has it.
    fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().skip(1).find_map(|line| {
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            word.eq_ignore_ascii_case(name).then_some(rest)
        })
    }

    async fn log_in(&mut self, login: Login<'_>) -> Result<(), Failure> {
        let mechanisms = self.extension("AUTH").unwrap_or_default().to_ascii_uppercase();
        let offers = |mechanism| mechanisms.split_ascii_whitespace().any(|each| each == mechanism);
        if offers("PLAIN") {
            let response = format!("\0{}\0{}", login.username, login.password.expose_secret());
            self.say_secret(&format!("AUTH PLAIN {}", STANDARD.encode(response)), Wanted::Done).await
        } else if offers("LOGIN") {
            self.say_secret("AUTH LOGIN", Wanted::More).await?;
            self.say_secret(&STANDARD.encode(login.username), Wanted::More).await?;
            self.say_secret(&STANDARD.encode(login.password.expose_secret()), Wanted::Done).await
        } else {
            Err(self.server.refused("it offers neither AUTH PLAIN nor AUTH LOGIN"))
        }
    }

    async fn say_secret(&mut self, command: &str, wanted: Wanted) -> Result<(), Failure> {
        self.write(&format!("{command}\r\n")).await?;
        self.reply(wanted, Told::Code).await.map(drop)
    }

    /// Says a command, and gives the texts of the reply's lines.
    async fn ask(&mut self, command: &str, wanted: Wanted) -> Result<Vec<String>, Failure> {
        self.write(&format!("{command}\r\n")).await?;
        self.reply(wanted, Told::All).await
    }

    async fn write(&mut self, text: &str) -> Result<(), Failure> {
        let stream = self.stream.get_mut();
        let written = async {
            stream.write_all(text.as_bytes()).await?;
            stream.flush().await
        };
        written.await.map_err(|error| self.server.broken(&error))
    }

    async fn reply(&mut self, wanted: Wanted, told: Told) -> Result<Vec<String>, Failure> {
        let mut texts = Vec::new();
        while texts.len() < MOST_REPLY_LINES {
            let line = self.line().await?;
            let Some((code, is_last, text)) = parts(&line) else {
                return Err(self.server.later("it does not speak SMTP"));
            };
            texts.push(text.to_owned());
            if is_last {
                return judge(self.server, code, texts, wanted, told);
            }
        }
        Err(self.server.later("its reply does not end"))
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LONGEST_REPLY_LINE as u64);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(|error| self.server.broken(&error))?;
        match line.strip_suffix(b"\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).trim_end().to_owned()),
            None if line.len() < LONGEST_REPLY_LINE => Err(self.server.later("it closed the connection")),
            None => Err(self.server.later("a line of its reply does not end")),
        }
    }
}

/// The code of a line, whether it is the reply's last one, and its text.
fn parts(line: &str) -> Option<(u16, bool, &str)> {
    let (code, rest) = line.split_at_checked(3)?;
    let code = code.parse().ok().filter(|code| (200..600).contains(code))?;
    match rest.strip_prefix('-') {
        Some(text) => Some((code, false, text)),
        None if rest.is_empty() => Some((code, true, rest)),
        None => Some((code, true, rest.strip_prefix(' ')?)),
    }
}

/// What a reply's code means for a page (RFC 5321, 4.2.1).
fn judge(server: &Server, code: u16, texts: Vec<String>, wanted: Wanted, told: Told) -> Result<Vec<String>, Failure> {
    let text = match told {
        Told::All => one_line(&format!("{code} {}", texts.join(" "))),
        Told::Code => format!("AUTH: {code}"),
    };
    match (code / 100, wanted) {
        (2, Wanted::Done) | (3, Wanted::More) => Ok(texts),
        (5, Wanted::Done | Wanted::More) => Err(server.refused(&text)),
        _ => Err(server.later(&text)),
    }
}

async fn encrypted(server: &Server, tls: &TlsConnector, stream: Box<dyn Wire>) -> Result<Box<dyn Wire>, Failure> {
    let name = ServerName::try_from(server.host.clone());
    let name = name.map_err(|_| server.refused("its name can't stand in a certificate"))?;
    let stream = tls.connect(name, stream).await.map_err(|error| server.not_connected(&error))?;
    Ok(Box::new(stream))
}

impl Server {
    fn later(&self, why: &str) -> Failure {
        Failure::Retry { why: format!("{self}: {why}"), after: None }
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::Permanent { why: format!("{self}: {why}") }
    }

    fn not_connected(&self, error: &io::Error) -> Failure {
        self.later(&one_line(&format!("could not connect: {error}")))
    }

    fn broken(&self, error: &io::Error) -> Failure {
        self.later(&one_line(&format!("the connection broke: {error}")))
    }
}
