//! The looker without an outside: what is due when.

use rollbackd_core::config::Service;
use rollbackd_core::event::Happening;
use rollbackd_core::reading::Answer;
use tokio::task::JoinHandle;

use super::ask::QuerySet;
use super::cadence::slots_due;
use super::look::Reach;
use super::*;
use crate::config;
use crate::door::Shared;
use crate::edges::Edges;
use crate::outside::Outside;

const REPORTED: &str = "name: smoke-test, observed: report, budget: 3m";

fn edges(dir: &std::path::Path, prometheus: &str, trigger: &str) -> Edges {
    crate::http_client::install_crypto();
    let file = dir.join("rollbackd.yml");
    let text = format!(
        "prometheus: {{url: 'http://{prometheus}'}}\nlisten: 127.0.0.1:0\nstate_dir: {dir}\nreceipts_dir: {dir}\n\
         services:\n  - {{name: api, watch: 30m, page: [oncall], side_effects: none, \
         triggers: [{{{trigger}}}], \
         paths: [{{name: path, timeout: 1m, command: ['true']}}]}}\n\
         pagers: [{{name: oncall, webhook: {{url: 'http://127.0.0.1:9'}}}}]\n",
        dir = dir.display()
    );
    std::fs::write(&file, text).unwrap();
    let settings = config::load(&file).unwrap_or_else(|error| panic!("{}", config::explain(&error))).settings;
    Edges::open(settings).unwrap()
}

fn looker(dir: &std::path::Path) -> Looker {
    let edges = edges(dir, "127.0.0.1:9", REPORTED);
    let (events, _) = mpsc::channel(1);
    let door = Door::new(events, Arc::new(Shared::default()));
    door.shared.set_config(Arc::new(edges.settings().core.clone()));
    Looker::new(door, InForce::new(edges), Arc::new(Metrics::new("test")))
}

fn key() -> Key {
    (ServiceName::new("api").unwrap(), Subject::Serving)
}

fn has(looker: &mut Looker, job: Job) {
    looker.jobs.of_mut(&key().0).insert(key().1, job);
    looker.jobs.note(&key().0);
}

#[tokio::test]
async fn a_look_that_is_wanted_no_longer_is_forgotten_and_not_due_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let (done, _finished) = mpsc::unbounded_channel();
    let now = clock::now();
    has(&mut looker, Job::due(now));
    looker.look(now, &done);
    assert!(looker.jobs.get_mut(&key()).is_none());
    assert_eq!(looker.jobs.next(), None);
}

#[tokio::test]
async fn while_nothing_is_watched_nothing_falls_due_however_long_the_last_look_takes() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    has(&mut looker, Job { under_way: true, ..Job::due(clock::now() - Duration::from_secs(60)) });
    looker.refresh(&key().0);
    assert!(looker.jobs.get_mut(&key()).unwrap().unwanted);
    assert_eq!(looker.jobs.next(), None, "nothing is due while it is under way");
    looker.finish(&Over { keys: vec![key()], ..Over::default() });
    assert!(looker.jobs.get_mut(&key()).is_none());
}

#[test]
fn a_loop_that_comes_late_counts_each_slot_that_it_passed() {
    let (at, step) = (Timestamp::from_milliseconds, Duration::from_secs(1));
    assert_eq!(slots_due(at(5_000), at(6_000), step), 1, "in time");
    assert_eq!(slots_due(at(5_000), at(8_000), step), 3, "at 7.2 s: 5, 6 and 7 were due");
    assert_eq!(slots_due(at(4_300), at(5_000), step), 1, "the first look of a watch, between two slots");
    assert_eq!(slots_due(at(4_300), at(7_000), step), 3, "the same, too late: and those of 5 and 6");
    assert_eq!(slots_due(at(9_000), at(8_000), step), 1, "the clock was set back");
}

#[tokio::test]
async fn a_clock_that_was_set_back_makes_nobody_wait_until_it_has_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let (hour, now) = (Duration::from_secs(3600), clock::now());
    has(&mut looker, Job::due(now + Duration::from_secs(1)));
    looker.notice_clock(now);
    looker.notice_clock(now - hour);
    assert_eq!(looker.jobs.next(), Some(now - hour));
}

#[tokio::test]
async fn a_look_that_panics_is_not_under_way_for_ever() {
    let (done, mut finished) = mpsc::unbounded_channel();
    let under_way = UnderWay { over: Over { keys: vec![key()], ..Over::default() }, done };
    let task = tokio::spawn(async move {
        let _under_way = under_way;
        panic!("on purpose");
    });
    assert!(task.await.is_err());
    assert_eq!(finished.recv().await, Some(Over { keys: vec![key()], ..Over::default() }));
}

