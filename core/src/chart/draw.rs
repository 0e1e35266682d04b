//! Draws a chart: the panel, the flags of the marks, the plot and the lanes under it.
//!
//! Decides nothing but where things stand, so that no label lies on another or is crossed by a mark.

use std::time::Duration;

use super::scale::{TimeScale, ValueScale, place};
use super::{Bar, Chart, Mark, Tone};
use crate::receipt::text::{line, xml};
use crate::time::Timestamp;

const WIDTH: f64 = 800.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 780.0;
/// Where the first row of flags stands.
const FLAGS_TOP: f64 = 66.0;
const FLAG_HEIGHT: f64 = 15.0;
const PLOT_HEIGHT: f64 = 150.0;
/// The height of the plot where there is nothing to plot.
const EMPTY_HEIGHT: f64 = 44.0;
const LANE_HEIGHT: f64 = 21.0;
/// How wide a character of 11 units is at most, on average, in the fonts that may be chosen.
const CHARACTER: f64 = 6.6;
/// More lanes than attempts that anybody had; the rest stands in the markdown.
const MOST_BARS: usize = 6;
/// One point for each unit of the plot's width is all that can be told apart.
const MOST_POINTS: usize = 712;

/// Light by default, dark where the reader's page is; the panel is opaque, so both are legible on any page.
const STYLE: &str = "\
text{font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:11px}\
.title{font-size:16px;font-weight:600;fill:#1f2328}.outcome{font-size:14px;font-weight:600}\
.panel{fill:#fff;stroke:#d1d9e0}.grid{stroke:#d1d9e0;stroke-opacity:.6}.axis{stroke:#59636e;stroke-opacity:.7}\
.window{fill:#cf222e;fill-opacity:.07}.halo{paint-order:stroke;stroke:#fff;stroke-width:4;stroke-linejoin:round}\
.line{fill:none;stroke:#0969da;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}.over{stroke:#cf222e}\
.limit{stroke:#cf222e;stroke-width:1.5;stroke-dasharray:6 4}.room{fill:none;stroke:#59636e;stroke-dasharray:3 3}\
.spent{stroke:#fff;stroke-width:2}line.mark{stroke-width:1.5}\
.plain{fill:#59636e}.ours{fill:#0969da}.good{fill:#1a7f37}.bad{fill:#cf222e}.clock{fill:#bc4c00}\
line.plain{stroke:#59636e}line.ours{stroke:#0969da}line.good{stroke:#1a7f37}line.bad{stroke:#cf222e}\
line.clock{stroke:#bc4c00}\
@media (prefers-color-scheme:dark){\
.title{fill:#f0f6fc}.panel{fill:#0d1117;stroke:#3d444d}.grid{stroke:#3d444d}.axis,.room{stroke:#9198a1}\
.window{fill:#f85149;fill-opacity:.12}.halo,.spent{stroke:#0d1117}.line{stroke:#4493f8}.over,.limit{stroke:#f85149}\
.plain{fill:#9198a1}.ours{fill:#4493f8}.good{fill:#3fb950}.bad{fill:#f85149}.clock{fill:#f0883e}\
line.plain{stroke:#9198a1}line.ours{stroke:#4493f8}line.good{stroke:#3fb950}line.bad{stroke:#f85149}\
line.clock{stroke:#f0883e}}";

/// Where everything stands, from the top down.
struct Layout {
    rows: Vec<usize>,
    plot_top: f64,
    plot_bottom: f64,
    lanes_top: f64,
    height: f64,
    time: TimeScale,
}

pub(super) fn svg(chart: &Chart) -> String {
    let layout = layout(chart);
    let mut svg = head(chart, &layout);
    svg.push_str(&plot(chart, &layout));
    svg.push_str(&flags(chart, &layout));
    svg.push_str(&over_the_plot(chart, &layout));
    svg.push_str(&lanes(chart, &layout));
    svg.push_str("</svg>\n");
    svg
}

const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Ours => "ours",
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Clock => "clock",
    }
}

fn has_series(chart: &Chart) -> bool {
    chart.series.iter().any(|(_, value)| value.is_finite())
}

