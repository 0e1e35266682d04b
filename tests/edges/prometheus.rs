//! The Prometheus edge against a real Prometheus, and against servers that misbehave.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::world::{Program, dead_url, serve};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, post};
use reqwest::Url;
use rollbackd::http_client::{BasicAuth, HttpSettings};
use rollbackd::prometheus::Prometheus;
use rollbackd_core::reading::{Answer, Series};
use rollbackd_core::time::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// The first sample of the data below.
const START: i64 = 1_700_000_000_000;

fn ms(milliseconds: i64) -> Timestamp {
    Timestamp::from_milliseconds(START + milliseconds)
}

fn settings() -> HttpSettings {
    HttpSettings::with_timeout(Duration::from_secs(30))
}

fn client(url: &str) -> Prometheus {
    Prometheus::new(url, &settings(), FIVE_MINUTES).unwrap()
}

/// Debian's Prometheus with data of known instants: a counter every 15 s for a minute, in two services.
async fn prometheus(dir: &Path) -> (Program, Prometheus) {
    let mut data = "# TYPE requests counter\n".to_owned();
    for service in ["a", "b"] {
        for sample in 0..5 {
            data +=
                &format!("requests_total{{service=\"{service}\"}} {} {}\n", sample * 10, START / 1000 + sample * 15);
        }
    }
    fs::write(dir.join("data.om"), data + "# EOF\n").unwrap();
    fs::write(dir.join("config.yml"), "global: {}\n").unwrap();
    let blocks = ["tsdb", "create-blocks-from", "openmetrics", "data.om", "data"];
    let made = Command::new("promtool").args(blocks).current_dir(dir).output().expect("promtool is installed");
    assert!(made.status.success(), "{made:?}");
    let mut command = Command::new("prometheus");
    command.current_dir(dir).args(["--config.file=config.yml", "--storage.tsdb.path=data"]);
    command.args(["--storage.tsdb.retention.time=100y", "--web.listen-address=127.0.0.1:0"]);
    let program = Program::start(&mut command, "\"Listening on\" address=");
    let client = client(&program.url());
    // It listens before it has loaded its data, and then answers 503.
    let ready = async {
        while let Answer::Failed(_) = client.instant("1", ms(0)).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, ready).await.expect("Prometheus is ready");
    (program, client)
}

fn series(answer: Answer) -> Vec<Series> {
    match answer {
        Answer::Series(series) => series,
        Answer::Partial(why) | Answer::Failed(why) => panic!("{why}"),
    }
}

