//! Tables, and the document that they are put into.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    aims,
    crowd::{Memory, Refresh},
    giant::Step,
    growth::Curve,
    plot::{Bar, bars, curve},
    session::Style,
    several::Several,
    statistics::{Spread, figure},
    systems::Kind,
    work::{Sample, Work},
};

/// What a table is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topic {
    /// For files.
    pub name: String,
    /// For people.
    pub title: String,
}

impl From<Work> for Topic {
    fn from(work: Work) -> Self {
        let (name, title) = (work.name(), work.title());
        Self { name, title }
    }
}

impl From<(Refresh, Style)> for Topic {
    fn from((case, style): (Refresh, Style)) -> Self {
        let (name, title) = match case {
            Refresh::Offline => ("offline", "nobody online"),
            Refresh::Unchanged => ("unchanged", "all online, nothing changed"),
            Refresh::Changed => ("changed", "all online, one contact of each changed"),
        };
        let mut topic = Self {
            name: format!("refresh-{name}"),
            title: format!("Refresh of a user, {title}"),
        };
        // Who is offline has no front.
        if case != Refresh::Offline {
            topic.name = format!("refresh-{}-{name}", style.front());
            topic.title = format!("{}, {}", topic.title, style.front_title());
        }
        topic
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Results {
    subjects: Vec<Subject>,
    memory: BTreeMap<Style, BTreeMap<Kind, Vec<Memory>>>,
    /// The same work while thousands are idle: how many.
    crowded: BTreeMap<Style, Vec<(Topic, Kind, usize, Sample)>>,
    curves: Vec<Curve>,
    giants: Vec<Step>,
    several: Several,
    failures: Vec<String>,
}

/// One table.
#[derive(Debug)]
struct Subject {
    topic: Topic,
    samples: BTreeMap<Kind, Vec<Sample>>,
    /// The same at half the pace.
    paced: BTreeMap<Kind, Vec<Sample>>,
}

/// Of a system.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// What faces the clients, if it is not the server.
    Front,
    /// Front and server.
    All,
}

/// One system's share of a table, from all rounds.
struct Row {
    total: Spread,
    front: Option<Spread>,
    server: Spread,
    load: Spread,
    requests: Spread,
    rate: Spread,
}

impl Results {
    /// Adds what one round gave.
    pub fn add(&mut self, topic: impl Into<Topic>, kind: Kind, sample: Sample) {
        let subject = self.subject(topic.into());
        subject.samples.entry(kind).or_default().push(sample);
    }

    /// Adds what a round at half of saturation gave.
    pub fn add_paced(&mut self, topic: impl Into<Topic>, kind: Kind, sample: Sample) {
        let subject = self.subject(topic.into());
        subject.paced.entry(kind).or_default().push(sample);
    }

    /// Adds what idle sessions take.
    pub fn add_memory(&mut self, style: Style, kind: Kind, memory: Vec<Memory>) {
        self.memory.entry(style).or_default().insert(kind, memory);
    }

    /// Adds what was done at half of saturation, beside so many idle sessions of this style.
    pub fn add_crowded(
        &mut self,
        style: Style,
        topic: impl Into<Topic>,
        kind: Kind,
        sessions: usize,
        sample: Sample,
    ) {
        let crowded = self.crowded.entry(style).or_default();
        crowded.push((topic.into(), kind, sessions, sample));
    }

    /// Adds how something grows.
    pub fn add_curve(&mut self, curve: Curve) {
        self.curves.push(curve);
    }

    /// Adds what a user with many contacts cost.
    pub fn add_giant(&mut self, steps: Vec<Step>) {
        self.giants.extend(steps);
    }

    /// Adds what several gateways cost that are one.
    pub fn add_several(&mut self, several: Several) {
        self.several = several;
    }

    /// The same again.
    pub(crate) fn several(&self) -> &Several {
        &self.several
    }

    /// Adds what could not be measured, and why.
    pub fn add_failure(&mut self, failure: String) {
        self.failures.push(failure);
    }