fn layout(chart: &Chart) -> Layout {
    let time = time_scale(chart);
    let rows = rows(chart, &time);
    let row_count = rows.iter().max().map_or(0, |row| row + 1);
    let plot_top = FLAGS_TOP + f64::from(u32::try_from(row_count).unwrap_or(0)) * FLAG_HEIGHT + 4.0;
    let plot_bottom = plot_top + if has_series(chart) { PLOT_HEIGHT } else { EMPTY_HEIGHT };
    let lanes_top = plot_bottom + 30.0;
    let bars = f64::from(u32::try_from(chart.bars.len().min(MOST_BARS)).unwrap_or(0));
    Layout { rows, plot_top, plot_bottom, lanes_top, height: lanes_top + bars * LANE_HEIGHT + 12.0, time }
}

/// From the deploy, if that is not too long ago, to where the last flag still has room beside its mark.
fn time_scale(chart: &Chart) -> TimeScale {
    /// A deploy that is this many times as long ago as all that follows would leave that no room.
    const LONGEST_BEFORE: u32 = 4;
    let first = chart.marks.first().map_or(chart.bad_window.0, |mark| mark.at);
    let second = chart.marks.get(1).map_or(first, |mark| mark.at);
    let last = chart.marks.last().map_or(chart.bad_window.1, |mark| mark.at).max(chart.bad_window.1);
    let after = last.since(second).max(Duration::from_secs(1));
    // What is older stands at the edge, and as much as comes after is enough to show how it was before.
    let start = if second.since(first) > after * LONGEST_BEFORE { second - after } else { first };
    let span = last.since(start).max(Duration::from_millis(100));
    let mut from = start - span / 40;
    // Where the series began before the deploy, a little of it shows how it was.
    if chart.series.first().is_some_and(|(at, _)| *at < from) {
        from = start - span / 12;
    }
    let budget_ends = chart.bars.iter().filter_map(|bar| bar.at_most).max().unwrap_or(last);
    let mut until = (last + span / 40).max(budget_ends.min(last + span / 2));
    for mark in &chart.marks {
        // x(mark) + its flag <= RIGHT, solved for the end of the scale.
        let room = (RIGHT - LEFT - flag_width(mark)).max(100.0);
        until = until.max(from + mark.at.since(from).mul_f64((RIGHT - LEFT) / room));
    }
    TimeScale { from, until, left: LEFT, right: RIGHT }
}

fn text_width(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * CHARACTER
}

fn flag_width(mark: &Mark) -> f64 {
    text_width(&mark.label) + 10.0
}

/// The row of each mark's flag, counted from the top. A flag stands to the right of its mark; the mark's line goes down
/// from it. So a flag that reaches beyond the next mark has to stand above that mark's flag.
fn rows(chart: &Chart, time: &TimeScale) -> Vec<usize> {
    let mut placed: Vec<(f64, usize)> = Vec::new();
    for mark in &chart.marks {
        let x = time.x(mark.at);
        let above = placed.iter().filter(|(end, _)| *end > x - 3.0).map(|(_, row)| row + 1);
        let row = above.max().unwrap_or(0);
        placed.push((x + flag_width(mark), row));
    }
    placed.into_iter().map(|(_, row)| row).collect()
}

fn text(x: f64, y: f64, class: &str, anchor: &str, content: &str) -> String {
    format!(
        "<text x=\"{}\" y=\"{}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>\n",
        place(x),
        place(y),
        xml(content)
    )
}

fn rule(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(place);
    format!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>\n")
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, attributes: &str) -> String {
    let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(place);
    format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {attributes}/>\n")
}

fn head(chart: &Chart, layout: &Layout) -> String {
    let height = place(layout.height);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"800\" height=\"{height}\" viewBox=\"0 0 800 {height}\" \
         role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n<style>{STYLE}</style>\n",
        xml(&chart.title),
        xml(&chart.description)
    );
    svg.push_str(&rectangle(0.5, 0.5, WIDTH - 1.0, layout.height - 1.0, "rx=\"8\" class=\"panel\""));
    svg.push_str(&text(20.0, 31.0, "title", "start", &line(&chart.title, 48)));
    svg.push_str(&text(RIGHT, 31.0, &format!("outcome {}", class(chart.tone)), "end", &line(&chart.outcome, 44)));
    svg.push_str(&text(20.0, 50.0, "plain", "start", &line(&chart.subtitle, 110)));
    svg
}

