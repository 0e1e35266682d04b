//! The page of a backtest: one file with its charts in it, without scripts, for a light and a dark screen.
//!
//! Never holds a text that is not escaped, nor anything that is fetched from elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use rollbackd_core::receipt::text::{took, xml};
use rollbackd_core::time::Timestamp;

use super::Backtest;
use super::outcome::{DeployOutcome, FiringOutcome, Outcome, ServiceOutcome, TriggerOutcome};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--paper:#fff;--bad:#b3261e;--good:#1a7f37;\
--ours:#0b63ce;--shade:#f3d9d7}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--paper:#0d1117;--bad:#ff8078;\
--good:#4cc267;--ours:#6cb0ff;--shade:#4a2523}}\
body{margin:2rem auto;max-width:70rem;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);\
background:var(--paper)}\
h1{font-size:1.6rem;margin:0}h2{margin:2.5rem 0 .5rem;border-bottom:1px solid var(--line)}h3{margin:1.5rem 0 .5rem}\
p{color:var(--soft);margin:.3rem 0}.wide{overflow-x:auto;margin:.8rem 0}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}\
th{color:var(--soft);font-weight:600;font-size:.85rem}.bad{color:var(--bad)}.good{color:var(--good)}\
.own{font-weight:600}figure{margin:1rem 0}figure svg,.strip{width:100%;height:auto}\
.strip text{font:12px system-ui,sans-serif;fill:var(--soft)}.axis{stroke:var(--line)}.incident{fill:var(--shade)}\
.ok{fill:var(--good)}.fired{fill:var(--bad)}.none{fill:none;stroke:var(--soft)}\
.bar{fill:var(--ours)}.bar.own{fill:var(--bad)}";