    /// Operations in a second at saturation, so far.
    pub fn rate(&self, topic: impl Into<Topic>, kind: Kind) -> Option<f64> {
        let topic = topic.into();
        let mut subjects = self.subjects.iter();
        let samples = &subjects.find(|subject| subject.topic == topic)?.samples;
        let rates = samples.get(&kind)?.iter().map(|sample| sample.rate);
        Some(Spread::of(rates)?.median)
    }

    /// CPU time of an operation at saturation so far, microseconds.
    pub(crate) fn micros(&self, topic: impl Into<Topic>, kind: Kind, part: Part) -> Option<f64> {
        let topic = topic.into();
        let mut subjects = self.subjects.iter();
        let subject = subjects.find(|subject| subject.topic == topic)?;
        let row = Row::of(subject.samples.get(&kind)?)?;
        let spread = match part {
            Part::Front => row.front?,
            Part::All => row.total,
        };
        Some(spread.median)
    }

    /// What an idle session takes of the front, KB, where there are most of them.
    pub(crate) fn idle_kilobytes(&self, style: Style, kind: Kind) -> Option<f64> {
        let memory = self.memory.get(&style)?.get(&kind)?.last()?;
        Some(memory.bytes.first()? / 1024.0)
    }

    fn subject(&mut self, topic: Topic) -> &mut Subject {
        let mut known = self.subjects.iter();
        let at = known
            .position(|subject| subject.topic == topic)
            .unwrap_or(self.subjects.len());
        if at == self.subjects.len() {
            self.subjects.push(Subject {
                topic,
                samples: BTreeMap::new(),
                paced: BTreeMap::new(),
            });
        }
        &mut self.subjects[at]
    }

    /// The tables, in Markdown.
    pub fn tables(&self) -> String {
        let tables = self.subjects.iter().map(Subject::table);
        let mut out = aims::tables(self);
        out.extend(tables);
        out.push_str(&self.memory_tables());
        out.push_str(&self.crowded_tables());
        out.push_str(&self.growth_tables());
        out.push_str(&self.several.tables());
        if !self.failures.is_empty() {
            out.push_str("\nNot measured:\n\n");
        }
        for failure in &self.failures {
            // An answer can be long, and is no Markdown.
            let short: String = failure.chars().take(200).collect();
            out.push_str(&format!("- `{}`\n", short.replace(['`', '\n'], " ")));
        }
        out
    }

    fn memory_tables(&self) -> String {
        let mut out = String::new();
        for (style, systems) in &self.memory {
            let by = style.front_title();
            let open = if style.is_websocket() {
                "stream management"
            } else {
                "a poll out"
            };
            out.push_str(&format!(
                "### Idle sessions, {by}\n\nResident memory, KB a session, beyond what the process had \
                 before; front / server. All have got their rosters, are available, and have {open}.\n\n\
                 | system | sessions | front | server |\n|---|---|---|---|\n"
            ));
            for (kind, memories) in systems {
                out.extend(memories.iter().map(|memory| memory_row(*kind, memory)));
            }
            out.push('\n');
        }
        out
    }

    fn crowded_tables(&self) -> String {
        let mut out = String::new();
        for (style, crowded) in &self.crowded {
            out.push_str(&format!(
                "### Beside idle sessions, {}\n\nAt half of what was reached without them.\n\n\
                 | work | system | idle sessions | in all, µs | op/s | p50 / p99 / p99.9 ms |\n\
                 |---|---|---|---|---|---|\n",
                style.front_title()
            ));
            let mut rows: Vec<_> = crowded.iter().collect();
            let order = |topic: &Topic| crowded.iter().position(|(other, ..)| other == topic);
            rows.sort_by_key(|(topic, kind, ..)| (order(topic), *kind));
            for (topic, kind, sessions, sample) in rows {
                let micros = sample.cpu.iter().map(|cpu| cpu.as_secs_f64() * 1e6);
                out.push_str(&format!(
                    "| {} | {} | {} | {} | {} | {} |\n",
                    topic.title,
                    kind.name(),
                    figure(*sessions as f64),
                    figure(micros.sum()),
                    figure(sample.rate),
                    latencies(std::slice::from_ref(sample)),
                ));
            }
            out.push('\n');
        }
        out
    }

