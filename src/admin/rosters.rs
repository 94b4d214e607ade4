//! Roster of one user as it is in memory, for people who look into it. Fetches nothing.

use std::{fmt::Display, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use jid::DomainPart;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    Lists,
    others::Words,
    refresh::Call,
    respond::{self, Failure, LeftOut, Outcome},
};
use crate::{
    backend::{ContactSource, failures},
    net::answer,
    roster::{Contact, Username, snapshot},
    writer,
};

/// How well a list is known: of two, the larger one is shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Age {
    is_fresh: bool,
    /// Since 1970.
    fetched: Option<Duration>,
}

#[derive(Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    outcome: Outcome,
    jid: String,
    /// Where it comes from, without what may be secret.
    url: Option<String>,
    roster: Option<Roster<'a>>,
    /// Of a list in the server.
    seen: Option<Seen<'a>>,
    last_failure: Option<Failed>,
}

/// The site's latest list, where the server has it.
#[derive(Serialize)]
struct Seen<'a> {
    fetched: String,
    contacts: usize,
    left_out: Vec<LeftOut<'a>>,
    #[serde(skip_serializing_if = "respond::is_zero")]
    left_out_omitted: usize,
}

#[derive(Serialize)]
struct Roster<'a> {
    fetched: String,
    /// Fetched while the user has been online; otherwise it waits for the next login.
    fresh: bool,
    etag: Option<String>,
    last_modified: Option<String>,
    contacts: Vec<Item<'a>>,
    /// The first entries of the answer that could not be used.
    left_out: Vec<LeftOut<'a>>,
    /// How many more there are.
    #[serde(skip_serializing_if = "respond::is_zero")]
    left_out_omitted: usize,
}

#[derive(Serialize)]
struct Item<'a> {
    jid: &'a str,
    name: Option<&'a str>,
    groups: &'a [String],
    subscription: &'static str,
}

#[derive(Serialize)]
struct Failed {
    at: String,
    reason: String,
}

fn text(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

impl<'a> Roster<'a> {
    fn new(entry: &'a snapshot::Entry) -> Self {
        Self {
            fetched: respond::date(entry.fetched),
            fresh: entry.fresh,
            etag: text(entry.validators.etag.as_ref()),
            last_modified: text(entry.validators.last_modified.as_ref()),
            contacts: entry.roster.contacts().iter().map(Item::new).collect(),
            left_out: entry.left_out.first().iter().map(LeftOut::new).collect(),
            left_out_omitted: entry.left_out.count() - entry.left_out.first().len(),
        }
    }
}

impl<'a> Seen<'a> {
    fn new(seen: &'a writer::Seen) -> Self {
        let first = seen.left_out.first();
        Self {
            fetched: respond::date(seen.at),
            contacts: seen.contacts,
            left_out: first.iter().map(LeftOut::new).collect(),
            left_out_omitted: seen.left_out.count() - first.len(),
        }
    }
}

impl<'a> Item<'a> {
    fn new(contact: &'a Contact) -> Self {
        Self {
            jid: contact.jid.as_str(),
            name: contact.name.as_deref(),
            groups: &contact.groups,
            subscription: contact.subscription.as_str(),
        }
    }
}

impl Failed {
    fn new<E: Display>(failure: &failures::Failure<E>) -> Self {
        Self {
            at: respond::date(failure.at),
            reason: failure.error.to_string(),
        }
    }
}

impl<S: ContactSource + 'static> Call<S> {
    /// Shows what is in memory about one user, at whichever gateway knows it best.
    pub(super) async fn show(&self, name: &str) -> Result<Response<Full<Bytes>>, Failure> {
        let default = self.default_domain([name])?;
        let (domain, user) = self.user(name, default.as_ref())?;
        let own = self.known(&domain, &user);
        let is_fresh = own.as_ref().is_ok_and(|(age, _)| age.is_fresh);
        let is_shared = matches!(self.table.rosters(&domain)?, Lists::Gateway(_));
        // A list in the server is known to whoever has written it; one of a user who is online, as well as it can be.
        let words = match is_fresh && is_shared {
            true => Words::default(),
            false => self.known_elsewhere(&format!("{user}@{domain}")).await,
        };
        let others = words.said.into_iter().filter_map(|(_, known)| known);
        let best = own
            .clone()
            .into_iter()
            .chain(others)
            .max_by_key(|(age, _)| *age);
        match best {
            Some((_, known)) => Ok(answer::json(StatusCode::OK, &known)),
            None => {
                let failure = words.failures.into_iter().next();
                Err(failure.unwrap_or_else(|| own.err().unwrap_or(Failure::NothingKnown)))
            }
        }
    }

    /// What is in memory here about one user, as it is shown.
    pub(super) fn known(
        &self,
        domain: &DomainPart,
        user: &Username,
    ) -> Result<(Age, Box<RawValue>), Failure> {
        let lists = self.table.rosters(domain)?;
        let (url, entry, seen, last_failure) = match lists {
            Lists::Gateway(rosters) => {
                let known = rosters.known(user);
                let failure = known.last_failure.as_ref().map(Failed::new);
                (rosters.source().address(user), known.entry, None, failure)
            }
            Lists::Server(rosters) => {
                let failure = rosters.last_failure(user);
                let failure = failure.as_ref().map(Failed::new);
                let seen = rosters.last_seen(user);
                (rosters.source().address(user), None, seen, failure)
            }
        };
        if entry.is_none() && seen.is_none() && last_failure.is_none() {
            return Err(Failure::NothingKnown);
        }
        let message = match (&entry, &seen) {
            (Some(entry), _) => format!("contacts: {}", entry.roster.len()),
            (None, Some(seen)) => format!("contacts: {}, in the server", seen.contacts),
            (None, None) => "no roster in memory".to_owned(),
        };
        let shown = Known {
            outcome: Outcome::saying(message),
            jid: format!("{user}@{domain}"),
            url,
            roster: entry.as_deref().map(Roster::new),
            seen: seen.as_ref().map(Seen::new),
            last_failure,
        };
        let age = Age {
            is_fresh: entry.as_ref().is_some_and(|entry| entry.fresh),
            fetched: entry
                .as_ref()
                .map(|entry| entry.fetched)
                .or_else(|| seen.as_ref().map(|seen| seen.at)),
        };
        let shown = to_raw_value(&shown).map_err(|_| Failure::NothingKnown)?;
        Ok((age, shown))
    }
}