#[tokio::test]
async fn who_comes_while_the_same_is_asked_for_others_goes_as_soon_as_that_is_over_however_their_turns_fall() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let edges = edges(dir.path(), "127.0.0.1:9", RATIO);
    let (_, metric) = rule_of(&edges.settings().core);
    let queries = Arc::new(QuerySet::of(metric, &key().0, &Values::default(), None));
    let shares = || Shares { queries: Arc::clone(&queries), step: metric.step, reach: Reach::Near };
    let (done, _finished) = mpsc::unbounded_channel();
    let now = clock::now();
    let turn = Turn::new(looker.edges.get(), looker.door.shared.config(), now, done);
    let [one, other] = ["one", "other"].map(|name| Look {
        service: ServiceName::new(name).unwrap(),
        due: Some(Due { at: now, slots: 1 }),
        ..look_at_ratio()
    });
    for look in [&one, &other] {
        // As the looker leaves them when it starts a look: due again after a turn.
        let next = now + Duration::from_secs(15);
        looker.jobs.of_mut(&look.service).insert(look.key().1, Job { under_way: true, ..Job::due(next) });
        looker.jobs.note(&look.service);
        looker.ask(&turn, shares(), vec![look.clone()]);
    }
    assert_eq!(looker.jobs.next(), None, "both are under way");
    looker.finish(&Over { keys: vec![one.key()], shared: Some(Arc::new(shares())), ..Over::default() });
    assert_eq!(looker.jobs.due(now), std::slice::from_ref(&other.service));
    assert!(looker.asking.is_empty());
}

/// A state in which this service was deployed then, and is under watch.
fn deployed(config: &Config, service: &ServiceName, at: Timestamp) -> State {
    use rollbackd_core::deploy::Migration;
    use rollbackd_core::event::{DeployReport, Event};
    let report = DeployReport {
        version: rollbackd_core::name::Version::new("v2").unwrap(),
        previous: None,
        commit: None,
        migration: Migration::default(),
        run_url: None,
        at: None,
        key: None,
    };
    let event = Event { service: service.clone(), what: Happening::Deployed(report) };
    let mut state = State::default();
    for record in rollbackd_core::decide(config, &state, &event, at).records {
        rollbackd_core::apply::apply(&mut state, service, at, &record).unwrap();
    }
    assert!(state.services[service].watch.is_some());
    state
}

/// A config of so many services, which are all the one of `edges`; their trigger is shared, or not.
fn fleet_of(core: &Config, count: usize, shared: Option<u32>) -> Config {
    let service = Service::clone(&core.services[&key().0]);
    let trigger = Arc::new(Trigger { shared, ..Trigger::clone(&service.triggers[0]) });
    let each = |name: ServiceName| {
        (name.clone(), Arc::new(Service { name, triggers: vec![Arc::clone(&trigger)], ..service.clone() }))
    };
    let names = (1..count).map(|number| ServiceName::new(format!("svc-{number}")).unwrap());
    Config { services: names.chain([key().0]).map(each).collect(), ..core.clone() }
}

#[test]
fn what_a_large_fleet_shares_is_looked_at_in_its_turn_from_the_beginning_and_everything_else_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let core = edges(dir.path(), "127.0.0.1:9", RATIO).settings().core.clone();
    let interval = core.evaluation_interval;
    let now = Timestamp::from_milliseconds(1_800_000_000_000).floor(interval) + Duration::from_secs(3);
    let trigger = (key().0, Subject::Trigger(TriggerName::new("error-rate").unwrap()));
    let due = |config: &Config, deployed_at| {
        let state = deployed(config, &trigger.0, deployed_at);
        assert_eq!(in_turn(config, &state, &key(), Duration::ZERO, now), None, "no trigger");
        in_turn(config, &state, &trigger, Duration::ZERO, now)
    };
    let (fleet, turn) = (fleet_of(&core, 1000, Some(0)), Some(now.floor(interval) + interval));
    assert_eq!(due(&fleet, now), turn);
    assert_eq!(due(&fleet_of(&core, 1000, None), now), None, "asked for by itself");
    assert_eq!(due(&fleet_of(&core, 999, Some(0)), now), None);
    let (minutes, hours) = (now - Duration::from_secs(600), now - Duration::from_secs(7200));
    assert_eq!(due(&fleet, minutes), None, "a deploy that is learned of so late may be bad by now");
    let started = Config { looking_since: Some(now), ..fleet };
    assert_eq!(due(&started, minutes), turn, "it was looked at before the start");
    assert_eq!(due(&started, hours), None, "its watch is over, and waits for this look alone");
}