    fn growth_tables(&self) -> String {
        let mut out = String::new();
        for Curve { growth, points } in &self.curves {
            let (what, label) = growth.title();
            let name = growth.name();
            let sizes = points.iter().map(|(size, _)| format!(" {size} |"));
            let costs = points.iter().map(|(_, cost)| format!(" {cost} |"));
            out.push_str(&format!(
                "### {what}, by {label}\n\n![{what}, by {label}]({name}.svg)\n\n\
                 | {label} |{}\n|---{}|\n| rostergate, µs |{}\n\n",
                sizes.collect::<String>(),
                "|---".repeat(points.len()),
                costs.collect::<String>(),
            ));
        }
        if !self.giants.is_empty() {
            out.push_str(
                "### A user with very many contacts\n\nAnd the longest that somebody else waited for a \
                 roster of ten contacts meanwhile.\n\n\
                 | contacts | what | rostergate, ms | µs a contact | took, ms | another waited, ms |\n\
                 |---|---|---|---|---|---|\n",
            );
        }
        for step in &self.giants {
            let millis = |time: Duration| figure(time.as_secs_f64() * 1e3);
            out.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                figure(step.contacts as f64),
                step.what,
                millis(step.cpu),
                figure(step.cpu.as_secs_f64() * 1e6 / step.contacts as f64),
                millis(step.time),
                millis(step.longest),
            ));
        }
        out
    }

    /// Plots, with their file names.
    pub fn plots(&self) -> Vec<(String, String)> {
        let curves = self.curves.iter().map(|Curve { growth, points }| {
            let (what, label) = growth.title();
            let title = format!("{what}, by {label}: µs of CPU");
            let name = format!("{}.svg", growth.name());
            (name, curve(&title, label, points))
        });
        self.subjects
            .iter()
            .map(Subject::plot)
            .chain(curves)
            .collect()
    }
}

fn memory_row(kind: Kind, memory: &Memory) -> String {
    let kilobytes = memory.bytes.iter().map(|bytes| figure(bytes / 1024.0));
    let mut kilobytes = kilobytes.collect::<Vec<_>>();
    if kilobytes.len() == 1 {
        kilobytes.insert(0, "–".to_owned());
    }
    format!(
        "| {} | {} | {} |\n",
        kind.name(),
        figure(memory.sessions as f64),
        kilobytes.join(" | ")
    )
}

impl Subject {
    fn table(&self) -> String {
        let rows = self.samples.iter();
        let rows = rows.filter_map(|(kind, samples)| Some((*kind, Row::of(samples)?)));
        let rows = rows.collect::<BTreeMap<_, _>>();
        let mut out = String::new();
        let mut push = |line: &str| {
            out.push_str(line);
            out.push('\n');
        };
        let Topic { name, title } = &self.topic;
        push(&format!("### {title}\n"));
        push(&format!("![{title}]({name}.svg)\n"));
        push(
            "| system | in all | front | server | ratio | requests | op/s | load generator | \
             p50 / p99 / p99.9 ms, saturated | at half of that |",
        );
        push("|---|---|---|---|---|---|---|---|---|---|");
        for kind in Kind::ALL {
            let Some(row) = rows.get(&kind) else { continue };
            let own = kind.alone().and_then(|alone| rows.get(&alone));
            let ratio = own.map_or_else(String::new, |own| {
                format!("{:.2}", row.total.median / own.total.median)
            });
            let front = row
                .front
                .map_or_else(|| "–".to_owned(), |front| front.to_string());
            let paced = self.paced.get(&kind);
            push(&format!(
                "| {} | {} | {front} | {} | {ratio} | {:.1} | {} | {} | {} | {} |",
                kind.name(),
                row.total,
                row.server,
                row.requests.median,
                figure(row.rate.median),
                figure(row.load.median),
                latencies(&self.samples[&kind]),
                paced.map_or_else(|| "–".to_owned(), |samples| latencies(samples)),
            ));
        }
        out.push('\n');
        out
    }