fn flags(chart: &Chart, layout: &Layout) -> String {
    let mut svg = String::new();
    for (mark, row) in chart.marks.iter().zip(&layout.rows) {
        let x = layout.time.x(mark.at);
        let top = FLAGS_TOP + f64::from(u32::try_from(*row).unwrap_or(0)) * FLAG_HEIGHT;
        let tone = class(mark.tone);
        if layout.time.shows(mark.at) {
            svg.push_str(&rule((x, top), (x, layout.plot_bottom), &format!("mark {tone}")));
            svg.push_str(&text(x + 5.0, top + 10.0, tone, "start", &mark.label));
        } else {
            svg.push_str(&text(x + 5.0, top + 10.0, tone, "start", &format!("‹ {}", mark.label)));
        }
    }
    svg
}

fn plot(chart: &Chart, layout: &Layout) -> String {
    let mut svg = String::new();
    let (top, bottom, time) = (layout.plot_top, layout.plot_bottom, &layout.time);
    let (from, until) = (time.x(chart.bad_window.0), time.x(chart.bad_window.1));
    svg.push_str(&rectangle(from, top, until - from, bottom - top, "class=\"window\""));
    svg.push_str(&rule((LEFT, bottom), (RIGHT, bottom), "axis"));
    for (at, label) in time.ticks() {
        let x = time.x(at);
        svg.push_str(&rule((x, bottom), (x, bottom + 4.0), "axis"));
        // Beside the panel's edge there is no room for half of a label.
        let (x, anchor) = if x > RIGHT - 14.0 { (WIDTH - 8.0, "end") } else { (x, "middle") };
        svg.push_str(&text(x, bottom + 16.0, "plain", anchor, &label));
    }
    if has_series(chart) {
        svg.push_str(&values(chart, layout));
    }
    svg
}

/// The words within the plot, over the marks' lines: the limit's, or those in place of a series.
fn over_the_plot(chart: &Chart, layout: &Layout) -> String {
    if !has_series(chart) {
        let middle = f64::midpoint(layout.plot_top, layout.plot_bottom) + 4.0;
        let words = line(&chart.without_series, 90);
        return text(f64::midpoint(LEFT, RIGHT), middle, "halo plain", "middle", &words);
    }
    let Some((limit, label)) = finite_limit(chart) else { return String::new() };
    let y = value_scale(chart, &thinned(chart, &layout.time), layout).y(limit);
    let beside = if y - layout.plot_top > 20.0 { y - 6.0 } else { y + 14.0 };
    text(RIGHT - 4.0, beside, "halo bad", "end", &line(label, 40))
}

fn finite_limit(chart: &Chart) -> Option<(f64, &str)> {
    chart.limit.as_ref().filter(|(limit, _)| limit.is_finite()).map(|(limit, label)| (*limit, label.as_str()))
}

fn value_scale(chart: &Chart, points: &[(Timestamp, f64)], layout: &Layout) -> ValueScale {
    let shown = points.iter().map(|point| point.1).filter(|value| value.is_finite());
    let limit = finite_limit(chart).map(|(limit, _)| limit);
    ValueScale::around(shown.chain(limit), layout.plot_top, layout.plot_bottom)
}

fn values(chart: &Chart, layout: &Layout) -> String {
    let (top, bottom) = (layout.plot_top, layout.plot_bottom);
    let points = thinned(chart, &layout.time);
    let scale = value_scale(chart, &points, layout);
    let mut svg = String::new();
    for (value, label) in scale.ticks(chart.unit) {
        let y = scale.y(value);
        svg.push_str(&rule((LEFT, y), (RIGHT, y), "grid"));
        svg.push_str(&text(LEFT - 7.0, y + 4.0, "plain", "end", &label));
    }
    let path = polyline(&points, &layout.time, &scale);
    svg.push_str(&format!("<path d=\"{path}\" class=\"line\"/>\n"));
    let Some((limit, _)) = finite_limit(chart) else { return svg };
    let y = scale.y(limit);
    // The part of the line that is a breach, drawn once more in its own colour.
    let (breach_top, breach_bottom) = if chart.above { (top - 2.0, y) } else { (y, bottom + 2.0) };
    let clip = rectangle(LEFT, breach_top, RIGHT - LEFT, breach_bottom - breach_top, "");
    svg.push_str(&format!("<clipPath id=\"breach\">{}</clipPath>\n", clip.trim_end()));
    svg.push_str(&format!("<path d=\"{path}\" class=\"line over\" clip-path=\"url(#breach)\"/>\n"));
    svg.push_str(&rule((LEFT, y), (RIGHT, y), "limit"));
    svg
}