/// Looks of so many services back over an hour, and the same of one that was deployed half an hour ago.
fn looks_back(count: usize) -> (Shares, Vec<Look>) {
    let dir = tempfile::tempdir().unwrap();
    let edges = edges(dir.path(), "127.0.0.1:9", RATIO);
    let (_, metric) = rule_of(&edges.settings().core);
    let queries = Arc::new(QuerySet::of(metric, &key().0, &Values::default(), None));
    let shares = Shares { queries, step: minute().2, reach: Reach::Far(21) };
    let (from, ..) = minute();
    let name = |number: usize| ServiceName::new(format!("svc-{number}")).unwrap();
    let look = |number| Look {
        service: name(number),
        to: from + Duration::from_secs(3600),
        in_pieces: true,
        due: Some(Due { at: from, slots: 1 }),
        ..look_at_ratio()
    };
    let mut looks: Vec<Look> = (0..count).map(look).collect();
    looks.push(Look { from: from + Duration::from_secs(1800), ..look(count) });
    (shares, looks)
}

fn fleet() -> Config {
    Config { evaluation_interval: minute().2, ..Config::default() }
}

#[tokio::test]
async fn who_looks_back_twice_as_far_is_asked_about_apart_so_that_nobody_waits_long_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let edges = edges(dir.path(), "127.0.0.1:9", RATIO);
    let (_, metric) = rule_of(&edges.settings().core);
    let looker = looker(dir.path());
    let (done, _finished) = mpsc::unbounded_channel();
    let mut turn = Turn::new(looker.edges.get(), looker.door.shared.config(), clock::now(), done);
    for back in [60, 140, 250, 280, 36_000] {
        let look = look_at_ratio();
        let look = Look { from: look.to - Duration::from_secs(back), ..look };
        turn.group(metric, minute().2, &Values::default(), look);
    }
    let groups: Vec<(Reach, usize)> =
        turn.groups.iter().map(|(shares, looks)| (shares.reach.clone(), looks.len())).collect();
    assert_eq!(groups, [(Reach::Near, 1), (Reach::Far(17), 2), (Reach::Far(18), 1), (Reach::Far(25), 1)]);
}

#[test]
fn a_fleets_long_watch_is_asked_for_from_its_beginning_piece_by_piece() {
    let (shares, looks) = looks_back(10_000);
    let (from, _, step) = minute();
    let cut = pieces::first(&shares, looks.clone(), &fleet());
    assert_eq!((cut.now.len(), cut.later.len()), (10_000, 1), "its beginning has not come");
    let until = cut.piece_until.unwrap();
    assert_eq!(until, from + step * 4, "five slots of two queries for each");
    for look in &cut.now {
        assert_eq!((look.from, look.to, look.more_until), (from, until, Some(from + Duration::from_secs(3600))));
    }
    // What is left is no longer than what may still change.
    let mut rest: Vec<Look> = looks.iter().map(|look| Look { from: look.to - step * 7, ..look.clone() }).collect();
    let cut = pieces::first(&shares, rest.clone(), &fleet());
    assert_eq!((cut.now.len(), cut.piece_until), (rest.len(), None));
    assert!(cut.now.iter().all(|look| look.more_until.is_none() && look.to == from + Duration::from_secs(3600)));
    // Who is on the way goes first: whoever begins again and again must not hold up all others.
    rest.clone_from(&looks);
    let on_the_way = shown_until(from + step * 100, step, &fleet()).so_far;
    for look in &mut rest[..30] {
        (look.from, look.so_far) = (from + step * 101, on_the_way);
    }
    let cut = pieces::first(&shares, rest.clone(), &fleet());
    assert_eq!((cut.now.len(), cut.later.len(), cut.piece_until), (30, 9971, Some(from + step * 120)));
    // What is judged as a whole goes first, and as a whole.
    rest.clone_from(&looks);
    rest[7].in_pieces = false;
    let cut = pieces::first(&shares, rest, &fleet());
    assert_eq!((cut.now.len(), cut.later.len(), cut.piece_until), (1, 10_000, None));
    // Of a few services all of it is little.
    let (shares, few) = looks_back(5);
    assert_eq!(pieces::first(&shares, few, &fleet()).piece_until, None);
}

