//! The gateways of a cluster, for the status: what each adds to the numbers of all, and a line for each, whether or not it answers.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    others::Words,
    respond::{self, Failure},
};
use crate::{
    cluster::Member,
    metrics::Survey,
    session::{Counts, Registry},
};

/// One of several gateways, as the status has it. Null is what is not known of one that does not answer.
#[derive(Serialize)]
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) answers: bool,
    pub(super) version: Option<String>,
    pub(super) started: Option<String>,
    pub(super) draining: Option<bool>,
    pub(super) sessions: Option<usize>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Gateway {
    /// One that does not answer, as it was heard last.
    fn silent(member: &Member, silence: Option<Duration>, failures: &[Failure]) -> Self {
        let name = member.node.to_string();
        let own = failures.iter().find(|it| it.gateway() == Some(&name));
        let all = || failures.iter().find(|it| it.gateway().is_none());
        let reason = match silence {
            Some(silence) => Some(format!("not heard for {} s", silence.as_secs())),
            None => own.or_else(all).map(ToString::to_string),
        };
        let sessions = usize::try_from(member.sessions).ok();
        Self {
            name,
            answers: false,
            version: member.version.clone(),
            started: member.began.map(Duration::from_millis).map(respond::date),
            draining: None,
            // What has gone has none.
            sessions: sessions.filter(|_| member.version.is_some() && silence.is_none()),
            reason,
        }
    }
}

/// The other gateways.
pub(super) struct Neighbours {
    pub(super) words: Words<Share>,
    /// Those that are there, and those that have gone without a goodbye, with how long they have not been heard.
    pub(super) known: Vec<(Member, Option<Duration>)>,
}

impl Neighbours {
    /// A line for each of them, by name.
    pub(super) fn lines(&self) -> Vec<Gateway> {
        let Words { said, failures } = &self.words;
        let mut lines: BTreeMap<_, _> = said
            .iter()
            .map(|(node, share)| (node, share.shown(node.to_string())))
            .collect();
        for (member, silence) in &self.known {
            lines
                .entry(&member.node)
                .or_insert_with(|| Gateway::silent(member, *silence, failures));
        }
        lines.into_values().collect()
    }
}

/// What a gateway adds to the numbers of all.
#[derive(Deserialize, Serialize)]
pub(super) struct Share {
    pub(super) version: String,
    /// Since 1970.
    pub(super) started: Duration,
    pub(super) draining: bool,
    pub(super) sessions: Vec<usize>,
    pub(super) sessions_ever: u64,
    pub(super) held_requests: i64,
    pub(super) pushes: u64,
    pub(super) updated: u64,
    pub(super) failed: u64,
    /// Since 1970.
    pub(super) last_refresh: Option<Duration>,
}

impl Share {
    /// That of this gateway.
    pub(super) fn own(registry: &Registry) -> Self {
        Self::of(registry, &registry.metrics.survey())
    }

    pub(super) fn of(registry: &Registry, survey: &Survey) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: survey.started,
            draining: registry.is_closed(),
            sessions: registry.counts().numbers(),
            sessions_ever: survey.created,
            held_requests: survey.held,
            pushes: survey.pushes,
            updated: survey.updated,
            failed: survey.failed,
            last_refresh: survey.last_refresh,
        }
    }

    pub(super) fn sessions(&self) -> Counts {
        let mut counts = Counts::default();
        counts.add(&self.sessions);
        counts
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut counts = self.sessions();
        counts.add(&other.sessions);
        self.sessions = counts.numbers();
        self.sessions_ever += other.sessions_ever;
        self.held_requests += other.held_requests;
        self.pushes += other.pushes;
        self.updated += other.updated;
        self.failed += other.failed;
        self.last_refresh = self.last_refresh.max(other.last_refresh);
    }

    pub(super) fn shown(&self, name: String) -> Gateway {
        Gateway {
            name,
            answers: true,
            version: Some(self.version.clone()),
            started: Some(respond::date(self.started)),
            draining: Some(self.draining),
            sessions: Some(self.sessions().total()),
            reason: None,
        }
    }
}
