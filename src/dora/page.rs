//! The figures as one page of HTML that needs nothing else: no script, no font, no request.
//!
//! Never writes a text that is not escaped; the same figures give the same bytes.

use std::fmt::Write as _;
use std::time::Duration;

use rollbackd_core::receipt::{text::xml, took};

use super::{Class, DEFINITIONS, Figures, Report, Week};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 40.0;
const TOP: f64 = 14.0;
const PLOT_HEIGHT: f64 = 140.0;
/// Room under the plot for the dates.
const FOOT: f64 = 26.0;
/// A bar is no wider, however few weeks there are.
const WIDEST_BAR: f64 = 44.0;
/// A date takes about this much room.
const DATE_WIDTH: f64 = 70.0;
const ROW_HEIGHT: f64 = 22.0;
/// Where the bars of the distribution begin.
const CLASS_LEFT: f64 = 130.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--paper:#fff;--line:#d1d9e0;--good:#0969da;--bad:#cf222e}\
@media(prefers-color-scheme:dark){:root{--ink:#f0f6fc;--soft:#9198a1;--paper:#0d1117;--line:#3d444d;--good:#4493f8;\
--bad:#f85149}}\
body{font:15px/1.5 ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;\
color:var(--ink);background:var(--paper);max-width:800px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.2rem;border-top:1px solid var(--line);padding-top:1rem;margin-top:2rem}\
p,dd,caption,.soft{color:var(--soft)}dt{font-weight:600}dd{margin:0 0 .6rem}\
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:.8rem;margin:1rem 0}\
.figure{border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}\
.figure b{display:block;font-size:1.35rem}.figure span{font-size:.8rem;color:var(--soft);display:block}\
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}\
.axis{stroke:var(--line)}.good{fill:var(--good)}.bad{fill:var(--bad)}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left}\
th,td{text-align:right;padding:.2rem .5rem;border-bottom:1px solid var(--line)}\
th:first-child,td:first-child{text-align:left}";

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">\n\
         <title>Software delivery, {since} to {until}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Software delivery</h1>\n<p>From {since} to {until}, UTC, out of the journal of rollbackd. Rehearsals and \
         dry runs do not count.</p>\n",
        since = day(&report.since.to_string()),
        until = day(&report.until.to_string()),
    );
    if report.services.is_empty() {
        page.push_str("<p>No deploy is known.</p>\n");
    }
    report.services.iter().for_each(|figures| page.push_str(&service(figures)));
    page.push_str("<h2>What the figures mean</h2>\n<dl>\n");
    for (name, meaning) in DEFINITIONS {
        let _ = writeln!(page, "<dt>{}</dt><dd>{}</dd>", xml(name), xml(meaning));
    }
    page.push_str(
        "</dl>\n<p>Definitions: DORA, <a href=\"https://dora.dev/guides/dora-metrics/\">dora.dev</a>. Each figure is \
         of one service: services differ in what they are, and so do their figures.</p>\n</body>\n</html>\n",
    );
    page
}

fn day(instant: &str) -> &str {
    instant.get(..10).unwrap_or(instant)
}

fn service(figures: &Figures) -> String {
    let name = xml(figures.service.as_str());
    let recovery = &figures.recovery;
    let median = recovery.median().map_or("none known".to_owned(), took);
    let p90 = recovery.p90().map_or(String::new(), |p90| format!("90th percentile {}; ", took(p90)));
    let not_known = if recovery.unknown > 0 { format!(", {} not known", recovery.unknown) } else { String::new() };
    let mut text = format!(
        "<section>\n<h2>{name}</h2>\n<p>Deploys are known since {}.{}</p>\n<div class=\"figures\">\n",
        day(&figures.known_since.to_string()),
        left_out(figures.left_out)
    );
    text.push_str(&figure(
        &format!("{:.1} a week", figures.per_week),
        "deployment frequency",
        &plural(figures.deployments, "deploy"),
    ));
    text.push_str(&figure(
        &percent(figures.change_fail_rate),
        "change fail rate",
        &format!("{} of {}", figures.failed, figures.deployments),
    ));
    text.push_str(&figure(
        &median,
        "failed deployment recovery time, median",
        &format!("{p90}{} known{not_known}", recovery.count),
    ));
    text.push_str(&figure(
        &percent(figures.rework_rate),
        "deployment rework rate",
        &format!("{}, {}", plural(figures.rollbacks, "rollback"), plural(figures.fixes, "fix")),
    ));
    text.push_str("</div>\n");
    text.push_str(&bars(&figures.weeks));
    if recovery.count > 0 {
        text.push_str(&distribution(&recovery.distribution));
    }
    text.push_str(&table(&figures.weeks));
    text.push_str("</section>\n");
    text
}