#[tokio::test]
async fn who_is_asked_about_in_pieces_is_due_until_the_last_one_and_who_comes_to_nothing_at_the_next_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let interval = minute().2;
    let config = Config { evaluation_interval: interval, ..(*looker.door.shared.config()).clone() };
    looker.door.shared.set_config(Arc::new(config));
    let (shares, looks) = looks_back(21);
    let (done, mut finished) = mpsc::unbounded_channel();
    let now = clock::now();
    let turn = Turn::new(looker.edges.get(), looker.door.shared.config(), now, done);
    for look in &looks {
        // As the looker leaves them when it starts a look.
        looker.jobs.of_mut(&look.service).insert(look.key().1, Job { under_way: true, ..Job::due(now + interval) });
        looker.jobs.note(&look.service);
    }
    looker.ask(&turn, shares, looks.clone());
    let over = finished.recv().await.unwrap();
    let until = minute().0 + interval * 21;
    assert_eq!((over.keys.len(), over.piece_until), (21, Some(until)), "22 slots of 44 series");
    let (reached, stuck) = (&looks[0], &looks[1]);
    let shown = shown_until(until, interval, &looker.door.shared.config());
    looker.door.shared.board_mut().put(&Config::default(), &reached.service, &reached.trigger, shown);
    // Nobody answers here; the board shows who was answered.
    looker.finish(&Over { failed: false, ..over });
    let mut due = |look: &Look| looker.jobs.get_mut(&look.key()).unwrap().next();
    assert!(due(reached) <= clock::now(), "the next piece is due at once");
    assert_eq!(due(stuck), now + interval, "in its turn: else the same would be asked for again and again");
    assert_eq!(due(&looks[21]), minute().0, "it waited for the others");
}

/// What a piece up to that slot has shown, of a longer window.
fn shown_until(until: Timestamp, step: Duration, config: &Config) -> Shown {
    use rollbackd_core::reading::Look::Clear;
    use rollbackd_core::reading::Point;
    use rollbackd_core::trigger::{Arming, Rule, judge_piece};
    let (from, hour) = (minute().0, Duration::from_secs(3600));
    let rule = Rule { hold: step, step, window: step, interval: step, deploy_at: from, since_deploy: false };
    let slots = std::iter::successors(Some(from.floor(step)), |slot| Some(*slot + step));
    let points: Vec<Point> =
        slots.take_while(|slot| *slot <= until).map(|at| Point { at, look: Clear(0.01) }).collect();
    let mut verdict = judge_piece(&rule, Arming::Unknown, None, &points, None, Some(from + hour));
    if let Some(so_far) = &mut verdict.so_far {
        so_far.generation = config.generation;
    }
    verdict.into()
}

#[tokio::test]
async fn a_look_that_failed_while_a_breach_is_followed_is_made_again_soon() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let key = (key().0, Subject::Trigger(TriggerName::new("smoke-test").unwrap()));
    let (later, slot) = (clock::now() + Duration::from_secs(15), clock::now());
    for (failed, followed, soon) in [(true, true, true), (false, true, false), (true, false, false)] {
        let place = looker.jobs.place(MOST_CLOSER).filter(|_| followed);
        let mut closer = place.map(|place| Box::new(Closer::new(place, slot, slot)));
        closer.iter_mut().for_each(|closer| closer.exactly_at = None);
        looker.jobs.of_mut(&key.0).insert(key.1.clone(), Job { under_way: true, closer, ..Job::due(later) });
        looker.finish(&Over { keys: vec![key.clone()], failed, ..Over::default() });
        let due_at = looker.jobs.get_mut(&key).unwrap().due_at;
        assert_eq!(due_at < later, soon, "failed: {failed}, followed: {followed}");
    }
}

#[test]
fn so_many_rows_are_looked_at_closer_and_where_one_is_done_another_has_its_place() {
    let jobs = Jobs::default();
    let mut places: Vec<_> = std::iter::from_fn(|| jobs.place(MOST_CLOSER)).collect();
    assert_eq!(places.len(), MOST_CLOSER);
    places.pop();
    assert!(jobs.place(MOST_CLOSER).is_some());
}

const OK: &str = "200 OK";
const BROKEN: &str = "500 Internal Server Error";