/// The points within the scale; where they are too many, the worst of each of equal parts.
fn thinned(chart: &Chart, time: &TimeScale) -> Vec<(Timestamp, f64)> {
    let points: Vec<(Timestamp, f64)> = chart.series.iter().copied().filter(|(at, _)| time.shows(*at)).collect();
    let worse = |left: f64, right: f64| if chart.above { left.max(right) } else { left.min(right) };
    let part = points.len().div_ceil(MOST_POINTS).max(1);
    let parts = points.chunks(part).filter_map(|part| {
        let (at, _) = *part.first()?;
        let finite = part.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        Some((at, finite.reduce(worse).unwrap_or(f64::NAN)))
    });
    parts.collect()
}

/// The line through the points, broken where one is missing. A point with no neighbour is a dot.
fn polyline(points: &[(Timestamp, f64)], time: &TimeScale, scale: &ValueScale) -> String {
    let longest = longest_step(points);
    let mut path = String::new();
    let mut before: Option<Timestamp> = None;
    for (at, value) in points {
        if !value.is_finite() {
            before = None;
            continue;
        }
        let (x, y) = (place(time.x(*at)), place(scale.y(*value)));
        if before.is_some_and(|before| at.since(before) <= longest) {
            path.push_str(&format!("L{x} {y}"));
        } else {
            path.push_str(&format!("M{x} {y}h0"));
        }
        before = Some(*at);
    }
    path
}

/// Half as much again as the usual step from point to point: what is longer is a gap.
fn longest_step(points: &[(Timestamp, f64)]) -> Duration {
    let mut steps: Vec<Duration> = points.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or_default().mul_f64(1.5)
}

fn lanes(chart: &Chart, layout: &Layout) -> String {
    let mut svg = String::new();
    let mut top = layout.lanes_top;
    for bar in chart.bars.iter().take(MOST_BARS) {
        svg.push_str(&lane(bar, top, &layout.time));
        top += LANE_HEIGHT;
    }
    svg
}

fn lane(bar: &Bar, top: f64, time: &TimeScale) -> String {
    const BAR_HEIGHT: f64 = 15.0;
    let (from, until) = (time.x(bar.from), time.x(bar.until).max(time.x(bar.from) + 2.0));
    let mut svg = text(LEFT - 7.0, top + 11.5, "plain", "end", &line(&bar.lane, 9));
    let mut end = until;
    if let Some(at_most) = bar.at_most.filter(|at_most| *at_most > bar.until) {
        end = time.x(at_most);
        let [left, right, top] = [from, end, top].map(place);
        // Open to the right where there is more of it than the picture shows.
        let close = if time.shows(at_most) { "Z" } else { "" };
        svg.push_str(&format!("<path d=\"M{right} {top}H{left}v{BAR_HEIGHT}H{right}{close}\" class=\"room\"/>\n"));
    }
    let tone = class(bar.tone);
    svg.push_str(&rectangle(from, top, until - from, BAR_HEIGHT, &format!("rx=\"2\" class=\"bar {tone}\"")));
    if let Some(at_most) = bar.at_most.filter(|at_most| *at_most < bar.until && time.shows(*at_most)) {
        let x = time.x(at_most);
        svg.push_str(&rule((x, top), (x, top + BAR_HEIGHT), "spent"));
    }
    let label = line(&bar.label, 60);
    let width = text_width(&label) + 12.0;
    let y = top + 11.5;
    if end + width < RIGHT {
        svg.push_str(&text(end + 6.0, y, tone, "start", &label));
    } else if until + width < RIGHT {
        svg.push_str(&text(until + 6.0, y, &format!("halo {tone}"), "start", &label));
    } else {
        svg.push_str(&text(from - 6.0, y, &format!("halo {tone}"), "end", &label));
    }
    svg
}
