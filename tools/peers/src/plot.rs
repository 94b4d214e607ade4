//! Bars and curves, drawn as SVG by hand: there is little to draw.

use std::fmt::Write as _;

use crate::statistics::{Spread, figure};

/// What one system needs.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Whose it is.
    pub name: String,
    /// The part of the gateway or proxy, drawn first.
    pub front: f64,
    /// The part of the server.
    pub server: f64,
    /// Of the sum, over all rounds.
    pub range: (f64, f64),
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 200.0;
const RIGHT: f64 = 70.0;
const TOP: f64 = 60.0;
const STEP: f64 = 30.0;
const BAR: f64 = 18.0;

/// Horizontal bars in two parts, with their ranges, beginning at zero.
pub fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.range.1.max(bar.front + bar.server));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = TOP + STEP * bars.len() as f64 + 10.0;
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' \
         viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='#fff'/>\n\
         <text x='10' y='20' font-size='15' font-weight='bold'>{}</text>\n",
        escape(title)
    );
    for (x, color, label) in [
        (10.0, FRONT, "gateway or proxy"),
        (160.0, SERVER, "XMPP server"),
    ] {
        line(
            &mut out,
            &format!(
                "<rect x='{x}' y='32' width='12' height='12' fill='{color}'/><text x='{}' y='43'>{label}</text>",
                x + 18.0
            ),
        );
    }
    for (number, bar) in bars.iter().enumerate() {
        let y = TOP + STEP * number as f64;
        let (front, server) = (bar.front * scale, bar.server * scale);
        let middle = y + BAR / 2.0;
        line(
            &mut out,
            &format!(
                "<text x='{:.1}' y='{:.1}' text-anchor='end' font-size='11'>{}</text>",
                LEFT - 8.0,
                middle + 4.5,
                escape(&bar.name)
            ),
        );
        for (x, width, color) in [(LEFT, front, FRONT), (LEFT + front, server, SERVER)] {
            line(
                &mut out,
                &format!(
                    "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{BAR}' fill='{color}'/>"
                ),
            );
        }
        let (least, most) = (LEFT + bar.range.0 * scale, LEFT + bar.range.1 * scale);
        line(
            &mut out,
            &format!(
                "<path d='M{least:.1} {:.1}v8m0 -4H{most:.1}m0 -4v8' stroke='#222' fill='none'/>",
                middle - 4.0
            ),
        );
        line(
            &mut out,
            &format!(
                "<text x='{:.1}' y='{:.1}'>{}</text>",
                most.max(LEFT + front + server) + 6.0,
                middle + 4.5,
                figure(bar.front + bar.server)
            ),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// A curve, both axes logarithmic, from these points and the ranges around them.
pub fn curve(title: &str, label: &str, points: &[(usize, Spread)]) -> String {
    const HEIGHT: f64 = 320.0;
    const AXIS: f64 = 60.0;
    let values = points.iter().flat_map(|(_, cost)| [cost.least, cost.most]);
    let lowest = values.clone().fold(f64::MAX, f64::min).max(0.01);
    let highest = values.fold(lowest, f64::max);
    let (first, last) = match points {
        [(first, _), .., (last, _)] => (*first as f64, *last as f64),
        _ => (1.0, 10.0),
    };
    let decades = |value: f64, from: f64, to: f64| (value / from).log10() / (to / from).log10();
    // At least two decades, or noise looks like a slope.
    let (bottom, top) = (lowest / 2.0, (highest * 2.0).max(lowest * 50.0));
    let x = |value: f64| AXIS + decades(value, first, last) * (WIDTH - AXIS - 40.0);
    let y = |value: f64| HEIGHT - AXIS - decades(value, bottom, top) * (HEIGHT - AXIS - TOP + 20.0);
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' \
         viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='#fff'/>\n\
         <text x='10' y='20' font-size='15' font-weight='bold'>{}</text>\n\
         <text x='{}' y='{}' text-anchor='middle'>{}</text>\n",
        escape(title),
        WIDTH / 2.0,
        HEIGHT - 12.0,
        escape(label),
    );
    let mut way = String::new();
    for (size, cost) in points {
        let (at, middle) = (x(*size as f64), y(cost.median));
        let (least, most) = (y(cost.least.max(0.01)), y(cost.most));
        way.push_str(&format!(
            "{}{at:.1} {middle:.1}",
            if way.is_empty() { "M" } else { "L" }
        ));
        line(
            &mut out,
            &format!(
                "<path d='M{at:.1} {least:.1}V{most:.1}' stroke='#222'/>\
                 <circle cx='{at:.1}' cy='{middle:.1}' r='4' fill='{FRONT}'/>\
                 <text x='{at:.1}' y='{:.1}' text-anchor='middle'>{}</text>\
                 <text x='{at:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
                most - 8.0,
                figure(cost.median),
                HEIGHT - AXIS + 22.0,
                figure(*size as f64).trim_end_matches(".00"),
            ),
        );
    }
    line(
        &mut out,
        &format!(
            "<path d='{way}' stroke='{FRONT}' fill='none'/>\
             <path d='M{AXIS} {:.1}H{WIDTH}' stroke='#ccc'/>",
            HEIGHT - AXIS + 4.0
        ),
    );
    out.push_str("</svg>\n");
    out
}

const FRONT: &str = "#0b6e99";
const SERVER: &str = "#c9ced6";

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes it");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let bar = |name: &str, front, server| Bar {
            name: name.to_owned(),
            front,
            server,
            range: (front + server, front + server),
        };
        let svg = bars("a < b", &[bar("x & y", 50.0, 50.0), bar("z", 0.0, 25.0)]);
        let full = WIDTH - LEFT - RIGHT;
        assert!(
            svg.contains("a &lt; b") && svg.contains("x &amp; y"),
            "{svg}"
        );
        assert_eq!(
            svg.matches(&format!("width='{:.1}'", full / 2.0)).count(),
            2,
            "{svg}"
        );
        assert_eq!(
            svg.matches(&format!("width='{:.1}'", full / 4.0)).count(),
            1,
            "{svg}"
        );
    }
}
