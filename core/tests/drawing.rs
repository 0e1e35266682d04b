//! Where everything stands in a chart: the scale of time, the flags, the limit, the line and the lanes.
//!
//! Most tests draw the same ruler: its picture begins 15 s before the deploy, and a second is one unit wide, so that a
//! place can be read off an instant.

use rollbackd_core::chart::{Bar, Chart, Mark, Tone, Unit};
use rollbackd_core::time::Timestamp;

/// Seconds after the deploy.
fn at(seconds: f64) -> Timestamp {
    let before: Timestamp = "2026-11-23T10:00:00Z".parse().expect("an instant");
    Timestamp::from_seconds(before.seconds() + seconds).expect("an instant")
}

fn mark(seconds: f64, label: &str) -> Mark {
    Mark { at: at(seconds), label: label.to_owned(), tone: Tone::Plain }
}

fn bar(from: f64, until: f64, at_most: Option<f64>, label: &str) -> Bar {
    Bar {
        lane: "clock".to_owned(),
        from: at(from),
        until: at(until),
        at_most: at_most.map(at),
        label: label.to_owned(),
        tone: Tone::Good,
    }
}

/// A deploy, and that production was bad for so long.
fn bare(bad_seconds: f64) -> Chart {
    Chart {
        title: "shop: error-rate".to_owned(),
        subtitle: String::new(),
        outcome: String::new(),
        tone: Tone::Good,
        description: String::new(),
        unit: Unit::Plain,
        series: vec![],
        limit: None,
        above: true,
        without_series: "nothing was measured".to_owned(),
        marks: vec![mark(0.0, "")],
        bad_window: (at(0.0), at(bad_seconds)),
        bars: vec![],
    }
}

/// A picture of 712 s from 15 s before the deploy: an instant stands at 83 and its seconds.
fn ruler() -> Chart {
    Chart { bars: vec![bar(0.0, 600.0, Some(697.0), "")], ..bare(600.0) }
}

/// The elements of a class, in their order.
fn of_class(chart: &Chart, class: &str) -> Vec<String> {
    let svg = chart.svg();
    let class = format!("class=\"{class}\"");
    svg.lines().filter(|line| line.contains(&class)).map(str::to_owned).collect()
}

fn attribute<'a>(element: &'a str, key: &str) -> &'a str {
    let (_, rest) = element.split_once(&format!(" {key}=\"")).expect("an element with this attribute");
    rest.split_once('"').expect("a quoted attribute").0
}

fn attributes(elements: &[String], key: &str) -> Vec<String> {
    elements.iter().map(|element| attribute(element, key).to_owned()).collect()
}

/// The first and the last second that the picture shows, read off two marks.
fn shown(chart: &Chart) -> (f64, f64) {
    let (first, last) = (chart.bad_window.0.seconds(), chart.bad_window.1.seconds());
    let window = of_class(chart, "window");
    let number = |key| attribute(&window[0], key).parse::<f64>().expect("a number");
    let seconds_of_a_unit = (last - first) / number("width");
    let from = first - (number("x") - 68.0) * seconds_of_a_unit - at(0.0).seconds();
    (from, from + 712.0 * seconds_of_a_unit)
}

fn assert_shown(chart: &Chart, from: f64, until: f64) {
    let found = shown(chart);
    // Places have one decimal, so that this is as exact as it can be read off.
    let near = |one: f64, other: f64| (one - other).abs() < 0.05;
    assert!(near(found.0, from) && near(found.1, until), "{found:?} is not {from} to {until}");
}

#[test]
fn the_picture_reaches_a_little_beyond_the_first_and_the_last_instant() {
    assert_shown(&bare(120.0), -3.0, 123.0);
    assert_eq!(of_class(&ruler(), "mark plain").len(), 1);
    assert_shown(&ruler(), -15.0, 697.0);
}

