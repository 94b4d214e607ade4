//! What the WebSocket front and gateways beside others may cost, as ratios of figures of one run, and what was reached.

use std::fmt::Write as _;

use crate::{
    report::{Part, Results},
    session::Style::{Held, Lean, Managed, WebSocket},
    several::{
        Online, Pace,
        Way::{Another, Own},
        What,
    },
    statistics::figure,
    systems::Kind,
    work::Work,
};

const GATEWAY: Kind = Kind::RostergateProsodyGenerational;

/// One aim.
struct Aim {
    what: String,
    /// None if it was not measured.
    reached: Option<f64>,
    most: f64,
}

/// Tables of all that could be measured, in Markdown; empty if that is nothing.
pub(crate) fn tables(results: &Results) -> String {
    let websocket = table(
        "the WebSocket front",
        "Ratios of medians of this run.",
        &of_websocket(results),
    );
    let several = table(
        "several gateways",
        "Ratios are medians of the rounds' ratios to a gateway without `[cluster]`, without NATS.",
        &of_several(results),
    );
    websocket + &several
}

fn table(title: &str, what: &str, aims: &[Aim]) -> String {
    let measured = aims.iter().filter_map(|aim| Some((aim, aim.reached?)));
    let mut out = String::new();
    for (Aim { what, most, .. }, reached) in measured {
        let verdict = if reached <= *most {
            "reached"
        } else {
            "missed"
        };
        // A string takes it.
        let _ = writeln!(
            out,
            "| {what} | {} | {} | {verdict} |",
            figure(*most),
            figure(reached)
        );
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "### Aims of {title}\n\n{what}\n\n\
         | | at most | in this run | |\n|---|---|---|---|\n{out}\n"
    )
}

fn of_websocket(results: &Results) -> Vec<Aim> {
    let ratio = |one: Option<f64>, other: Option<f64>| Some(one? / other?);
    let front = |work, kind| results.micros(work, kind, Part::Front);
    let all = |work, kind| results.micros(work, kind, Part::All);
    let mut aims = Vec::new();
    let mut aim = |what: String, reached, most| {
        aims.push(Aim {
            what,
            reached,
            most,
        })
    };
    let works = [
        Work::Message(WebSocket),
        Work::Message(Managed),
        Work::Ping(WebSocket),
    ];
    for work in works {
        aim(
            format!("{}: gateway, to nginx as a tunnel", work.title()),
            ratio(front(work, GATEWAY), front(work, Kind::Nginx)),
            1.25,
        );
    }
    for work in works {
        for (kind, own) in [
            (Kind::RostergateProsody, Kind::Prosody),
            (GATEWAY, Kind::ProsodyGenerational),
        ] {
            aim(
                format!(
                    "{}: {}, to the server's own WebSocket",
                    work.title(),
                    kind.name()
                ),
                ratio(all(work, kind), all(work, own)),
                1.0,
            );
        }
    }
    let login = front(Work::Login(WebSocket), GATEWAY);
    aim(
        "Login: gateway, to its login by BOSH".to_owned(),
        ratio(login, front(Work::Login(Lean), GATEWAY)),
        0.75,
    );
    aim(
        "Resumption: gateway, to its login by WebSocket".to_owned(),
        ratio(front(Work::Resumption, GATEWAY), login),
        1.0,
    );
    let idle = results.idle_kilobytes(Managed, GATEWAY);
    aim("Idle session: gateway, KB".to_owned(), idle, 14.0);
    aims
}

fn of_several(results: &Results) -> Vec<Aim> {
    let several = results.several();
    let mut aims = Vec::new();
    for (way, where_to, most) in [
        (
            Own,
            "at the gateway of the session, which has others beside it",
            1.03,
        ),
        (Another, "through another gateway, both together", 2.5),
    ] {
        for (work, pace) in [
            (Work::Message(Held), Pace::Even(1000)),
            (Work::Message(Lean), Pace::Even(1000)),
            (Work::Ping(Lean), Pace::Even(1000)),
            (Work::Repoll, Pace::Saturated),
        ] {
            let ratio = several.ratio(What::Work(work, pace), way);
            aims.push(Aim {
                what: format!("{}: {where_to}", work.title()),
                reached: ratio.map(|ratio| ratio.median),
                most,
            });
        }
    }
    for batch in [100, 10_000] {
        let what = What::Refresh(batch, Online::Nobody);
        let of_a_user = several.of_a_user(what);
        for (index, who) in ["the gateway that is asked", "each other one"]
            .iter()
            .enumerate()
        {
            aims.push(Aim {
                what: format!("Refresh of a user, offline, {batch} in a request: {who}, µs"),
                reached: of_a_user.map(|of_a_user| of_a_user[index]),
                most: 2.0,
            });
        }
    }
    aims
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::work::Sample;

    #[test]
    fn what_was_measured_is_compared_and_the_rest_left_out() {
        let sample = |front, server| Sample {
            cpu: [front, server].map(Duration::from_micros).to_vec(),
            load: Duration::ZERO,
            requests: 1.0,
            rate: 1.0,
            latency: Default::default(),
            carried: Default::default(),
        };
        let mut results = Results::default();
        assert_eq!(tables(&results), "");
        results.add(Work::Message(WebSocket), GATEWAY, sample(30, 50));
        results.add(Work::Message(WebSocket), Kind::Nginx, sample(20, 70));
        results.add(Work::Login(WebSocket), GATEWAY, sample(300, 500));
        results.add(Work::Login(Lean), GATEWAY, sample(600, 500));
        let table = tables(&results);
        let rows: Vec<&str> = table.trim_end().lines().skip(6).collect();
        assert_eq!(
            rows,
            [
                "| Message, WebSocket: gateway, to nginx as a tunnel | 1.25 | 1.50 | missed |",
                "| Login: gateway, to its login by BOSH | 0.75 | 0.50 | reached |",
            ]
        );
    }
}
