//! Tables, and the document that they are put into.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    crowd::{Memory, Refresh},
    giant::Step,
    growth::Curve,
    plot::{Bar, bars, curve},
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

impl From<Refresh> for Topic {
    fn from(case: Refresh) -> Self {
        let (name, title) = match case {
            Refresh::Offline => ("offline", "nobody online"),
            Refresh::Unchanged => ("unchanged", "all online, nothing changed"),
            Refresh::Changed => ("changed", "all online, one contact of each changed"),
        };
        Self {
            name: format!("refresh-{name}"),
            title: format!("Refresh of a user, {title}"),
        }
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub struct Results {
    subjects: Vec<Subject>,
    memory: BTreeMap<Kind, Vec<Memory>>,
    /// The same work while thousands are idle: how many.
    crowded: Vec<(Topic, Kind, usize, Sample)>,
    curves: Vec<Curve>,
    giants: Vec<Step>,
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
    pub fn add_memory(&mut self, kind: Kind, memory: Vec<Memory>) {
        self.memory.insert(kind, memory);
    }

    /// Adds what was done at half of saturation, beside so many idle sessions.
    pub fn add_crowded(
        &mut self,
        topic: impl Into<Topic>,
        kind: Kind,
        sessions: usize,
        sample: Sample,
    ) {
        self.crowded.push((topic.into(), kind, sessions, sample));
    }

    /// Adds how something grows.
    pub fn add_curve(&mut self, curve: Curve) {
        self.curves.push(curve);
    }

    /// Adds what a user with many contacts cost.
    pub fn add_giant(&mut self, steps: Vec<Step>) {
        self.giants.extend(steps);
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
        let mut out = tables.collect::<String>() + &self.memory_table();
        out.push_str(&self.growth_tables());
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

    fn memory_table(&self) -> String {
        if self.memory.is_empty() {
            return String::new();
        }
        let mut out = "### Idle sessions\n\nResident memory, KB a session, beyond what the process \
                       had before; front / server. All have got their rosters, are available, and have a \
                       poll out.\n\n| system | sessions | front | server |\n|---|---|---|---|\n"
            .to_owned();
        for (kind, memories) in &self.memory {
            for memory in memories {
                let kilobytes = memory.bytes.iter().map(|bytes| figure(bytes / 1024.0));
                let mut kilobytes = kilobytes.collect::<Vec<_>>();
                if kilobytes.len() == 1 {
                    kilobytes.insert(0, "–".to_owned());
                }
                out.push_str(&format!(
                    "| {} | {} | {} |\n",
                    kind.name(),
                    figure(memory.sessions as f64),
                    kilobytes.join(" | ")
                ));
            }
        }
        if !self.crowded.is_empty() {
            out.push_str(
                "\n### Beside idle sessions\n\nAt half of what was reached above.\n\n\
                 | work | system | idle sessions | in all, µs | op/s | p50 / p99 / p99.9 ms |\n\
                 |---|---|---|---|---|---|\n",
            );
        }
        let mut crowded: Vec<_> = self.crowded.iter().collect();
        let order = |topic: &Topic| {
            self.subjects
                .iter()
                .position(|subject| subject.topic == *topic)
        };
        crowded.sort_by_key(|(topic, kind, ..)| (order(topic), *kind));
        for (topic, kind, sessions, sample) in crowded {
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
                "### {what}, by {label}\n\n![{what}, by {label}](performance/{name}.svg)\n\n\
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
        push(&format!("![{title}](performance/{name}.svg)\n"));
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
        }
    }

    #[test]
    fn tables_have_front_and_server_apart_and_the_ratio() {
        let mut results = Results::default();
        for front in [30, 10, 20] {
            results.add(Work::Login, Kind::RostergateProsody, sample(front, 100));
        }
        let alone = Sample {
            cpu: vec![Duration::from_micros(240)],
            ..sample(0, 0)
        };
        results.add(Work::Login, Kind::Prosody, alone);
        let tables = results.tables();
        let row = "| rostergate + Prosody | 120 [110–130] | 20.0 [10.0–30.0] | 100 [100–100] | 0.50 | 1.0 | \
                   12,345 | 7.00 | 1.00 / 2.00 / 3.00 | – |";
        assert!(tables.contains(row), "{tables}");
        assert!(
            tables.contains("| Prosody | 240 [240–240] | – | 240 [240–240] |  |"),
            "{tables}"
        );
        assert_eq!(results.rate(Work::Login, Kind::Prosody), Some(12_345.0));
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
}