#[test]
fn a_series_from_before_the_deploy_is_shown_a_little() {
    let since = |seconds| Chart { series: vec![(at(seconds), 1.0), (at(60.0), 1.0)], ..bare(120.0) };
    assert_shown(&since(-3.0), -3.0, 123.0);
    assert_shown(&since(-3.001), -10.0, 123.0);
}

#[test]
fn a_deploy_of_long_ago_stands_at_the_edge() {
    let since = |deploy: f64| Chart { marks: vec![mark(deploy, "deploy"), mark(400.0, "")], ..bare(500.0) };
    assert_shown(&since(0.0), -12.5, 512.5);
    let mut long_ago = since(-1.0);
    long_ago.bad_window.0 = at(400.0);
    assert_shown(&long_ago, 295.0, 505.0);
    let flags = of_class(&long_ago, "plain");
    assert!(
        flags.contains(&"<text x=\"73.0\" y=\"76.0\" class=\"plain\" text-anchor=\"start\">‹ deploy</text>".to_owned())
    );
    assert_eq!(of_class(&long_ago, "mark plain").len(), 1, "a line would say that it was there");
}

#[test]
fn a_budget_is_shown_up_to_half_as_long_again() {
    let at_most = |seconds| Chart { bars: vec![bar(0.0, 120.0, Some(seconds), "")], ..bare(120.0) };
    assert_shown(&at_most(100.0), -3.0, 123.0);
    assert_shown(&at_most(150.0), -3.0, 150.0);
    assert_shown(&at_most(500.0), -3.0, 180.0);
    let room = |chart| attributes(&of_class(&chart, "room"), "d");
    assert_eq!(room(at_most(180.0)), ["M780.0 159.0H79.7v15H780.0Z"]);
    assert_eq!(room(at_most(500.0)), ["M780.0 159.0H79.7v15H780.0"], "open to the right: there is more of it");
}

#[test]
fn the_last_flag_ends_where_the_plot_ends() {
    let mut chart = bare(120.0);
    chart.marks.extend([mark(60.0, ""), mark(120.0, &"m".repeat(30))]);
    let flags = of_class(&chart, "mark plain");
    // 30 characters of 6.6 and their margin of 10 are 208 wide.
    assert_eq!(attributes(&flags, "x1")[2], "572.0");
}

#[test]
fn a_flag_stands_above_those_that_follow_until_it_has_ended() {
    // A flag without a label is 10 wide, and there have to be 3 between it and the next line.
    let marks = vec![mark(0.0, ""), mark(13.0, ""), mark(25.9, ""), mark(30.0, ""), mark(100.0, "")];
    let chart = Chart { marks, ..ruler() };
    let lines = of_class(&chart, "mark plain");
    assert_eq!(attributes(&lines, "x1"), ["83.0", "96.0", "108.9", "113.0", "183.0"]);
    assert_eq!(attributes(&lines, "y1"), ["66.0", "66.0", "81.0", "96.0", "66.0"]);
    // The plot begins under three rows of flags.
    assert_eq!(attributes(&of_class(&chart, "window"), "y"), ["115.0"]);
}

#[test]
fn the_label_of_a_tick_at_the_edge_stays_within_the_panel() {
    let label = |shift: f64| {
        let mut chart = ruler();
        chart.marks[0].at = at(shift);
        chart.bad_window = (at(shift), at(600.0 + shift));
        chart.bars = vec![bar(shift, 600.0 + shift, Some(697.0 + shift), "")];
        of_class(&chart, "plain").into_iter().find(|text| text.contains(">10:12<")).expect("a tick")
    };
    let text = |x, anchor| format!("<text x=\"{x}\" y=\"145.0\" class=\"plain\" text-anchor=\"{anchor}\">10:12</text>");
    assert_eq!(label(37.0), text("766.0", "middle"));
    assert_eq!(label(36.0), text("792.0", "end"));
}

/// The ruler with a line from 0 to the most.
fn measured(most: f64, limit: f64) -> Chart {
    let series = vec![(at(0.0), 0.0), (at(10.0), most)];
    Chart { series, limit: Some((limit, "limit".to_owned())), ..ruler() }
}

