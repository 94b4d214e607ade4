//! Roster of one user as it is in memory, for people who look into it. Fetches nothing.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::{
    refresh::Call,
    respond::{self, Failure, Outcome},
};
use crate::{
    backend::{ContactSource, failures},
    net::answer,
    roster::{Contact, left_out::Omission, snapshot},
};

#[derive(Serialize)]
struct Known<'a> {
    #[serde(flatten)]
    outcome: Outcome,
    jid: String,
    /// Where it comes from, without what may be secret.
    url: Option<String>,
    roster: Option<Roster<'a>>,
    last_failure: Option<Failed>,
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
struct LeftOut<'a> {
    jid: &'a str,
    reason: &'static str,
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

impl<'a> LeftOut<'a> {
    fn new(omission: &'a Omission) -> Self {
        Self {
            jid: &omission.jid,
            reason: omission.reason,
        }
    }
}

impl Failed {
    fn new(failure: &failures::Failure) -> Self {
        Self {
            at: respond::date(failure.at),
            reason: failure.error.to_string(),
        }
    }
}

impl<S: ContactSource + 'static> Call<S> {
    /// Shows what is in memory about one user.
    pub(super) fn show(&self, name: &str) -> Result<Response<Full<Bytes>>, Failure> {
        let default = self.default_domain([name])?;
        let (domain, user) = self.user(name, default.as_ref())?;
        let rosters = self.table.rosters(&domain)?;
        let known = rosters.known(&user);
        if known.entry.is_none() && known.last_failure.is_none() {
            return Err(Failure::NothingKnown);
        }
        let message = match &known.entry {
            Some(entry) => format!("contacts: {}", entry.roster.len()),
            None => "no roster in memory".to_owned(),
        };
        let shown = Known {
            outcome: Outcome::saying(message),
            jid: format!("{user}@{domain}"),
            url: rosters.source().address(&user),
            roster: known.entry.as_deref().map(Roster::new),
            last_failure: known.last_failure.as_ref().map(Failed::new),
        };
        Ok(answer::json(StatusCode::OK, &shown))
    }
}