/// Answers each query with nothing and this status, one after the other, and says in which order it names these.
async fn nothing_but_the_order(
    listener: tokio::net::TcpListener,
    status: &str,
    names: [&'static str; 2],
    said: mpsc::UnboundedSender<[&'static str; 2]>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = String::new();
        let asked = loop {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.expect("a request");
            request += &String::from_utf8_lossy(&bytes[..count]);
            if let [Some(first), Some(second)] = names.map(|name| request.find(name)) {
                break if first < second { names } else { [names[1], names[0]] };
            }
        };
        let _ = said.send(asked);
        stream.write_all(answer.as_bytes()).await.expect("an answer");
    }
}

const RATIO: &str = "name: error-rate, bad: 'sum(rate(failures[1m]))', total: 'sum(rate(requests[1m]))', \
                     above: 5%, for: 1m, budget: 3m";

/// The only trigger and its metric.
fn rule_of(config: &Config) -> (&Trigger, &Metric) {
    let rule = &config.services[&key().0].triggers[0];
    let Observed::Metric(metric) = &rule.observed else { panic!("observed by a metric") };
    (rule, metric)
}

fn minute() -> closer::Range {
    let at = Timestamp::from_milliseconds(1_800_000_000_000);
    (at, at + Duration::from_secs(60), Duration::from_secs(15))
}

fn look_at_ratio() -> Look {
    let (from, to, _) = minute();
    Look {
        service: key().0,
        trigger: TriggerName::new("error-rate").unwrap(),
        deploy: DeployId::new("api-d-20261130T000000000Z-1").unwrap(),
        from,
        to,
        answered_until: None,
        split: false,
        since_deploy: None,
        baseline: false,
        in_pieces: false,
        more_until: None,
        so_far: None,
        besides: Vec::new(),
        due: None,
    }
}

/// Edges whose Prometheus answers each query with this status and nothing, and what each query names in its order.
async fn edges_with(
    dir: &std::path::Path,
    status: &'static str,
) -> (Edges, mpsc::UnboundedReceiver<[&'static str; 2]>, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edges = edges(dir, &listener.local_addr().unwrap().to_string(), RATIO);
    let (said, asked) = mpsc::unbounded_channel();
    let server = tokio::spawn(nothing_but_the_order(listener, status, ["failures", "requests"], said));
    (edges, asked, server)
}

#[tokio::test]
async fn a_look_is_one_request_in_which_traffic_comes_before_failures_so_that_no_scrape_in_between_looks_like_health() {
    let dir = tempfile::tempdir().unwrap();
    let (edges, mut order, server) = edges_with(dir.path(), OK).await;
    let (rule, metric) = rule_of(&edges.settings().core);
    let metrics = Arc::new(Metrics::new("test"));
    ask::over(&edges, &metrics, (&key().0, rule, metric), &Values::default(), None, minute()).await;
    server.abort();
    assert_eq!(order.recv().await, Some(["requests", "failures"]));
    assert_eq!(order.recv().await, None, "asked twice");
}

#[tokio::test]
async fn a_look_whose_first_request_failed_asks_nothing_more_so_that_a_server_that_hangs_holds_it_up_once() {
    let dir = tempfile::tempdir().unwrap();
    let (edges, mut asked, server) = edges_with(dir.path(), BROKEN).await;
    let (_, metric) = rule_of(&edges.settings().core);
    let (step, look) = (minute().2, Look { besides: vec![minute(), minute()], ..look_at_ratio() });
    let queries = QuerySet::of(metric, &look.service, &Values::default(), None);
    let shares =
        Shares { queries: Arc::new(queries), step, reach: Reach::Alone(look.service.clone(), look.trigger.clone()) };
    let metrics = Arc::new(Metrics::new("test"));
    let gate = Gate::beside(4, Duration::from_secs(5), Arc::clone(&metrics));
    let (events, mut told) = mpsc::channel(1);
    let door = Door::new(events, Arc::new(Shared::default()));
    let done = ask::group(&door, &edges, &gate, &metrics, &shares, vec![look]).await;
    assert!(done.is_err_and(|why| why.contains("500")));
    server.abort();

    assert!(asked.recv().await.is_some());
    assert_eq!(asked.recv().await, None, "asked although the look had failed");
    let Happening::Looked { answers, besides, .. } = told.recv().await.unwrap().event.what else { panic!("no look") };
    assert_eq!(besides.len(), 2);
    for each in std::iter::once(&answers).chain(&besides) {
        assert!(matches!(&each.value, Answer::Failed(why) if why.contains("500")), "{each:?}");
    }
}
