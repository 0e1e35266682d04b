//! `trigger::looks`, `trigger::limit` and `trigger::baseline`: one slot, and what a limit is made of.

use rollbackd_core::config::{Condition, Limit, Metric, Query};
use rollbackd_core::reading::{Answer, Answers, Labels, Look, Series};
use rollbackd_core::time::Timestamp;
use rollbackd_core::trigger::{self, Baseline};

use crate::common::duration;
use crate::common::outside::{Window, one_series};
use crate::common::plan::{error_rate, fixed, p99_latency, template};

const NAN: f64 = f64::NAN;
const INFINITE: f64 = f64::INFINITY;

fn at() -> Timestamp {
    Timestamp::from_milliseconds(900_000)
}

fn ratio() -> Metric {
    error_rate(duration("15s"), duration("2m"))
}

fn expression(condition: Condition) -> Metric {
    Metric { condition, ..p99_latency(duration("15s"), duration("5m")) }
}

fn filter() -> Metric {
    Metric {
        query: Query::Filter { expr: template("up == 0"), presence: template("up") },
        condition: Condition::Any,
        ..p99_latency(duration("15s"), duration("5m"))
    }
}

fn empty(metric: &Metric) -> Answers {
    Window { from: at(), to: at(), step: metric.step }.all(metric, || Answer::Series(Vec::new()))
}

/// One series without labels that has this value at the slot.
fn one(value: Option<f64>) -> Answer {
    one_series(value.map(|value| (at(), value)).into_iter().collect())
}

/// A series for each of these pods.
fn pods(values: &[(&str, f64)]) -> Answer {
    let series = |(pod, value): &(&str, f64)| Series {
        labels: Labels::from_iter([("pod".into(), (*pod).into())]),
        samples: vec![(at(), *value)],
    };
    Answer::Series(values.iter().map(series).collect())
}

fn several(values: &[f64]) -> Answer {
    let names = ["a", "b", "c", "d"];
    let named: Vec<(&str, f64)> = names.into_iter().zip(values.iter().copied()).collect();
    pods(&named)
}

fn look(metric: &Metric, limit: Option<f64>, answers: &Answers) -> Look {
    let points = trigger::looks(metric, limit, answers);
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].at, at());
    points[0].look
}

#[test]
fn a_ratio_is_bad_over_total_and_says_nothing_without_traffic() {
    let enough = Some(1000.0);
    let table = [
        ("a clean service has no bad series", None, Some(100.0), enough, Look::Clear(0.0)),
        ("no failures", Some(0.0), Some(100.0), enough, Look::Clear(0.0)),
        ("just at the limit", Some(5.0), Some(100.0), enough, Look::Clear(0.05)),
        ("above it", Some(6.0), Some(100.0), enough, Look::Breach(0.06)),
        ("all failed", Some(100.0), Some(100.0), enough, Look::Breach(1.0)),
        ("total 0", Some(0.0), Some(0.0), enough, Look::LowTraffic),
        ("total 0 although something failed", Some(3.0), Some(0.0), enough, Look::LowTraffic),
        ("total absent", None, None, enough, Look::NoTraffic),
        ("total absent although something failed", Some(3.0), None, enough, Look::NoTraffic),
        ("total NaN", Some(3.0), Some(NAN), enough, Look::NoData),
        ("total infinite", Some(3.0), Some(INFINITE), enough, Look::NoData),
        ("bad NaN", Some(NAN), Some(100.0), enough, Look::NoData),
        ("bad infinite", Some(INFINITE), Some(100.0), enough, Look::NoData),
        ("both NaN", Some(NAN), Some(NAN), enough, Look::NoData),
        ("traffic just enough", Some(6.0), Some(100.0), Some(20.0), Look::Breach(0.06)),
        ("traffic just not enough", Some(6.0), Some(100.0), Some(19.9), Look::LowTraffic),
        ("no traffic at all", Some(6.0), Some(100.0), None, Look::NoTraffic),
        ("too little traffic wins over the NaN that it causes", Some(NAN), Some(NAN), Some(1.0), Look::LowTraffic),
        ("and over the emptiness", None, None, Some(0.0), Look::LowTraffic),
    ];
    let metric = ratio();
    for (name, bad, total, traffic, expected) in table {
        let answers =
            Answers { value: one(bad), total: Some(one(total)), at_least: Some(one(traffic)), ..empty(&metric) };
        assert_eq!(look(&metric, Some(0.05), &answers), expected, "{name}");
    }
}

