//! Presence of users, for the pages of the site. It asks no session, and disturbs none: [`crate::events`] knows.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use jid::DomainPart;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use tracing::{debug, field::display};

use super::{
    others::presence::{join_pages, join_seen},
    refresh::Call,
    respond::{self, Failure, Outcome},
};
use crate::{availability::users::View, backend::ContactSource, net::answer, roster::Username};

/// Most users that one request may name.
const MOST_NAMED: usize = 1000;
/// Most users in a list, where nothing else is asked for; and if whatever is asked for.
const USUAL_LIMIT: usize = 100;
const MOST_LISTED: usize = 1000;
/// Most users that one line of the log names.
const MOST_LOGGED: usize = 10;

/// Whose presence is to be shown.
#[derive(Debug, Default)]
pub(super) struct Question {
    /// As the caller has written them. None: all who are available.
    users: Vec<String>,
    after: Option<Username>,
    limit: Option<usize>,
    /// The domain of users that are named without one.
    host: Option<String>,
}

impl Question {
    /// Reads the query of a request.
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let mut question = Self::default();
        let fault = |name: &str, expected| Failure::Parameter {
            name: name.to_owned(),
            expected,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "user" if question.users.len() >= MOST_NAMED => {
                    return Err(fault("user", "at most 1000 of them"));
                }
                "user" => question.users.push(value.into_owned()),
                "after" => {
                    let after = Username::prepare(&value);
                    question.after = Some(after.ok_or_else(|| fault("after", "a username"))?);
                }
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|it| (1..=MOST_LISTED).contains(it));
                    question.limit = Some(limit.ok_or_else(|| fault("limit", "1 to 1000"))?);
                }
                "host" => question.host = Some(value.into_owned()),
                _ => {
                    return Err(fault(
                        &name,
                        "no such parameter: user, after, limit or host",
                    ));
                }
            }
        }
        if !question.users.is_empty() && (question.after.is_some() || question.limit.is_some()) {
            let name = if question.after.is_some() {
                "after"
            } else {
                "limit"
            };
            return Err(fault(name, "only without user"));
        }
        Ok(question)
    }

    /// The domain that the query names.
    pub(super) fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }
}

/// A user as the site is shown. What is not known is left out.
#[derive(Default, Serialize)]
struct Shown {
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    show: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asleep: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    /// Why nothing can be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl From<View> for Shown {
    fn from(view: View) -> Self {
        let count = |count| view.is_available.then_some(count);
        Self {
            available: view.is_available,
            show: view.show.map(|show| show.as_str()),
            since: view.since.map(respond::date),
            changed: view.changed.map(respond::date),
            resources: count(view.resources),
            asleep: count(view.asleep),
            last_seen: view.last_seen.map(respond::date),
            status: view.status,
            reason: None,
        }
    }
}

/// Users by name.
struct Named(Vec<(String, Shown)>);

impl Serialize for Named {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, shown) in &self.0 {
            map.serialize_entry(name, shown)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct List {
    #[serde(flatten)]
    outcome: Outcome,
    users: Named,
    /// There are more: ask for those `after` this one.
    next: Option<String>,
    /// The id of the latest event that the list is as of.
    event: Option<u64>,
    /// Why some may be missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

impl<S: ContactSource + 'static> Call<S> {
    /// Shows the presence of those in question.
    pub(super) async fn presence(
        &self,
        question: Question,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        if question.users.is_empty() {
            return self.list_available(&question).await;
        }
        let all_named = question.users.iter().all(|name| name.contains('@'));
        let default = match all_named {
            true => None,
            false => Some(self.served_domain()?),
        };
        let mut asked = HashSet::new();
        let names = question.users.into_iter();
        let names = names.filter(|name| asked.insert(name.clone()));
        let found: Vec<_> = names
            .map(|name| {
                let found = self.user(&name, default.as_ref());
                let view = found.and_then(|(domain, user)| {
                    let view = self.table.served(&domain)?.availability.view(&user);
                    Ok((format!("{user}@{domain}"), view))
                });
                (name, view)
            })
            .collect();
        self.log_shown(found.iter().map(|(name, _)| name.as_str()));
        if let Some(first) = found.iter().find_map(|(_, view)| view.as_ref().err())
            && found.iter().all(|(_, view)| view.is_err())
        {
            return Err(first.clone());
        }
        let known = found.iter().filter_map(|(_, view)| view.as_ref().ok());
        let words = self
            .seen_elsewhere(known.map(|(jid, _)| jid.clone()).collect())
            .await;
        let missing = words.failures.first();
        let mut elsewhere = join_seen(words.said);
        let shown = found.into_iter().map(|(name, view)| {
            let shown = view.map(|(jid, view)| {
                let other = elsewhere.remove(&jid).unwrap_or_default();
                let mut shown = Shown::from(view.join(other));
                if !shown.available {
                    shown.reason = missing.map(ToString::to_string);
                }
                shown
            });
            let shown = shown.unwrap_or_else(|failure| Shown {
                reason: Some(failure.to_string()),
                ..Shown::default()
            });
            (name, shown)
        });
        Ok(answer::json(StatusCode::OK, &Named(shown.collect())))
    }

    async fn list_available(&self, question: &Question) -> Result<Response<Full<Bytes>>, Failure> {
        let domain = self.served_domain()?;
        let availability = &self.table.served(&domain)?.availability;
        let limit = question.limit.unwrap_or(USUAL_LIMIT);
        let mut page = availability.list(question.after.as_ref(), limit);
        let after = question.after.as_ref().map(ToString::to_string);
        let words = self
            .available_elsewhere(domain.to_string(), after, limit)
            .await;
        if self.others.may_exist() {
            // Each gateway counts its own.
            page.event = None;
        }
        let incomplete = words.failures.iter().map(ToString::to_string).collect();
        let page = join_pages(availability, page, words.said, limit);
        self.log_shown(page.users.iter().map(|(user, _)| user.as_str()));
        let last = page.users.last().map(|(user, _)| user.to_string());
        let users = page.users.into_iter();
        let list = List {
            outcome: Outcome::saying(format!("available: {}", page.total)),
            users: Named(
                users
                    .map(|(user, view)| (user.to_string(), view.into()))
                    .collect(),
            ),
            next: last.filter(|_| page.has_more),
            event: page.event,
            incomplete,
        };
        Ok(answer::json(StatusCode::OK, &list))
    }

    fn log_shown<'a>(&self, users: impl ExactSizeIterator<Item = &'a str>) {
        let caller = self.caller.map(|peer| display(peer.0.ip()));
        let count = users.len();
        let first: Vec<_> = users.take(MOST_LOGGED).collect();
        debug!(caller, count, ?first, "presence shown");
    }

    /// The domain of users that are named without one, whether or not it has rosters.
    fn served_domain(&self) -> Result<DomainPart, Failure> {
        if let Some(domain) = &self.path_domain {
            return Ok(domain.clone());
        }
        let mut domains = self.table.0.keys();
        match (domains.next(), domains.next()) {
            (Some(only), None) => Ok(only.clone()),
            _ => self.table.default_domain(self.host.clone()),
        }
    }
}
