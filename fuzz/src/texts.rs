//! Small languages: names and versions, instants and durations, templates, PromQL.

use std::path::{Component, Path};
use std::time::Duration;

use rollbackd::promql;
use rollbackd_core::name::{
    AttemptId, Commit, DeployId, FiringId, PageId, PagerName, PathName, ServiceName, TriggerName, Version, nearest,
};
use rollbackd_core::template::{Template, Values, Variable};
use rollbackd_core::time::{LONGEST_PROMQL, Timestamp, milliseconds, parse_duration, promql_duration, show_duration};

/// A name is exactly what the design says (R14), whichever way it comes in.
pub(super) fn names(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let json = serde_json::to_string(text).expect("a JSON string");
    macro_rules! check {
        ($kind:ty, $longest:literal, $signs:literal) => {
            let allowed = is(text, $longest, $signs);
            assert_eq!(<$kind>::new(text).is_ok(), allowed, "{} {text:?}", stringify!($kind));
            let read = serde_json::from_str::<$kind>(&json);
            assert_eq!(read.is_ok(), allowed, "{} {json}", stringify!($kind));
            if let Ok(name) = read {
                assert_eq!(serde_json::to_string(&name).expect("a JSON string"), json);
            }
        };
    }
    check!(Version, 128, b"._+:@/-");
    check!(ServiceName, 63, b"._-");
    check!(TriggerName, 63, b"._-");
    check!(PathName, 63, b"._-");
    check!(PagerName, 63, b"._-");
    check!(Commit, 128, b"._-");
    check!(DeployId, 128, b"._-");
    check!(FiringId, 128, b"._-");
    check!(AttemptId, 128, b"._-");
    check!(PageId, 128, b"._-");
    if let Ok(id) = AttemptId::new(text) {
        let mut parts = Path::new(id.as_str()).components();
        assert!(matches!(parts.next(), Some(Component::Normal(_))) && parts.next().is_none(), "{id} leaves its folder");
    }
    let known = ["capstone-api", "billing", "", "é"];
    let near = nearest(text, known);
    assert!(near.len() <= 3 && near.iter().all(|name| known.contains(&name.as_str())));
}

/// The design's pattern, read off it: `[A-Za-z0-9][A-Za-z0-9SIGNS]{0,longest-1}`.
fn is(text: &str, longest: usize, signs: &[u8]) -> bool {
    let mut bytes = text.bytes();
    (1..=longest).contains(&text.len())
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|each| each.is_ascii_alphanumeric() || signs.contains(&each))
}

/// What is read as an instant or a duration is written as one, and read as the same.
pub(super) fn times(bytes: &[u8]) {
    let seconds = bytes.first_chunk::<8>().map(|chunk| f64::from_le_bytes(*chunk));
    if let Some(at) = seconds.and_then(Timestamp::from_seconds) {
        written_instant(at);
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(at) = text.parse::<Timestamp>() {
        written_instant(at);
        let json = serde_json::to_string(&at).expect("a JSON string");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).ok(), Some(at));
    }
    let Ok(duration) = parse_duration(text) else { return };
    let of_the_config = |each: char| each.is_ascii_digit() || each.is_whitespace() || ".msechinwd".contains(each);
    assert!(text.chars().all(of_the_config), "{text:?} is no duration of the config's");
    let shown = show_duration(duration);
    assert_eq!(parse_duration(&shown), Ok(duration), "{text:?} is shown as {shown:?}");
    assert_eq!(Timestamp::from_milliseconds(0) + duration - duration, Timestamp::from_milliseconds(0));
    let query = format!("rate(x[{}])", promql_duration(duration));
    let window = promql::read(&query).map(|facts| facts.window);
    assert_eq!(window, Ok(duration.clamp(Duration::from_millis(1), LONGEST_PROMQL)), "{query}");
}

fn written_instant(at: Timestamp) {
    let text = at.to_string();
    assert!(text.len() == 24 && text.ends_with('Z'), "{text} is not RFC 3339 with milliseconds");
    assert_eq!(text.parse(), Ok(at), "{text}");
    for step in [0, 1, 999, 15_000, i64::MAX.unsigned_abs()] {
        let slot = at.floor(Duration::from_millis(step));
        assert!(slot <= at && at.since(slot) < Duration::from_millis(step.max(1)), "{at} in steps of {step}");
        assert_eq!(slot.milliseconds() % milliseconds(Duration::from_millis(step.max(1))), 0);
    }
}

/// A template is text and values of a closed set: nothing is evaluated, nothing stays unresolved.
pub(super) fn template(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(template) = Template::parse(text) else {
        assert!(text.contains("{{"), "{text:?} has nothing that could be wrong");
        return;
    };
    assert_eq!(template.source(), text);
    assert_eq!(template.to_string(), text);
    let all = |value: &dyn Fn(Variable) -> String| {
        Variable::ALL.into_iter().fold(Values::default(), |values, each| values.with(each, value(each)))
    };
    let plain = template.render(&all(&|each| each.name().to_owned())).expect("every variable has a value");
    assert!(!plain.contains("{{"), "{text:?} leaves braces in {plain:?}");
    assert_eq!(Template::parse(&plain).map(|again| again.variables().count()), Ok(0));
    let named: Vec<Variable> = template.variables().collect();
    assert!(named.iter().all(|each| template.names(*each)));
    assert_eq!(template.render(&Values::default()).is_ok(), named.is_empty());
    // A value is put in as it is, even where it looks like a template.
    let hostile = template.render(&all(&|_| "{{ firing.id }}$(id)".to_owned())).expect("every variable has a value");
    assert_eq!(hostile.matches("$(id)").count() - text.matches("$(id)").count(), named.len());
    for left_out in &named {
        let others = Variable::ALL.into_iter().filter(|each| each != left_out);
        let values = others.fold(Values::default(), |values, each| values.with(each, "x"));
        assert!(template.render(&values).is_err(), "{left_out:?} has no value");
    }
}

/// What is known of a query can be asked for: each of its selectors is a query of its own that looks no further back.
pub(super) fn promql(bytes: &[u8]) {
    let Ok(query) = str::from_utf8(bytes) else { return };
    let Ok(facts) = promql::read(query) else { return };
    for selector in &facts.selectors {
        let own = promql::read(selector);
        let own = own.unwrap_or_else(|why| panic!("{selector:?} of {query:?} can't be asked alone: {why}"));
        assert!(own.window.is_zero(), "{selector:?} of {query:?} looks back {:?}", own.window);
        assert_eq!(own.selectors.len(), 1, "{selector:?} of {query:?}");
    }
    assert!(facts.instant_selectors.iter().all(|each| facts.selectors.contains(each)));
    let again = promql::read(&format!("({query}\n)"));
    assert_eq!(again.map(|again| (again.window, again.selectors)), Ok((facts.window, facts.selectors)), "{query:?}");
}