fn failure(answer: Answer) -> String {
    match answer {
        Answer::Failed(why) => why,
        Answer::Series(_) | Answer::Partial(_) => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_real_prometheus_answers_ranges_instants_and_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let (_program, prometheus) = prometheus(dir.path()).await;

    let step = Duration::from_millis(7500);
    let found = series(prometheus.range(r#"requests_total{service="a"}"#, ms(500), ms(30_500), step).await);
    let expected = [(500, 0.0), (8000, 0.0), (15_500, 10.0), (23_000, 10.0), (30_500, 20.0)];
    assert_eq!(found[0].samples, expected.map(|(at, value)| (ms(at), value)), "exact to the millisecond");
    assert_eq!(found[0].labels.get("service").unwrap(), "a");

    let sum = "sum by (service) (rate(requests_total[1m]))";
    assert_eq!(series(prometheus.instant(sum, ms(60_000)).await).len(), 2);
    let nothing = prometheus.instant("requests_total", ms(3_600_000)).await;
    assert_eq!(nothing, Answer::Series(vec![]), "older than any lookback");
    let not_a_number = series(prometheus.instant("0/0", ms(1)).await);
    assert!(not_a_number[0].samples[0].1.is_nan());
    assert_eq!(not_a_number[0].samples[0].0, ms(1));
    assert!(failure(prometheus.instant("\"text\"", ms(0)).await).contains("gives a string"));
    for wrong in ["sum(", "requests_total[5m] offset"] {
        let why = failure(prometheus.range(wrong, ms(0), ms(1000), step).await);
        assert!(why.starts_with("HTTP 400 Bad Request: bad_data:") && why.contains("parse error"), "{why}");
    }
}

#[tokio::test]
async fn a_range_of_more_points_than_prometheus_gives_is_put_together_without_seam() {
    let dir = tempfile::tempdir().unwrap();
    let (_program, prometheus) = prometheus(dir.path()).await;
    let found = series(prometheus.range("requests_total", ms(0), ms(50_000), Duration::from_millis(2)).await);
    assert_eq!(found.len(), 2);
    for series in found {
        assert!(series.samples.iter().map(|sample| sample.0).eq((0..=25_000).map(|point| ms(point * 2))));
        assert_eq!(series.samples[25_000].1, 30.0);
    }
}

/// A server on which every query gets the answer of this function.
async fn stub<R: IntoResponse + 'static>(answer: impl Fn() -> R + Clone + Send + Sync + 'static) -> Prometheus {
    let answer = any(move || {
        let response = answer().into_response();
        async { response }
    });
    client(&serve(Router::new().fallback(answer)).await)
}

async fn why(prometheus: &Prometheus) -> String {
    let range = failure(prometheus.range("up", ms(0), ms(1000), Duration::from_secs(1)).await);
    assert_eq!(failure(prometheus.instant("up", ms(0)).await), range);
    assert!(!range.contains('\n'), "{range}");
    range
}

#[tokio::test]
async fn answers_that_are_none_are_failures_with_a_reason() {
    let html = stub(|| (StatusCode::BAD_GATEWAY, "<html>Bad gateway</html>")).await;
    assert!(why(&html).await.starts_with("HTTP 502 Bad Gateway: "));
    let json = r#"{"status":"error","errorType":"too_many_requests","error":"slow down"}"#;
    let refused = stub(move || (StatusCode::TOO_MANY_REQUESTS, json)).await;
    assert_eq!(why(&refused).await, "HTTP 429 Too Many Requests: too_many_requests: slow down");
    let endless = || {
        let spaces = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65_536]));
        Body::from_stream(futures_util::stream::iter(spaces))
    };
    assert!(why(&stub(endless).await).await.contains("the answer is longer than 67108864 bytes"));
    assert!(why(&client(&dead_url())).await.contains("could not connect: "));
}

#[tokio::test]
async fn a_gzip_bomb_does_not_go_off() {
    let mut gzip = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..256 {
            input.write_all(&[b' '; 1 << 20]).unwrap();
        }
    });
    let bomb = gzip.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    assert!(bomb.len() < 1 << 20);
    let bomb = stub(move || ([(header::CONTENT_ENCODING, "gzip")], bomb.clone())).await;
    assert!(why(&bomb).await.contains("the answer is longer than 67108864 bytes"));
}

