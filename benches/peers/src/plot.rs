//! Bars, drawn as SVG by hand: there is little to draw.

use std::fmt::Write as _;

use crate::statistics::figure;

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
                "<text x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
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
