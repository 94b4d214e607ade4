//! Medians with their ranges, as tables and bars.

use std::{fmt::Write as _, fs, path::Path};

use crate::load::Result;

/// The same thing measured several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        match self.0.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => self.0[odd / 2],
            even => f64::midpoint(self.0[even / 2 - 1], self.0[even / 2]),
        }
    }

    /// `28 [26-31]`
    pub(crate) fn show(&self) -> String {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else {
            return "–".to_owned();
        };
        let text = |figure: f64| {
            if figure >= 100.0 {
                format!("{figure:.0}")
            } else if figure >= 10.0 {
                format!("{figure:.1}")
            } else {
                format!("{figure:.2}")
            }
        };
        if text(*least) == text(*most) {
            return text(*least);
        }
        format!("{} [{}–{}]", text(self.median()), text(*least), text(*most))
    }
}

/// A table in Markdown.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("a string takes it");
    }
    text
}

/// A bar: its name, and its two parts.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) front: f64,
    pub(crate) server: f64,
}

/// Bars one below the other, each of two parts, as SVG.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar]) -> String {
    const LINE: usize = 26;
    const LEFT: f64 = 210.0;
    const WIDTH: f64 = 420.0;
    let most = bars.iter().map(|bar| bar.front + bar.server);
    let scale = WIDTH / most.fold(f64::MIN_POSITIVE, f64::max);
    let height = 44 + LINE * bars.len();
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 720 {height}' \
         font-family='system-ui, sans-serif' font-size='13'>\n\
         <rect width='720' height='{height}' fill='#fff'/>\n\
         <text x='8' y='20' font-weight='bold'>{title}</text>\n"
    );
    for (index, bar) in bars.iter().enumerate() {
        let y = 34 + LINE * index;
        let (front, server) = (bar.front * scale, bar.server * scale);
        write!(
            svg,
            "<text x='{}' y='{}' text-anchor='end'>{}</text>\n\
             <rect x='{LEFT}' y='{y}' width='{front:.1}' height='18' fill='#1f6feb'/>\n\
             <rect x='{:.1}' y='{y}' width='{server:.1}' height='18' fill='#b6c2cf'/>\n\
             <text x='{:.1}' y='{}'>{:.0} {unit}</text>\n",
            LEFT - 8.0,
            y + 14,
            bar.name,
            LEFT + front,
            LEFT + front + server + 6.0,
            y + 14,
            bar.front + bar.server,
        )
        .expect("a string takes it");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Puts `text` between the marks of this name in a file.
pub(crate) fn replace(file: &Path, name: &str, text: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let old = fs::read_to_string(file)?;
    let missing = || format!("{}: no marks for {name}", file.display());
    let (before, rest) = old.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&end).ok_or_else(missing)?;
    Ok(fs::write(
        file,
        format!("{before}{begin}{text}{end}{after}"),
    )?)
}