#[test]
fn the_limits_label_stands_over_its_line_where_there_is_room() {
    // The plot is from 85 to 235; of 150 the scale makes 165.
    let table =
        [(77.0, "165.0", "159.0"), (142.9, "105.1", "99.1"), (143.0, "105.0", "119.0"), (150.0, "98.6", "112.6")];
    for (limit, line, label) in table {
        let chart = measured(150.0, limit);
        assert_eq!(attributes(&of_class(&chart, "limit"), "y1"), [line]);
        let label = format!("<text x=\"776.0\" y=\"{label}\" class=\"halo bad\" text-anchor=\"end\">limit</text>");
        assert_eq!(of_class(&chart, "halo bad"), [label]);
    }
}

#[test]
fn the_breach_is_on_the_side_of_the_limit_where_values_are_bad() {
    let clip = |chart: &Chart| {
        let svg = chart.svg();
        let clip = svg.lines().find(|line| line.contains("<clipPath")).expect("what is a breach").to_owned();
        [attribute(&clip, "x"), attribute(&clip, "width"), attribute(&clip, "y"), attribute(&clip, "height")]
            .map(str::to_owned)
    };
    // From 2 above the plot to the limit, or from there to 2 below it, so that a line at the very edge is within.
    assert_eq!(clip(&measured(150.0, 77.0)), ["68.0", "712.0", "83.0", "82.0"]);
    assert_eq!(clip(&Chart { above: false, ..measured(150.0, 77.0) }), ["68.0", "712.0", "165.0", "72.0"]);
}

#[test]
fn a_limit_that_is_no_number_is_not_drawn() {
    for limit in [f64::NAN, f64::INFINITY] {
        let chart = measured(150.0, limit);
        assert!(of_class(&chart, "limit").is_empty() && of_class(&chart, "halo bad").is_empty());
        assert!(!chart.svg().contains("clipPath"));
    }
}

#[test]
fn the_line_is_broken_where_a_point_is_missing() {
    let points = |seconds: &[f64]| seconds.iter().map(|seconds| (at(*seconds), 0.0)).collect();
    let path = |series| attributes(&of_class(&Chart { series, ..ruler() }, "line"), "d");
    // The usual step is 10 s, and 15 s are no gap yet.
    let steps = path(points(&[0.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.1]));
    assert_eq!(steps, ["M83.0 235.0h0L88.0 235.0L93.0 235.0L103.0 235.0L113.0 235.0L128.0 235.0M143.1 235.0h0"]);
    let mut series: Vec<(Timestamp, f64)> = points(&[0.0, 10.0, 20.0]);
    series[1].1 = f64::NAN;
    assert_eq!(path(series), ["M83.0 235.0h0M103.0 235.0h0"]);
}

#[test]
fn of_too_many_points_the_worst_are_drawn() {
    let chart = |above| {
        let value = |index: u32| if index.is_multiple_of(2) { 1.0 } else { 3.0 };
        let series = (0..1400).map(|index| (at(f64::from(index) / 2.0 - 10.0), value(index))).collect();
        Chart { series, above, ..measured(1.0, 6.0) }
    };
    for (above, worst) in [(true, "166.8"), (false, "212.3")] {
        let path = attributes(&of_class(&chart(above), "line"), "d");
        let points: Vec<&str> = path[0].split(['M', 'L']).skip(1).collect();
        assert_eq!(points.len(), 700);
        assert!(points.iter().all(|point| point.trim_end_matches("h0").ends_with(worst)), "{}", points[0]);
    }
}

#[test]
fn what_stands_in_place_of_a_series_is_in_the_middle_of_the_plot() {
    let text = "<text x=\"424.0\" y=\"111.0\" class=\"halo plain\" text-anchor=\"middle\">nothing was measured</text>";
    assert_eq!(of_class(&ruler(), "halo plain"), [text]);
    assert!(of_class(&ruler(), "grid").is_empty());
}

/// The ruler with one more lane.
fn with_lane(bar: Bar) -> Chart {
    let mut chart = ruler();
    chart.bars.push(bar);
    chart
}

