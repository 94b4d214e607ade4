//! List of sessions, for people who look into them. It does not ask the sessions: it shows what each has written into
//! its record (`session::Record`).

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use jid::BareJid;
use serde::Serialize;
use tokio::time::Instant;

use super::respond::{Failure, Outcome};
use crate::{
    net::answer,
    roster::{Username, address},
    session::{Counts, Record, Registry},
};

/// Most sessions in one answer, where nothing else is asked for; and if whatever is asked for.
const USUAL_LIMIT: usize = 100;
const MOST: usize = 1000;

/// Which sessions are to be listed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Filter {
    /// Prepared; a bare JID, or a localpart of any domain.
    user: Option<String>,
    /// Only sessions with a higher number.
    after: u64,
    limit: Option<usize>,
}

impl Filter {
    /// Reads the query of a request.
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let fault = |expected| Failure::Parameter {
                name: name.clone().into_owned(),
                expected,
            };
            match &*name {
                "user" => {
                    let prepared = if value.contains('@') {
                        let jid = address::prepare(&value);
                        let jid = jid.and_then(|jid| BareJid::try_from(jid).ok());
                        jid.map(|jid| jid.to_string())
                    } else {
                        Username::prepare(&value).map(|user| user.to_string())
                    };
                    // A server may take more names than we can prepare; sessions show them as they are.
                    let as_written = || (!value.is_ascii()).then(|| value.clone().into_owned());
                    let user = prepared.or_else(as_written);
                    filter.user = Some(user.ok_or(Failure::Username)?);
                }
                "after" => {
                    let number = value.parse();
                    filter.after = number.map_err(|_| fault("a session's number"))?;
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|it| (1..=MOST).contains(it));
                    filter.limit = Some(limit.ok_or_else(|| fault("1 to 1000"))?);
                }
                _ => return Err(fault("no such parameter: user, after or limit")),
            }
        }
        Ok(filter)
    }

    fn lists(&self, record: &Record) -> bool {
        record.number() > self.after
            && self.user.as_deref().is_none_or(|user| {
                let jid = record.jid().and_then(|jid| jid.split('/').next());
                jid.is_some_and(|jid| match user.contains('@') {
                    true => jid == user,
                    false => jid.split('@').next() == Some(user),
                })
            })
    }
}

#[derive(Serialize)]
struct Survey<'a> {
    #[serde(flatten)]
    outcome: Outcome,
    /// Of all sessions, listed or not.
    counts: Counts,
    sessions: Vec<Session<'a>>,
    /// There are more: ask for those `after` this one.
    next: Option<u64>,
}

#[derive(Serialize)]
struct Session<'a> {
    number: u64,
    domain: &'a str,
    jid: Option<&'a str>,
    address: IpAddr,
    /// Seconds.
    age: u64,
    front: &'static str,
    protocol: &'static str,
    tls: bool,
    state: &'static str,
    /// Seconds.
    asleep: Option<u64>,
    interested: bool,
}

impl<'a> Session<'a> {
    fn new(record: &'a Record, now: Instant) -> Self {
        let origin = record.origin();
        let now = now.into_std();
        Self {
            number: record.number(),
            domain: record.domain(),
            jid: record.jid(),
            address: origin.address.ip(),
            age: record.age(now).as_secs(),
            front: record.front().as_str(),
            protocol: origin.protocol.as_str(),
            tls: origin.secure,
            state: record.state().as_str(),
            asleep: record.asleep_for(now).map(|asleep| asleep.as_secs()),
            interested: record.is_interested(),
        }
    }
}

/// Counts all sessions, and lists the oldest that the filter lets through.
pub(super) fn list(registry: &Registry, filter: &Filter) -> Response<Full<Bytes>> {
    let limit = filter.limit.unwrap_or(USUAL_LIMIT);
    let mut counts = Counts::default();
    let mut listed: BTreeMap<u64, Arc<Record>> = BTreeMap::new();
    let mut is_more = false;
    for record in registry.records().flatten() {
        counts.count(&record);
        if filter.lists(&record) {
            listed.insert(record.number(), record);
            if listed.len() > limit {
                listed.pop_last();
                is_more = true;
            }
        }
    }
    let now = Instant::now();
    let next = listed.keys().last().copied().filter(|_| is_more);
    let outcome = Outcome::saying(format!("sessions: {}", counts.total()));
    let survey = Survey {
        outcome,
        counts,
        sessions: listed.values().map(|it| Session::new(it, now)).collect(),
        next,
    };
    answer::json(StatusCode::OK, &survey)
}
