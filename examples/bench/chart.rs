//! A picture of what grows with the number of services: one line per measure, both axes logarithmic.

use std::fmt::Write as _;

/// One line: its name, its colour, its points.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) colour: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;

/// The picture as SVG. Axes run over whole powers of ten.
pub(crate) fn draw(title: &str, x_name: &str, lines: &[Line]) -> String {
    let xs = || lines.iter().flat_map(|line| &line.points).map(|point| point.0);
    let ys = || lines.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|value| *value > 0.0);
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) =
            values.fold((f64::MAX, f64::MIN_POSITIVE), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        (low, if high > low { high } else { low + 1.0 })
    };
    let ((left, right), (low, high)) = (span(&mut xs()), span(&mut ys()));
    let x = |value: f64| MARGIN + (value.log10() - left) / (right - left) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - (value.log10() - low) / (high - low) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n<text x=\"{MARGIN}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    let powers = |from: f64, to: f64| {
        std::iter::successors(Some(from), |power| Some(power + 1.0)).take_while(move |power| *power <= to)
    };
    for power in powers(left, right) {
        let at = x(10_f64.powf(power));
        let _ = writeln!(svg, "<path d=\"M{at:.1} {MARGIN}V{:.1}\" stroke=\"#ddd\"/>", HEIGHT - MARGIN);
        svg += &text(at, HEIGHT - MARGIN + 16.0, "middle", &10_f64.powf(power).to_string());
    }
    for power in powers(low, high) {
        let at = y(10_f64.powf(power));
        let _ = writeln!(svg, "<path d=\"M{MARGIN} {at:.1}H{:.1}\" stroke=\"#ddd\"/>", WIDTH - MARGIN);
        svg += &text(MARGIN - 6.0, at + 4.0, "end", &10_f64.powf(power).to_string());
    }
    svg += &text(WIDTH / 2.0, HEIGHT - 14.0, "middle", x_name);
    for (line, number) in lines.iter().zip(0_u8..) {
        let points: Vec<String> = line
            .points
            .iter()
            .filter(|point| point.1 > 0.0)
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let (colour, legend) = (line.colour, MARGIN + 14.0 * f64::from(number) - 16.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        );
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{legend:.1}\" fill=\"{colour}\">{}</text>", WIDTH - 230.0, line.name);
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n")
}