fn left_out(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" Left out: {} of rehearsals and dry runs.", plural(count, "deploy"))
    }
}

fn figure(value: &str, name: &str, of: &str) -> String {
    format!("<div class=\"figure\"><b>{}</b>{}<span>{}</span></div>\n", xml(value), xml(name), xml(of))
}

/// A share as a percentage; a dash where there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// A count and its noun.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    match (count, noun) {
        (1, _) => format!("1 {noun}"),
        (_, "fix") => format!("{count} fixes"),
        (_, _) => format!("{count} {noun}s"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of deploys")]
const fn number(count: usize) -> f64 {
    count as f64
}

/// One bar a week: the deploys, those that failed at its foot.
fn bars(weeks: &[Week]) -> String {
    let most = weeks.iter().map(|week| week.deployments).max().unwrap_or(0).max(1);
    let slot = (WIDTH - LEFT) / number(weeks.len().max(1));
    let bar = (slot * 0.7).min(WIDEST_BAR);
    let height = |count: usize| PLOT_HEIGHT * number(count) / number(most);
    let bottom = TOP + PLOT_HEIGHT;
    let failed: usize = weeks.iter().map(|week| week.failed).sum();
    let all: usize = weeks.iter().map(|week| week.deployments).sum();
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"Deploys a week: {all} in {}, {failed} of them \
         failed\">\n<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{WIDTH}\" y2=\"{bottom}\"/>\n\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{TOP}\" x2=\"{WIDTH}\" y2=\"{TOP}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{most}</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">0</text>\n",
        bottom + FOOT,
        plural(weeks.len(), "week"),
        LEFT - 6.0,
        TOP + 4.0,
        LEFT - 6.0,
        bottom + 4.0,
    );
    let every = number_of_slots(slot);
    for (index, week) in weeks.iter().enumerate() {
        let middle = LEFT + slot * (number(index) + 0.5);
        let left = middle - bar / 2.0;
        let mut rectangle = |class: &str, count: usize, foot: f64| {
            if count > 0 {
                let _ = writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{:.1}\"><title>\
                     Week of {}: {} of {} failed</title></rect>",
                    foot - height(count),
                    height(count),
                    xml(&week.week_of),
                    week.failed,
                    plural(week.deployments, "deploy"),
                );
            }
        };
        rectangle("bad", week.failed, bottom);
        rectangle("good", week.deployments.saturating_sub(week.failed), bottom - height(week.failed));
        if index % every == 0 && middle + DATE_WIDTH / 2.0 <= WIDTH {
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                xml(&week.week_of)
            );
        }
    }
    svg.push_str("</svg>\n<p class=\"soft\">Deploys a week; red: those that failed.</p>\n");
    svg
}

/// Each how many slots a date has room.
fn number_of_slots(slot: f64) -> usize {
    (1..=200).find(|count| number(*count) * slot >= DATE_WIDTH).unwrap_or(200)
}

fn distribution(classes: &[Class]) -> String {
    let most = classes.iter().map(|class| class.count).max().unwrap_or(0).max(1);
    let height = ROW_HEIGHT * number(classes.len());
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"How long recoveries took\">\n");
    for (index, class) in classes.iter().enumerate() {
        let top = ROW_HEIGHT * number(index);
        let width = (WIDTH - CLASS_LEFT - 40.0) * number(class.count) / number(most);
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><rect class=\"good\" x=\"{CLASS_LEFT}\" \
             y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            CLASS_LEFT - 8.0,
            top + 15.0,
            xml(class.took),
            top + 4.0,
            ROW_HEIGHT - 8.0,
            CLASS_LEFT + width + 6.0,
            top + 15.0,
            class.count,
        );
    }
    svg.push_str("</svg>\n<p class=\"soft\">How long recoveries took.</p>\n");
    svg
}

fn table(weeks: &[Week]) -> String {
    let mut text = String::from(
        "<table>\n<caption>Week by week; weeks begin on Monday</caption>\n<tr><th>week of</th><th>deploys</th>\
         <th>failed</th><th>rollbacks</th><th>fixes</th><th>median recovery</th></tr>\n",
    );
    for week in weeks.iter().rev() {
        let recovery = week.median_recovery_seconds.map_or("-".to_owned(), |it| took(Duration::from_secs_f64(it)));
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            xml(&week.week_of),
            week.deployments,
            week.failed,
            week.rollbacks,
            week.fixes,
            xml(&recovery)
        );
    }
    text.push_str("</table>\n");
    text
}