#[test]
fn with_several_ratios_the_worst_counts_and_labels_have_to_match() {
    type Pods<'a> = &'a [(&'a str, f64)];
    let metric = Metric { at_least: None, ..ratio() };
    let total = [("a", 100.0), ("b", 100.0)];
    let table: [(&str, Pods<'_>, Pods<'_>, Look); 11] = [
        ("one of two", &[("a", 1.0), ("b", 20.0)], &total, Look::Breach(0.2)),
        ("only the clean one has no bad", &[("b", 20.0)], &total, Look::Breach(0.2)),
        ("both clean", &[], &total, Look::Clear(0.0)),
        ("one without traffic", &[("a", 1.0)], &[("a", 100.0), ("b", 0.0)], Look::Clear(0.01)),
        ("none with traffic", &[], &[("a", 0.0), ("b", 0.0)], Look::LowTraffic),
        ("one NaN, one breach", &[("a", NAN), ("b", 20.0)], &total, Look::Breach(0.2)),
        ("bad that belongs to no total", &[("c", 20.0)], &total, Look::Error),
        ("one bad and one total that are not of the same", &[("c", 20.0)], &[("a", 100.0)], Look::Error),
        ("that, although another one breaches", &[("b", 20.0), ("c", 20.0)], &total, Look::Error),
        ("bad that belongs to no total, but is none", &[("c", 0.0)], &total, Look::Clear(0.0)),
        ("bad without any total", &[("c", 20.0)], &[], Look::NoTraffic),
    ];
    for (name, bad, total, expected) in table {
        let answers = Answers { value: pods(bad), total: Some(pods(total)), ..empty(&metric) };
        assert_eq!(look(&metric, Some(0.05), &answers), expected, "{name}");
    }
}

#[test]
fn failures_at_a_slot_at_which_their_total_has_no_sample_are_a_mistake_and_not_health() {
    let metric = Metric { at_least: None, ..ratio() };
    let Answer::Series(mut total) = several(&[100.0, 100.0]) else { panic!("not a series") };
    total[1].samples.clear();
    for (bad, expected) in [(20.0, Look::Error), (0.0, Look::Clear(0.01))] {
        let bad = pods(&[("a", 1.0), ("b", bad)]);
        let answers = Answers { value: bad, total: Some(Answer::Series(total.clone())), ..empty(&metric) };
        assert_eq!(look(&metric, Some(0.05), &answers), expected);
    }
}

#[test]
fn a_summed_bad_over_totals_by_pod_is_a_mistake_and_not_health() {
    let metric = Metric { at_least: None, ..ratio() };
    let answers = Answers { value: one(Some(50.0)), total: Some(several(&[100.0, 100.0])), ..empty(&metric) };
    assert_eq!(look(&metric, Some(0.05), &answers), Look::Error);
}

#[test]
fn an_expression_is_compared_by_its_worst_finite_series() {
    let above = Condition::Above(fixed(10.0));
    let below = Condition::Below(fixed(10.0));
    let table: [(&str, Condition, &[f64], Look); 14] = [
        ("above", above, &[10.1], Look::Breach(10.1)),
        ("at the limit", above, &[10.0], Look::Clear(10.0)),
        ("under it", above, &[9.9], Look::Clear(9.9)),
        ("worst of several", above, &[1.0, 30.0, 20.0], Look::Breach(30.0)),
        ("below", below, &[9.9], Look::Breach(9.9)),
        ("at the lower limit", below, &[10.0], Look::Clear(10.0)),
        ("worst of several below", below, &[30.0, 1.0, 20.0], Look::Breach(1.0)),
        ("negative", below, &[-1.0], Look::Breach(-1.0)),
        ("empty", above, &[], Look::NoData),
        ("empty below", below, &[], Look::NoData),
        ("NaN", above, &[NAN], Look::NoData),
        ("infinite", above, &[INFINITE], Look::NoData),
        ("infinitely little", below, &[-INFINITE], Look::NoData),
        ("one NaN beside a value", above, &[NAN, 11.0], Look::Breach(11.0)),
    ];
    for (name, condition, values, expected) in table {
        let metric = expression(condition);
        let answers = Answers { value: several(values), ..empty(&metric) };
        assert_eq!(look(&metric, trigger::limit(&metric, None), &answers), expected, "{name}");
    }
}

#[test]
fn a_percentage_is_a_number_like_any_other() {
    let metric = expression(Condition::Above(Limit::Fixed { value: 0.05, shown_as_percentage: true }));
    assert_eq!(trigger::limit(&metric, None), Some(0.05));
}

#[test]
fn a_multiple_of_the_baseline_needs_one_that_is_known_and_positive() {
    let known = |value| Some(Baseline { value, looks: 10, expected: 10 });
    let table = [
        (None, None),
        (known(None), None),
        (known(Some(0.0)), None),
        (known(Some(-1.0)), None),
        (known(Some(0.2)), Some(0.4)),
    ];
    for above in [true, false] {
        let times = Limit::TimesBaseline { factor: 2.0, window: duration("1h") };
        let metric = expression(if above { Condition::Above(times) } else { Condition::Below(times) });
        for (baseline, limit) in table {
            assert_eq!(trigger::limit(&metric, baseline.as_ref()), limit, "{baseline:?}");
            if limit.is_none() {
                let answers = Answers { value: one(Some(1.0)), ..empty(&metric) };
                assert_eq!(look(&metric, limit, &answers), Look::NoData, "nothing to compare with: {baseline:?}");
            }
        }
    }
}

#[test]
fn a_filtering_expression_breaches_with_any_series_and_is_clear_only_where_there_is_data() {
    let metric = filter();
    let table: [(&str, &[f64], &[f64], Look); 5] = [
        ("something returned", &[0.0], &[0.0], Look::Breach(1.0)),
        ("two returned", &[0.0, 0.0], &[0.0, 0.0], Look::Breach(2.0)),
        ("nothing returned, but there is data", &[], &[1.0], Look::Clear(0.0)),
        ("nothing there", &[], &[], Look::NoData),
        ("returned although presence is empty", &[0.0], &[], Look::Breach(1.0)),
    ];
    for (name, value, presence, expected) in table {
        let answers = Answers { value: several(value), presence: Some(several(presence)), ..empty(&metric) };
        assert_eq!(look(&metric, trigger::limit(&metric, None), &answers), expected, "{name}");
    }
}

#[test]
fn an_answer_that_failed_or_is_partial_spoils_the_look_whichever_query_it_was() {
    let metric = ratio();
    let good = || one(Some(100.0));
    for position in 0..3 {
        for (spoiled, expected) in [
            (Answer::Failed("refused".to_owned()), Look::Error),
            (Answer::Partial("a store is away".to_owned()), Look::Partial),
        ] {
            let mut answers =
                Answers { value: one(Some(50.0)), total: Some(good()), at_least: Some(good()), ..empty(&metric) };
            match position {
                0 => answers.value = spoiled,
                1 => answers.total = Some(spoiled),
                _ => answers.at_least = Some(spoiled),
            }
            assert_eq!(look(&metric, Some(0.05), &answers), expected, "position {position}");
        }
    }
    let metric = filter();
    let answers =
        Answers { value: one(Some(1.0)), presence: Some(Answer::Failed("refused".to_owned())), ..empty(&metric) };
    assert_eq!(look(&metric, Some(0.0), &answers), Look::Error);
}

#[test]
fn a_failure_is_told_before_a_partial_answer() {
    let metric = ratio();
    let answers = Answers {
        value: Answer::Partial("a store is away".to_owned()),
        total: Some(Answer::Failed("refused".to_owned())),
        ..empty(&metric)
    };
    assert_eq!(look(&metric, Some(0.05), &answers), Look::Error);
}

#[test]
fn a_sample_beside_the_slot_is_no_sample() {
    let metric = expression(Condition::Above(fixed(1.0)));
    let late = at() + duration("1s");
    let answers = Answers { value: one_series(vec![(late, 5.0)]), ..empty(&metric) };
    assert_eq!(look(&metric, Some(1.0), &answers), Look::NoData);
}

/// The baseline of a metric of which each slot shows these series.
fn baseline(metric: &Metric, slots: &[&[f64]]) -> Baseline {
    let step = metric.step;
    let window = Window { from: at(), to: at() + step * u32::try_from(slots.len() - 1).unwrap_or(0), step };
    let mut answers = window.all(metric, || Answer::Series(Vec::new()));
    let widest = slots.iter().map(|values| values.len()).max().unwrap_or(0);
    let series = |index: usize| Series {
        labels: Labels::from_iter([("pod".into(), index.to_string().into())]),
        samples: answers.slots().zip(slots).filter_map(|(at, values)| Some((at, *values.get(index)?))).collect(),
    };
    answers.value = Answer::Series((0..widest).map(series).collect());
    trigger::baseline(metric, &answers)
}

#[test]
fn a_baseline_is_the_median_of_what_the_expression_showed() {
    let metric = p99_latency(duration("15s"), duration("5m"));
    let value = |slots: &[&[f64]]| baseline(&metric, slots).value;
    assert_eq!(value(&[&[1.0], &[2.0], &[100.0]]), Some(2.0), "a burst does not lift it");
    assert_eq!(value(&[&[1.0], &[3.0]]), Some(2.0));
    assert_eq!(value(&[&[1.0, 5.0], &[2.0, 6.0], &[3.0, 7.0]]), Some(6.0), "of the worst of each slot");
    assert_eq!(value(&[&[], &[], &[], &[4.0]]), Some(4.0), "one of four is enough");
    assert_eq!(value(&[&[], &[], &[], &[], &[4.0]]), None, "one of five is not");
    assert_eq!(value(&[&[NAN], &[INFINITE], &[]]), None);
    assert_eq!(value(&[&[NAN], &[7.0], &[]]), Some(7.0));
    assert_eq!(value(&[&[]]), None);
}

#[test]
fn the_baseline_of_a_lower_limit_is_made_of_the_series_that_will_be_compared() {
    let half = Limit::TimesBaseline { factor: 0.5, window: duration("1h") };
    let metric = Metric { condition: Condition::Below(half), ..p99_latency(duration("15s"), duration("5m")) };
    let known = baseline(&metric, &[&[100.0, 10.0], &[100.0, 12.0], &[100.0, 14.0]]);
    assert_eq!(known.value, Some(12.0), "the least of each slot, since the least is what is compared");
}

#[test]
fn a_baseline_counts_no_slot_with_too_little_traffic() {
    let metric = Metric { at_least: ratio().at_least, ..p99_latency(duration("15s"), duration("5m")) };
    let (first, second) = (at(), at() + metric.step);
    let window = Window { from: first, to: second, step: metric.step };
    let mut answers = window.all(&metric, || Answer::Series(Vec::new()));
    answers.value = one_series(vec![(first, 9.0), (second, 1.0)]);
    answers.at_least = Some(one_series(vec![(first, 5.0), (second, 50.0)]));
    assert_eq!(trigger::baseline(&metric, &answers), Baseline { value: Some(1.0), looks: 1, expected: 2 });
}