    fn plot(&self) -> (String, String) {
        let bar = |kind: Kind| {
            let row = Row::of(self.samples.get(&kind)?)?;
            Some(Bar {
                name: kind.name().to_owned(),
                front: row.front.map_or(0.0, |front| front.median),
                server: row.server.median,
                range: (row.total.least, row.total.most),
            })
        };
        let shown: Vec<Bar> = Kind::ALL.into_iter().filter_map(bar).collect();
        let title = format!("{}: µs of CPU", self.topic.title);
        (format!("{}.svg", self.topic.name), bars(&title, &shown))
    }
}

impl Row {
    fn of(samples: &[Sample]) -> Option<Self> {
        let micros = |time: &Duration| time.as_secs_f64() * 1e6;
        let spread = |value: &dyn Fn(&Sample) -> f64| Spread::of(samples.iter().map(value));
        let has_front = samples.first()?.cpu.len() > 1;
        let front = |sample: &Sample| sample.cpu.first().map_or(0.0, micros);
        Some(Self {
            total: spread(&|sample| sample.cpu.iter().map(micros).sum())?,
            front: if has_front { spread(&front) } else { None },
            server: spread(&|sample| sample.cpu.last().map_or(0.0, micros))?,
            load: spread(&|sample| micros(&sample.load))?,
            requests: spread(&|sample| sample.requests)?,
            rate: spread(&|sample| sample.rate)?,
        })
    }
}

/// Medians of the rounds' quantiles.
fn latencies(samples: &[Sample]) -> String {
    let millis = |index: usize| {
        let latency = samples.iter();
        let latency = latency.map(|sample| sample.latency[index].as_secs_f64() * 1e3);
        Spread::of(latency).map_or_else(|| "–".to_owned(), |spread| figure(spread.median))
    };
    format!("{} / {} / {}", millis(0), millis(1), millis(2))
}

/// `document` with what is between the markers of this name replaced.
///
/// # Errors
///
/// It has no such markers.
pub fn replace(document: &str, name: &str, content: &str) -> Result<String> {
    let [begin, end] = ["begin", "end"].map(|what| format!("<!-- {name}: {what} -->"));
    let (before, rest) = document
        .split_once(&begin)
        .with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    let mut out = String::new();
    write!(out, "{before}{begin}\n\n{}\n\n{end}{after}", content.trim())?;
    Ok(out)
}

/// `document` with only those of its tables replaced that `content` has as well. What is new comes behind the table that
/// it follows in `content`.
///
/// # Errors
///
/// It has no such markers.
pub fn update(document: &str, name: &str, content: &str) -> Result<String> {
    let begin = format!("<!-- {name}: begin -->");
    let (_, rest) = document
        .split_once(&begin)
        .with_context(|| format!("no {begin}"))?;
    let old = rest.split("<!--").next().unwrap_or_default();
    let mut tables: Vec<&str> = tables_in(old).collect();
    let mut at = 0;
    for table in tables_in(content) {
        let is_same = |other: &&str| other.lines().next() == table.lines().next();
        match tables.iter().position(is_same) {
            Some(found) => {
                tables[found] = table;
                at = found;
            }
            None => tables.insert(at, table),
        }
        at += 1;
    }
    let tables = tables
        .iter()
        .map(|table| format!("### {}\n\n", table.trim()));
    replace(document, name, &tables.collect::<String>())
}