#[tokio::test]
async fn an_answer_nested_a_hundred_thousand_deep_is_a_failure() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for text in [
        deep.clone(),
        format!(r#"{{"status":"success","data":{deep}}}"#),
        format!(r#"{{"status":"success","warnings":{deep},"data":{{"resultType":"matrix","result":[]}}}}"#),
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{deep}}}}}"#),
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"a":{deep}}}}}]}}}}"#),
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"histogram":{deep}}}]}}}}"#
        ),
    ] {
        let answers = stub(move || text.clone()).await;
        let why = why(&answers).await;
        assert!(why.len() < 1_000, "{why}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            // All of the request is read first: closing with some of it unread would be a reset, another failure.
            let mut request = vec![0; 65_536];
            let mut read = 0;
            while !request[..read].ends_with(b"partial_response=false") {
                read += connection.read(&mut request[read..]).await.unwrap();
            }
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"status\":\"suc").await.unwrap();
        }
    });
    let why = why(&client(&url)).await;
    assert!(why.contains("HTTP 200 OK, but the answer broke off"), "{why}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_a_failure() {
    let never = any(|| async { std::future::pending::<StatusCode>().await });
    let trickle = || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let router = Router::new().route("/never/{*rest}", never);
    let url = serve(router.route("/trickle/{*rest}", any(move || async move { trickle() }))).await;
    for path in ["never", "trickle"] {
        let http = HttpSettings::with_timeout(Duration::from_millis(300));
        let prometheus = Prometheus::new(&format!("{url}/{path}"), &http, FIVE_MINUTES).unwrap();
        assert!(why(&prometheus).await.contains("timed out"), "{path}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_no_secret_with_it() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let elsewhere = Router::new().fallback(any(move |_: Request| async move { seen.send(()).unwrap() }));
    let elsewhere = serve(elsewhere).await;
    let redirecting = stub(move || Redirect::temporary(&elsewhere)).await;
    assert!(why(&redirecting).await.contains("a redirect, which is not followed"));
    assert!(requests.try_recv().is_err());
}

type Seen = (HeaderMap, BTreeMap<String, String>);

#[tokio::test]
async fn a_query_says_how_long_how_old_and_that_a_part_is_not_enough() {
    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("password");
    fs::write(&password_file, "open sesame\n").unwrap();
    let (seen, mut requests) = mpsc::unbounded_channel::<Seen>();
    let handler = post(|headers: HeaderMap, body: String| async move {
        let form = Url::parse(&format!("form:?{body}")).unwrap().query_pairs().into_owned().collect();
        seen.send((headers, form)).unwrap();
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
    });
    let router = Router::new().route("/prefix/api/v1/query", handler.clone());
    let url = serve(router.route("/prefix/api/v1/query_range", handler)).await;
    let mut http = HttpSettings::with_timeout(Duration::from_millis(2500));
    http.basic_auth = Some(BasicAuth { username: "Aladdin".to_owned(), password_file });
    http.headers.insert("X-Scope-OrgID".to_owned(), "team".to_owned());
    let prometheus = Prometheus::new(&format!("{url}/prefix/"), &http, Duration::from_secs(90)).unwrap();

    series(prometheus.instant("up > 0", ms(125)).await);
    series(prometheus.range("up > 0", ms(125), ms(1125), Duration::from_millis(250)).await);
    let instant = requests.recv().await.unwrap();
    let range = requests.recv().await.unwrap();
    assert_eq!(instant.1["time"], "1700000000.125");
    assert_eq!(
        ["start", "end", "step"].map(|key| range.1[key].as_str()),
        ["1700000000.125", "1700000001.125", "0.250"]
    );
    for (headers, form) in [instant, range] {
        assert_eq!(headers["authorization"], "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(headers["x-scope-orgid"], "team");
        let said = ["query", "timeout", "lookback_delta", "deny_partial_response", "partial_response"];
        assert_eq!(said.map(|key| form[key].as_str()), ["up > 0", "2500ms", "90s", "1", "false"]);
    }
}

#[tokio::test]
async fn no_reason_holds_a_credential() {
    for url in ["http://user:s3cret@127.0.0.1:1/", "http://127.0.0.1:1/?key=s3cret"] {
        let refused = Prometheus::new(url, &settings(), FIVE_MINUTES).map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("expected") && !refused.contains("s3cret"), "{refused}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut http = settings();
    http.bearer_token_file = Some(file.clone());
    let url = format!("{}/s3cret", dead_url());
    let prometheus = Prometheus::new(&url, &http, FIVE_MINUTES).unwrap();
    assert!(why(&prometheus).await.contains("could not read the bearer token file"));
    fs::write(&file, "s3cret").unwrap();
    let unreachable = why(&prometheus).await;
    assert!(unreachable.contains("could not connect") && !unreachable.contains("s3cret"), "{unreachable}");
}