#[test]
fn a_bar_lies_in_its_lane_and_is_never_too_short_to_be_seen() {
    let bars = of_class(&with_lane(bar(100.0, 100.0, None, "")), "bar good");
    let place = |bar: &String| ["x", "y", "width", "height"].map(|key| attribute(bar, key).to_owned());
    assert_eq!(place(&bars[0]), ["83.0", "159.0", "600.0", "15.0"]);
    assert_eq!(place(&bars[1]), ["183.0", "180.0", "2.0", "15.0"]);
}

#[test]
fn a_spent_budget_is_a_notch_and_an_unspent_one_is_room() {
    let drawn = |at_most| {
        let mut chart = with_lane(bar(100.0, 300.0, Some(at_most), ""));
        chart.bars.swap_remove(0);
        // The other lane makes the ruler; here only this one is looked at.
        chart.bars.push(bar(0.0, 0.0, Some(697.0), ""));
        let first =
            |class| of_class(&chart, class).into_iter().filter(|each| each.contains("159.0")).collect::<Vec<_>>();
        (attributes(&first("room"), "d"), attributes(&first("spent"), "x1"))
    };
    let none = Vec::<String>::new;
    assert_eq!(drawn(400.0), (vec!["M483.0 159.0H183.0v15H483.0Z".to_owned()], none()));
    assert_eq!(drawn(300.0), (none(), none()));
    assert_eq!(drawn(200.0), (none(), vec!["283.0".to_owned()]));
    assert_eq!(drawn(-15.1), (none(), none()), "before what the picture shows");
}

#[test]
fn a_bars_label_stands_where_there_is_room_for_it() {
    let label = |bar: Bar| {
        let svg = with_lane(bar).svg();
        let text = svg.lines().rfind(|line| line.starts_with("<text")).expect("a label").to_owned();
        ["x", "class", "text-anchor"].map(|key| attribute(&text, key).to_owned())
    };
    // A label is 6 from its bar and needs 6 more to the right edge at 780; without a character it is 12 wide.
    assert_eq!(label(bar(100.0, 684.9, None, "")), ["773.9", "good", "start"]);
    assert_eq!(label(bar(100.0, 685.0, None, "")), ["177.0", "halo good", "end"]);
    assert_eq!(label(bar(100.0, 300.0, Some(684.9), "")), ["773.9", "good", "start"]);
    assert_eq!(label(bar(100.0, 684.9, Some(697.0), "")), ["773.9", "halo good", "start"]);
    assert_eq!(label(bar(100.0, 685.0, Some(697.0), "")), ["177.0", "halo good", "end"]);
    // Ten characters of 6.6 are 66 wide.
    assert_eq!(label(bar(100.0, 618.9, None, &"m".repeat(10))), ["707.9", "good", "start"]);
    assert_eq!(label(bar(100.0, 619.1, None, &"m".repeat(10))), ["177.0", "halo good", "end"]);
}

#[test]
fn the_panel_holds_no_more_lanes_than_have_room() {
    let height = |lanes: usize| {
        let chart = Chart { bars: vec![bar(0.0, 600.0, None, ""); lanes], ..ruler() };
        let svg = chart.svg();
        let height = attribute(&svg, "height").to_owned();
        let panel = of_class(&chart, "panel");
        (height, attribute(&panel[0], "height").to_owned(), of_class(&chart, "bar good").len())
    };
    assert_eq!(height(1), ("192.0".to_owned(), "191.0".to_owned(), 1));
    assert_eq!(height(6), ("297.0".to_owned(), "296.0".to_owned(), 6));
    assert_eq!(height(7), ("297.0".to_owned(), "296.0".to_owned(), 6));
}

#[test]
fn a_chart_of_nothing_but_an_instant_is_drawn() {
    let mut chart = bare(0.0);
    chart.marks.clear();
    let svg = chart.svg();
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert_eq!(of_class(&chart, "window").len(), 1);
}