/// Each from its heading on, without the mark of that.
fn tables_in(text: &str) -> impl Iterator<Item = &str> {
    text.split("### ").skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(front: u64, server: u64) -> Sample {
        Sample {
            cpu: vec![Duration::from_micros(front), Duration::from_micros(server)],
            load: Duration::from_micros(7),
            requests: 1.0,
            rate: 12_345.0,
            latency: [1, 2, 3].map(Duration::from_millis),
            carried: Default::default(),
        }
    }

    #[test]
    fn tables_have_front_and_server_apart_and_the_ratio() {
        let mut results = Results::default();
        for front in [30, 10, 20] {
            results.add(
                Work::Login(Style::Lean),
                Kind::RostergateProsody,
                sample(front, 100),
            );
        }
        let alone = Sample {
            cpu: vec![Duration::from_micros(240)],
            ..sample(0, 0)
        };
        results.add(Work::Login(Style::Lean), Kind::Prosody, alone);
        let tables = results.tables();
        let row = "| rostergate + Prosody | 120 [110–130] | 20.0 [10.0–30.0] | 100 [100–100] | 0.50 | 1.0 | \
                   12,345 | 7.00 | 1.00 / 2.00 / 3.00 | – |";
        assert!(tables.contains(row), "{tables}");
        assert!(
            tables.contains("| Prosody | 240 [240–240] | – | 240 [240–240] |  |"),
            "{tables}"
        );
        assert_eq!(
            results.rate(Work::Login(Style::Lean), Kind::Prosody),
            Some(12_345.0)
        );
    }

    #[test]
    fn rows_beside_idle_sessions_are_apart_by_front_and_together_by_work() {
        use Kind::{Prosody, RostergateProsodyGenerational as Gateway};
        use Style::{Lean, Managed, WebSocket};

        let mut results = Results::default();
        for (style, kind, work) in [
            (Managed, Prosody, Work::Message(WebSocket)),
            (Managed, Prosody, Work::Resumption),
            (Lean, Gateway, Work::Message(Lean)),
            (Managed, Gateway, Work::Message(WebSocket)),
            (Managed, Gateway, Work::Resumption),
        ] {
            results.add_crowded(style, work, kind, 5000, sample(30, 100));
        }
        let tables = results.tables();
        let rows = tables.lines().filter_map(|line| {
            let is_heading = line.starts_with("###");
            let is_row = line.ends_with("| 5,000 | 130 | 12,345 | 1.00 / 2.00 / 3.00 |");
            let cells: Vec<&str> = line.split(" | ").take(2).collect();
            (is_heading || is_row).then(|| cells.join(" | "))
        });
        assert_eq!(
            rows.collect::<Vec<_>>(),
            [
                "### Beside idle sessions, BOSH",
                "| Message, one request per operation | rostergate + Prosody gen",
                "### Beside idle sessions, WebSocket",
                "| Message, WebSocket | rostergate + Prosody gen",
                "| Message, WebSocket | Prosody",
                "| Resumption | rostergate + Prosody gen",
                "| Resumption | Prosody",
            ]
        );
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nz\n";
        let replaced = replace(document, "x", "new\n").expect("markers");
        assert_eq!(
            replaced,
            "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nz\n"
        );
        assert!(replace(document, "y", "new").is_err());
    }

    #[test]
    fn the_page_of_the_figures_has_room_for_them() {
        let page = include_str!("../../../docs/performance/measured.md");
        let replaced = replace(page, "bench-peers", "new").expect("markers");
        assert!(
            replaced.len() < page.len() / 2,
            "the tables are between them"
        );
    }

    #[test]
    fn tables_that_were_not_measured_stay() {
        let document = "a\n<!-- x: begin -->\n\n### A\n\n1\n\n### C\n\n1\n\n<!-- x: end -->\nz\n";
        let updated = update(document, "x", "### A\n\n2\n### B\n\n2\n").expect("markers");
        assert_eq!(
            updated,
            "a\n<!-- x: begin -->\n\n### A\n\n2\n\n### B\n\n2\n\n### C\n\n1\n\n<!-- x: end -->\nz\n"
        );
        assert!(update(document, "y", "").is_err());
    }
}
