//! What the picture of a receipt says: units, distances, versions and how it ended.

use super::*;

/// The texts of the picture.
fn texts(receipt: &Receipt) -> Vec<String> {
    let svg = receipt.chart();
    let texts = svg.lines().filter(|line| line.starts_with("<text"));
    texts.map(|line| line.split_once('>').unwrap().1.trim_end_matches("</text>").to_owned()).collect()
}

#[test]
fn values_are_named_in_the_unit_of_their_query() {
    let told = |query: Query, condition: Condition| {
        let mut service = service();
        let Observed::Metric(metric) = &mut std::sync::Arc::make_mut(&mut service.triggers[0]).observed else {
            panic!("the trigger is measured")
        };
        let metric = std::sync::Arc::make_mut(metric);
        (metric.query, metric.condition) = (query, condition);
        let mut firing = firing();
        (firing.value, firing.limit) = (Some(0.5), Some(0.25));
        let evidence = Evidence { limit: None, limit_is_percentage: false, ..evidence() };
        let receipt = receipt(&firing, &service, &evidence).unwrap();
        assert!(texts(&receipt).iter().any(|text| text.starts_with("limit ")), "{:?}", texts(&receipt));
        let plain = receipt.summary.plain();
        plain.split_once(" (").unwrap().1.split_once(") ").unwrap().0.to_owned()
    };
    let template = |text| Template::parse(text).unwrap();
    let fixed = Condition::Above(Limit::Fixed { value: 0.25, shown_as_percentage: false });
    let baseline = Limit::TimesBaseline { factor: 2.0, window: Duration::from_hours(1) };
    let quantile = "histogram_quantile(0.99, sum by (le) (rate(request_seconds_bucket[1m])))";
    let expression = |text| Query::Expression(template(text));
    let filter = Query::Filter { expr: template(quantile), presence: template("up") };
    let ratio = Query::Ratio { bad: template("bad"), total: template("total") };
    assert_eq!(told(ratio, fixed), "50 % against a limit of 25 %");
    assert_eq!(told(expression(quantile), fixed), "0.5 s against a limit of 0.25 s");
    assert_eq!(told(filter, Condition::Any), "0.5 s against a limit of 0.25 s");
    let doubled = "0.5 s against a limit of 0.25 s, 2x baseline";
    assert_eq!(told(expression(quantile), Condition::Above(baseline)), doubled);
    assert_eq!(told(expression(quantile), Condition::Below(baseline)), doubled);
    // A quantile of bytes, and a rate of seconds, are no seconds.
    let no_unit = "0.5 against a limit of 0.25";
    assert_eq!(told(expression("histogram_quantile(0.99, request_bytes_bucket)"), fixed), no_unit);
    assert_eq!(told(expression("rate(process_cpu_seconds_total[1m])"), fixed), no_unit);
}

#[test]
fn a_mark_is_named_with_its_distance_from_observed() {
    let recovered = |milliseconds| {
        let mut firing = firing();
        firing.recovered_at = Some(firing.observed_at + Duration::from_millis(milliseconds));
        texts(&told(&firing, &evidence()))
            .into_iter()
            .find(|text| text.starts_with("recovered") && !text.contains(" in "))
    };
    // To a tenth of a second below a minute, else to the second.
    let table = [
        (49, "recovered"),
        (50, "recovered +0.1s"),
        (59_949, "recovered +59.9s"),
        (59_950, "recovered +1m"),
        (60_260, "recovered +1m"),
        (60_500, "recovered +1m 1s"),
    ];
    for (milliseconds, label) in table {
        assert_eq!(recovered(milliseconds).as_deref(), Some(label), "{milliseconds}");
    }
    let texts = texts(&told(&firing(), &evidence()));
    assert!(texts.contains(&"breach −2m".to_owned()) && texts.contains(&"observed".to_owned()), "{texts:?}");
}

#[test]
fn of_a_long_version_both_ends_are_shown() {
    let shown = |version: &str| {
        let mut firing = firing();
        firing.deploy.as_mut().unwrap().version = Version::new(version).unwrap();
        texts(&told(&firing, &evidence()))[2].split_once(" →").unwrap().0.to_owned()
    };
    let longest = "0123456789abcdefghijklmnopqrstuvwxyz";
    assert_eq!(shown(longest), longest);
    assert_eq!(shown(&format!("{longest}!").replace('!', "Z")), "0123456789abcdefghijklm…pqrstuvwxyzZ");
    assert_eq!(shown("ghcr.io/acme/shop@sha256:0123456789abcdef"), "ghcr.io/acme/shop@sha25…456789abcdef");
}

#[test]
fn the_picture_says_how_it_ended() {
    let ended = |result, recovered_at: Option<f64>, budget: Option<u64>, is_dry_run| {
        let mut firing = if is_dry_run { dry_run() } else { firing() };
        firing.stage = Stage::Ended { result, at: at(900.0), receipt: 1, published: false };
        firing.recovered_at = recovered_at.map(at);
        firing.budget = budget.map(Duration::from_secs);
        let svg = told(&firing, &evidence()).chart();
        let outcome = svg.lines().find(|line| line.contains("class=\"outcome ")).unwrap();
        let (tone, rest) = outcome.split_once("class=\"outcome ").unwrap().1.split_once('"').unwrap();
        format!("{tone}: {}", rest.split_once('>').unwrap().1.trim_end_matches("</text>"))
    };
    use FiringEnd::{Dismissed, NotRecovered, Paged, Recovered};
    assert_eq!(ended(Recovered, Some(480.0), Some(300), false), "good: recovered in 2m 30s of 5m");
    assert_eq!(ended(Recovered, Some(631.0), Some(300), false), "clock: recovered in 5m 1s of 5m");
    assert_eq!(ended(Recovered, Some(480.0), None, false), "good: recovered in 2m 30s");
    assert_eq!(ended(Paged, None, Some(300), false), "plain: a human was paged");
    assert_eq!(ended(Paged, None, Some(300), true), "plain: would have paged");
    assert_eq!(ended(Dismissed, None, Some(300), false), "plain: dismissed by a human");
    assert_eq!(ended(NotRecovered, None, Some(300), false), "bad: not recovered");
}

#[test]
fn the_lanes_say_what_was_spent_of_what() {
    let mut firing = firing();
    firing.budget = None;
    let texts = texts(&told(&firing, &evidence()));
    let lanes = ["clock", "2m 30s, no budget", "pipeline", "41.25s, failed", "console", "23.4s, succeeded"];
    assert!(texts.ends_with(&lanes.map(str::to_owned)), "{texts:?}");
}
