//! The samples as a picture: one small chart for each, above each other.

use std::fmt::Write as _;

use crate::sample::Sample;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 120.0;
const CHART_HEIGHT: f64 = 90.0;
const GAP: f64 = 44.0;

type Chart = (&'static str, fn(&Sample) -> f64);

const MEBIBYTE: f64 = 1024.0 * 1024.0;

const CHARTS: [Chart; 7] = [
    ("resident memory, MiB", |sample| sample.resident_bytes / MEBIBYTE),
    ("file descriptors", |sample| sample.descriptors),
    ("threads", |sample| sample.threads),
    ("journal, MiB", |sample| sample.journal_bytes / MEBIBYTE),
    ("open watches", |sample| sample.watches_open),
    ("evaluations missed, percent of those due", |sample| 100.0 * sample.missed / sample.due.max(1.0)),
    ("processor time, seconds", |sample| sample.processor_seconds),
];

/// An SVG of all charts. Each begins at zero: what is flat looks flat.
pub(crate) fn svg(samples: &[Sample]) -> String {
    let height = CHARTS.iter().fold(GAP, |height, _| height + CHART_HEIGHT + GAP);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 20.0
    );
    let end = samples.last().map_or(1.0, |last| last.at.as_secs_f64()).max(1.0);
    let mut top = GAP;
    for (name, value) in CHARTS {
        chart(&mut text, samples, (name, value), top, end);
        top += CHART_HEIGHT + GAP;
    }
    text + "</svg>\n"
}

fn chart(text: &mut String, samples: &[Sample], (name, value): Chart, top: f64, end: f64) {
    let most = samples.iter().map(value).fold(0.0, f64::max);
    let scale = if most > 0.0 { most } else { 1.0 };
    let bottom = top + CHART_HEIGHT;
    let points: Vec<String> = samples
        .iter()
        .map(|sample| {
            let x = LEFT + WIDTH * sample.at.as_secs_f64() / end;
            format!("{x:.1},{:.1}", bottom - CHART_HEIGHT * value(sample) / scale)
        })
        .collect();
    let _ = write!(
        text,
        "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{name}</text>\n\
         <path d=\"M{LEFT},{top} V{bottom} H{:.1}\" fill=\"none\" stroke=\"#999\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{most:.1}</text>\n\
         <text x=\"{:.1}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{:.0} min</text>\n\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"1.5\"/>\n",
        top - 8.0,
        LEFT + WIDTH,
        LEFT - 8.0,
        top + 10.0,
        LEFT - 8.0,
        LEFT + WIDTH,
        bottom + 16.0,
        end / 60.0,
        points.join(" "),
    );
}