/// The page.
#[must_use]
pub fn page(found: &Backtest) -> String {
    let mut body = String::new();
    let own = &found.own;
    let _ = write!(
        body,
        "<h1>Backtest of {}</h1>\n<p>From {} to {}. Each deploy was replayed with the daemon's own code over what \
         Prometheus recorded.</p>\n",
        xml(&own.config),
        own.since,
        own.until
    );
    for service in &own.services {
        body.push_str(&section(service, own));
        if let Some(other) = &found.against {
            body.push_str(&beside(service, own, other));
        }
    }
    for note in own.notes.iter().chain(found.against.iter().flat_map(|other| &other.notes)) {
        let _ = writeln!(body, "<p>Note: {}</p>", xml(note));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>rollbackd backtest</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn section(service: &ServiceOutcome, of: &Outcome) -> String {
    let mut text = format!("<h2>{}</h2>\n", xml(service.service.as_str()));
    let fired = service.deploys.iter().filter(|deploy| !deploy.fired.is_empty()).count();
    let _ = writeln!(text, "<p>{} deploys; triggers would have fired on {fired}.</p>", service.deploys.len());
    text.push_str(&strip(service, of));
    text.push_str(&trigger_table(service));
    if let Some(incidents) = &service.incidents {
        let rows = incidents.iter().map(|incident| {
            let names: Vec<&str> = incident.fired.iter().map(|name| name.as_str()).collect();
            let fired = if names.is_empty() { bad("nothing") } else { xml(&names.join(", ")) };
            let note = xml(incident.note.as_deref().unwrap_or_default());
            vec![incident.from.to_string(), incident.to.to_string(), fired, note]
        });
        text.push_str("<h3>Incidents</h3>\n");
        text.push_str(&table(&["From", "To", "Fired in it", "Note"], rows));
    }
    for trigger in service.triggers.iter().filter(|trigger| trigger.replayed) {
        let _ = writeln!(text, "<h3>{}</h3>", xml(trigger.trigger.as_str()));
        text.push_str(&sweep_table(trigger));
        text.push_str(&firing_table(trigger));
        for firing in &trigger.firings {
            let _ = writeln!(text, "<figure>{}</figure>", firing.chart.svg());
        }
    }
    text
}

/// All deploys on one line of time, and the incidents behind them.
fn strip(service: &ServiceOutcome, of: &Outcome) -> String {
    const WIDTH: f64 = 1000.0;
    let span = of.until.since(of.since).as_secs_f64().max(1.0);
    let place = |at: Timestamp| 10.0 + at.since(of.since).as_secs_f64() / span * (WIDTH - 20.0);
    let mut text =
        format!("<svg class=\"strip\" viewBox=\"0 0 {WIDTH} 70\" role=\"img\" aria-label=\"deploys over time\">\n");
    for incident in service.incidents.iter().flatten() {
        let (from, to) = (place(incident.from), place(incident.to));
        let _ = writeln!(
            text,
            "<rect class=\"incident\" x=\"{from:.1}\" y=\"5\" width=\"{:.1}\" height=\"40\"><title>{}</title></rect>",
            (to - from).max(3.0),
            xml(incident.note.as_deref().unwrap_or("incident"))
        );
    }
    let _ = writeln!(text, "<line class=\"axis\" x1=\"10\" y1=\"25\" x2=\"{}\" y2=\"25\"/>", WIDTH - 10.0);
    for deploy in &service.deploys {
        let _ = writeln!(
            text,
            "<circle class=\"{}\" cx=\"{:.1}\" cy=\"25\" r=\"5\"><title>{}</title></circle>",
            class(deploy),
            place(deploy.at),
            xml(&told(deploy))
        );
    }
    let day = |at: Timestamp| at.to_string().chars().take(10).collect::<String>();
    let _ = writeln!(text, "<text x=\"10\" y=\"62\">{}</text>", day(of.since));
    let _ = writeln!(text, "<text x=\"{}\" y=\"62\" text-anchor=\"end\">{}</text>", WIDTH - 10.0, day(of.until));
    text.push_str("<text x=\"500\" y=\"62\" text-anchor=\"middle\">");
    text.push_str("red: a trigger would have fired; hollow: not watched (a return to a version)</text>\n</svg>\n");
    text
}

fn class(deploy: &DeployOutcome) -> &'static str {
    match (deploy.watched, deploy.fired.is_empty()) {
        (false, _) => "none",
        (true, true) => "ok",
        (true, false) => "fired",
    }
}

fn told(deploy: &DeployOutcome) -> String {
    let fired: Vec<&str> = deploy.fired.iter().map(|name| name.as_str()).collect();
    let fired = if fired.is_empty() { String::new() } else { format!(": {}", fired.join(", ")) };
    format!("{} at {}{fired}", deploy.version, deploy.at)
}

fn trigger_table(service: &ServiceOutcome) -> String {
    let rows = service.triggers.iter().map(|trigger| {
        let mut row = vec![xml(trigger.trigger.as_str()), trigger.action.to_owned(), xml(&trigger.condition)];
        if trigger.replayed {
            let fired = trigger.firings.len();
            row.push(if fired == 0 { "0".to_owned() } else { bad(&fired.to_string()) });
            row.push(trigger.outside_incidents.map_or_else(|| "-".to_owned(), |count| count.to_string()));
            row.push(trigger.disarmed.to_string());
            row.push(seconds(trigger.watched_seconds));
            row.push(seconds(trigger.blind_seconds));
            row.push(seconds(trigger.low_traffic_seconds));
        } else {
            row.push("not replayed".to_owned());
        }
        row
    });
    let columns = [
        "Trigger",
        "Action",
        "Condition",
        "Fired",
        "Outside incidents",
        "Disarmed",
        "Watched",
        "Blind",
        "Too little traffic",
    ];
    table(&columns, rows)
}

/// The limits around its own, with a bar for how often each would have fired.
fn sweep_table(trigger: &TriggerOutcome) -> String {
    if trigger.sweep.is_empty() {
        return String::new();
    }
    let most = trigger.sweep.iter().map(|swept| swept.fired).max().unwrap_or(0).max(1);
    let rows = trigger.sweep.iter().map(|swept| {
        let own = if swept.is_own { " own" } else { "" };
        let width = swept.fired * 200 / most;
        let bar = format!(
            "<svg width=\"210\" height=\"12\" role=\"img\" aria-label=\"{} firings\">\
             <rect class=\"bar{own}\" width=\"{width}\" height=\"12\"/></svg> {}",
            swept.fired, swept.fired
        );
        let count = |count: Option<usize>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let limit = format!("<span class=\"{}\">{}</span>", own.trim(), xml(&swept.limit));
        let after = swept.median_after_seconds.map_or_else(|| "-".to_owned(), seconds);
        vec![limit, bar, after, count(swept.outside_incidents), count(swept.missed_incidents)]
    });
    table(
        &["Alone, with this limit", "Fired", "Median after the deploy", "Outside incidents", "Incidents missed"],
        rows,
    )
}

fn firing_table(trigger: &TriggerOutcome) -> String {
    if trigger.firings.is_empty() {
        return "<p>It would have fired on no deploy.</p>\n".to_owned();
    }
    let rows = trigger.firings.iter().map(|firing| {
        let still = if firing.still_breaching { " and on" } else { "" };
        vec![
            xml(firing.version.as_str()),
            firing.deployed_at.to_string(),
            seconds(firing.after_seconds),
            shown(firing, firing.value),
            shown(firing, firing.limit),
            format!("{}{still}", seconds(firing.lasted_seconds)),
            match firing.in_incident {
                None => "-".to_owned(),
                Some(true) => "<span class=\"good\">yes</span>".to_owned(),
                Some(false) => bad("no"),
            },
            xml(&firing.would),
        ]
    });
    table(&["Version", "Deployed", "Fired after", "Value", "Limit", "Breach lasted", "In an incident", "Would"], rows)
}

/// Two lists side by side.
fn beside(service: &ServiceOutcome, own: &Outcome, other: &Outcome) -> String {
    let Some(of_other) = other.services.iter().find(|each| each.service == service.service) else {
        return String::new();
    };
    let differing = service.deploys.iter().zip(&of_other.deploys).filter(|(left, right)| left.fired != right.fired);
    let rows = differing.map(|(left, right)| {
        let names = |deploy: &DeployOutcome| {
            let names: Vec<&str> = deploy.fired.iter().map(|name| name.as_str()).collect();
            if names.is_empty() { "nothing".to_owned() } else { xml(&names.join(", ")) }
        };
        vec![xml(left.version.as_str()), left.at.to_string(), names(left), names(right)]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return format!("<h3>Against {}</h3>\n<p>The same deploys.</p>\n", xml(&other.config));
    }
    let (own, other) = (xml(&own.config), xml(&other.config));
    let columns = ["Version", "Deployed", own.as_str(), other.as_str()];
    format!("<h3>Against {other}: different on</h3>\n{}", table(&columns, rows.into_iter()))
}

/// A table of cells that are escaped already.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heading: String = columns.iter().map(|column| format!("<th>{column}</th>")).collect();
    let mut text = format!("<div class=\"wide\"><table>\n<tr>{heading}</tr>\n");
    for row in rows {
        let cells = row.iter().map(String::as_str).chain(std::iter::repeat("")).take(columns.len());
        let cells: String = cells.map(|cell| format!("<td>{cell}</td>")).collect();
        let _ = writeln!(text, "<tr>{cells}</tr>");
    }
    text + "</table></div>\n"
}

fn bad(text: &str) -> String {
    format!("<span class=\"bad\">{}</span>", xml(text))
}

/// A time as receipts show it.
pub(crate) fn seconds(seconds: f64) -> String {
    took(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn shown(firing: &FiringOutcome, value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| xml(&firing.unit.show(value)))
}
