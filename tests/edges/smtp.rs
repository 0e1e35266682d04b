//! A stand-in for a server that takes mail, after RFC 5321 (commands and replies), RFC 4954 (AUTH) and RFC 3207
//! (STARTTLS): it checks the order and the form of each command that it sees, and misbehaves where a test says so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the server says at each step; each ends in CRLF, or is what it says before it closes the connection.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) greeting: String,
    pub(crate) hello: String,
    pub(crate) start_tls: String,
    pub(crate) auth: String,
    pub(crate) mail: String,
    pub(crate) recipient: String,
    pub(crate) data: String,
    pub(crate) end: String,
}

impl Default for Script {
    fn default() -> Self {
        let line = |line: &str| format!("{line}\r\n");
        Self {
            greeting: line("220 mail.example ESMTP"),
            hello: line("250-mail.example at your service\r\n250-8BITMIME\r\n250 AUTH LOGIN PLAIN"),
            start_tls: line("502 no TLS here"),
            auth: line("235 2.7.0 welcome"),
            mail: line("250 2.1.0 from whom"),
            recipient: line("250 2.1.5 to whom"),
            data: line("354 go on"),
            end: line("250 2.0.0 queued"),
        }
    }
}

/// Takes each mail, and answers its end with the next of these, as it stands; shows the headers and the text.
pub(crate) async fn receiver(answers: Vec<String>) -> (String, mpsc::UnboundedReceiver<Value>) {
    let scripts = answers.into_iter().map(|end| Script { end, ..Script::default() }).collect();
    let (address, mut mails, _commands) = server(scripts).await;
    let (seen, shown) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(mail) = mails.recv().await {
            if seen.send(parsed(&mail)).is_err() {
                return;
            }
        }
    });
    (format!("http://{address}"), shown)
}

type Texts = mpsc::UnboundedReceiver<String>;

/// Serves one connection after another by the next of these scripts, then by the usual one: where it listens, the mails
/// and the commands that it saw.
pub(crate) async fn server(scripts: Vec<Script>) -> (String, Texts, Texts) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (mail, mails) = mpsc::unbounded_channel();
    let (command, commands) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut scripts = scripts.into_iter();
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream, &scripts.next().unwrap_or_default(), &mail, &command).await;
        }
    });
    (address, mails, commands)
}

/// `None` where the connection ends.
async fn serve(
    stream: TcpStream,
    script: &Script,
    mails: &mpsc::UnboundedSender<String>,
    commands: &mpsc::UnboundedSender<String>,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, &script.greeting).await?;
    let mut order = vec!["EHLO"];
    loop {
        let line = line(&mut stream).await?;
        commands.send(line.clone()).ok();
        let (verb, _) = line.split_once([' ', ':']).unwrap_or((&line, ""));
        let answer = match verb {
            "EHLO" => &script.hello,
            "STARTTLS" => &script.start_tls,
            "AUTH" => &script.auth,
            "MAIL" => {
                assert_eq!(line, "MAIL FROM:<rollbackd@example.com>");
                &script.mail
            }
            "RCPT" => {
                assert_eq!((line.as_str(), order.last()), ("RCPT TO:<oncall@example.com>", Some(&"MAIL")));
                &script.recipient
            }
            "DATA" => {
                assert_eq!(order.last(), Some(&"RCPT"));
                say(&mut stream, &script.data).await?;
                mails.send(data(&mut stream).await?).ok();
                &script.end
            }
            "QUIT" => return None,
            // The answers to AUTH LOGIN.
            _ => &script.auth,
        };
        order.push(match verb {
            "MAIL" => "MAIL",
            "RCPT" => "RCPT",
            _ => "",
        });
        say(&mut stream, answer).await?;
    }
}

/// Closes the connection after what is no whole line.
async fn say(stream: &mut BufReader<TcpStream>, text: &str) -> Option<()> {
    stream.get_mut().write_all(text.as_bytes()).await.ok()?;
    text.ends_with("\r\n").then_some(())
}

/// A line ends in CRLF, and has no other end of a line in it.
async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let line = line.strip_suffix("\r\n").expect("a line ends in CRLF").to_owned();
    assert!(!line.contains(['\r', '\n']) && line.len() <= 998, "{line:?}");
    Some(line)
}

async fn data(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut mail = String::new();
    loop {
        match line(stream).await?.as_str() {
            "." => return Some(mail),
            line => {
                mail += line.strip_prefix('.').unwrap_or(line);
                mail += "\n";
            }
        }
    }
}

/// The headers by their names in small letters, each of which is there once, and `text`: the body in plain words.
pub(crate) fn parsed(mail: &str) -> Value {
    let (headers, body) = mail.split_once("\n\n").expect("an empty line before the body");
    let mut parsed = json!({});
    for header in headers.replace("\n ", " ").lines() {
        let (name, value) = header.split_once(": ").unwrap_or_else(|| panic!("no header: {header:?}"));
        assert!(header.is_ascii(), "{header:?}");
        let name = name.to_ascii_lowercase();
        assert!(parsed.get(&name).is_none(), "{name} twice in {headers}");
        parsed[name] = decoded(value).into();
    }
    assert_eq!(parsed["content-transfer-encoding"], "base64");
    let bytes = STANDARD.decode(body.replace('\n', "")).unwrap();
    parsed["text"] = String::from_utf8(bytes).unwrap().replace("\r\n", "\n").into();
    parsed
}

/// A header's value with its encoded words in plain (RFC 2047): what stands between two of them is not part of it.
fn decoded(value: &str) -> String {
    let Some(first) = value.strip_prefix("=?utf-8?B?") else { return value.to_owned() };
    let words = first.split("=?utf-8?B?").map(|word| {
        let word = word.trim_end();
        assert!(word.len() + "=?utf-8?B?".len() <= 75, "{word}");
        String::from_utf8(STANDARD.decode(word.strip_suffix("?=").unwrap()).unwrap()).unwrap()
    });
    words.collect()
}
