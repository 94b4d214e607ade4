//! Other gateways of the cluster: what a request asks them, and what they are answered.
//!
//! The gateway that gets a request checks who calls. It asks all others at once and adds up what they say; each does its own
//! share, for its own sessions, and asks nobody. A question is a JSON array: how many milliseconds the answer may take, and what is
//! asked; in `put`, the list follows in a line of its own.

pub(super) mod end;
pub(super) mod events;
pub(super) mod login;
pub(super) mod presence;
pub(super) mod refresh;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::respond::Failure;
use crate::cluster::{Cluster, Member, NodeName, Question, Unanswered};

/// How much earlier the others are to be done than the request has to be answered.
const SPARE: Duration = Duration::from_millis(500);

/// The other gateways, if there are any.
#[derive(Clone, Debug, Default)]
pub(super) struct Others(Option<Arc<Cluster>>);

/// What all others have said.
pub(super) struct Words<A> {
    /// The answers, with who gave them.
    pub(super) said: Vec<(NodeName, A)>,
    /// Why others have not answered, or why it is not known who they are.
    pub(super) failures: Vec<Failure>,
}

impl<A> Default for Words<A> {
    fn default() -> Self {
        Self {
            said: Vec::new(),
            failures: Vec::new(),
        }
    }
}

impl<A> From<Failure> for Words<A> {
    /// Nobody could be asked.
    fn from(failure: Failure) -> Self {
        Self {
            said: Vec::new(),
            failures: vec![failure],
        }
    }
}

impl Others {
    pub(super) fn new(cluster: Option<Arc<Cluster>>) -> Self {
        Self(cluster)
    }

    /// Whether there may be any.
    pub(super) fn may_exist(&self) -> bool {
        self.0.is_some()
    }

    /// Those that are heard of, and those that have gone without a goodbye, with how long they have not been heard.
    pub(super) fn known(&self) -> Vec<(Member, Option<Duration>)> {
        let Some(cluster) = &self.0 else {
            return Vec::new();
        };
        let members = cluster.members().into_iter().map(|it| (it, None));
        let lost = cluster.lost().into_iter();
        let lost = lost.map(|(member, silence)| (member, Some(silence)));
        members.chain(lost).collect()
    }

    /// Asks all others. Done by `deadline`, whatever they do.
    pub(super) async fn ask_all<A: DeserializeOwned>(
        &self,
        question: Question,
        asked: &impl Serialize,
        deadline: Instant,
    ) -> Words<A> {
        match encode(asked, deadline) {
            Ok(body) => self.ask_all_with(question, body, deadline).await,
            Err(failure) => failure.into(),
        }
    }

    /// The same; and those that have gone without a goodbye are asked when they are heard again, as they may only be cut off.
    pub(super) async fn ask_all_and_owe<A: DeserializeOwned>(
        &self,
        question: Question,
        asked: &impl Serialize,
        deadline: Instant,
    ) -> Words<A> {
        let body = match encode(asked, deadline) {
            Ok(body) => body,
            Err(failure) => return failure.into(),
        };
        let owe = || {
            if let Some(cluster) = &self.0 {
                cluster.owe(question, &body);
            }
        };
        // Before, as one may be heard again meanwhile, and afterwards, as one may have gone.
        owe();
        let words = self.ask_all_with(question, body.clone(), deadline).await;
        owe();
        words
    }

    pub(super) async fn ask_all_with<A: DeserializeOwned>(
        &self,
        question: Question,
        body: Bytes,
        deadline: Instant,
    ) -> Words<A> {
        let mut words = Words::default();
        let Some(cluster) = &self.0 else { return words };
        if let Some(why) = cluster.trouble() {
            words.failures.push(Failure::Apart { why });
            return words;
        }
        let patience = deadline.saturating_duration_since(Instant::now());
        for (node, answer) in cluster.ask_all(question, body, patience).await {
            let answer = answer.map_err(|why| failure_of(&node, why));
            match answer.and_then(|answer| decode(&node, &answer)) {
                Ok(answer) => words.said.push((node, answer)),
                Err(failure) => words.failures.push(failure),
            }
        }
        words
    }

    /// Asks the one of this name.
    async fn ask<A: DeserializeOwned>(
        &self,
        node: &NodeName,
        question: Question,
        asked: &impl Serialize,
        deadline: Instant,
    ) -> Result<A, Failure> {
        let cluster = self.0.as_ref().ok_or_else(|| Failure::Silent {
            node: node.to_string(),
        })?;
        let body = encode(asked, deadline)?;
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = cluster.ask(node.as_str(), question, body, patience).await;
        decode(node, &answer.map_err(|why| failure_of(node, why))?)
    }
}

/// The body of a question.
pub(super) fn encode(asked: &impl Serialize, deadline: Instant) -> Result<Bytes, Failure> {
    let within = deadline.saturating_duration_since(Instant::now());
    let within = u64::try_from(within.saturating_sub(SPARE).as_millis()).unwrap_or(u64::MAX);
    let body = serde_json::to_vec(&(within, asked));
    body.map(Bytes::from).map_err(|error| Failure::Object {
        problem: error.to_string(),
    })
}

fn decode<A: DeserializeOwned>(node: &NodeName, answer: &[u8]) -> Result<A, Failure> {
    serde_json::from_slice(answer).map_err(|error| Failure::Other {
        node: node.to_string(),
        why: error.to_string(),
    })
}

fn failure_of(node: &NodeName, why: Unanswered) -> Failure {
    let node = node.to_string();
    match why {
        Unanswered::Gone | Unanswered::Late => Failure::Silent { node },
        Unanswered::Away => Failure::Apart { why },
        Unanswered::Refused(why) => Failure::Other { node, why },
    }
}
