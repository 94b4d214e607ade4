//! Status of the gateway: a page for people, and the JSON that it shows.
//!
//! The page holds no data, so it is served without the token: it asks the user for the token, and keeps it in the tab.

use std::{cmp::Reverse, collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Lists, Table,
    gateways::{Gateway, Neighbours, Share},
    respond::{self, Outcome},
};
use crate::{
    backend::ContactSource,
    metrics::{self, Minute, Survey, health::Health},
    net::answer,
    session::{Counts, Registry},
};

/// Policy of the page, in place of that of other answers: it may load only what is served beside it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const FURTHER: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// A part of the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asset {
    Page,
    Script,
    Style,
}

impl Asset {
    /// The one at this place below the path of the API.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Page),
            "/status.js" => Some(Self::Script),
            "/status.css" => Some(Self::Style),
            _ => None,
        }
    }

    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let (content_type, text) = match self {
            Self::Page => ("text/html; charset=utf-8", include_str!("page/status.html")),
            Self::Script => ("text/javascript", include_str!("page/status.js")),
            Self::Style => ("text/css", include_str!("page/status.css")),
        };
        let content_type = HeaderValue::from_static(content_type);
        let mut response = answer::with_content(StatusCode::OK, content_type, Full::from(text));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        for (name, value) in FURTHER {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Redirect to the path with a slash: the page's links are relative to that.
pub(super) fn add_slash(path: &str) -> Response<Full<Bytes>> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let location = HeaderValue::try_from(format!("{last}/"));
    let headers = response.headers_mut();
    headers.extend(location.ok().map(|location| (header::LOCATION, location)));
    response
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    outcome: Outcome,
    version: &'static str,
    started: String,
    draining: bool,
    sessions: Counts,
    sessions_ever: u64,
    held_requests: i64,
    pushes: u64,
    refreshes: Refreshes,
    hosts: Vec<Host<'a>>,
    failures: Vec<Recent<'a>>,
    incomplete_rosters: Vec<Incomplete>,
    last_hour: LastHour,
    /// All gateways of the cluster, this one first; none where it is alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<Gateway>,
    /// Why the numbers of some are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// A number for each minute, the oldest first; the last is the one that runs.
#[derive(Default, Serialize)]
struct LastHour {
    sessions: Vec<usize>,
    messages: Vec<u64>,
    refreshed: Vec<u64>,
    failures: Vec<u64>,
    /// Milliseconds that the backend took to answer, on average; null if it was not asked.
    answer: Vec<Option<f64>>,
}

impl From<Vec<Minute>> for LastHour {
    fn from(minutes: Vec<Minute>) -> Self {
        let mut all = Self::default();
        for minute in minutes {
            let millis = |took: Duration| took.as_secs_f64() * 1000.0;
            all.sessions.push(minute.sessions);
            all.messages.push(minute.messages);
            all.refreshed.push(minute.refreshed);
            all.failures.push(minute.failures);
            all.answer.push(minute.answer.map(millis));
        }
        all
    }
}

/// Most incomplete lists that are shown.
const MOST_INCOMPLETE: usize = 50;

/// List with entries that could not be used.
#[derive(Serialize)]
struct Incomplete {
    at: String,
    jid: String,
    left_out: usize,
    /// The first of them, each with the reason.
    contacts: String,
}

#[derive(Serialize)]
struct Refreshes {
    updated: u64,
    failed: u64,
    last: Option<String>,
}

#[derive(Serialize)]
struct Host<'a> {
    domain: &'a str,
    backend: Dependency,
    upstream: Dependency,
    /// Who holds the contact lists; null: they are none of the gateway's business.
    rosters: Option<&'static str>,
    writer: Dependency,
    unwritten_rosters: i64,
    events: Dependency,
    pending_events: i64,
    lost_events: u64,
    stale_rosters: u64,
}

/// How something does that the domain depends on.
#[derive(Serialize)]
struct Dependency {
    /// Whether it worked the last time; null if it has not been needed.
    works: Option<bool>,
    /// When it last did; null if it never has.
    last_worked: Option<String>,
}

impl From<&Health> for Dependency {
    fn from(health: &Health) -> Self {
        Self {
            works: health.works(),
            last_worked: health.last_worked().map(respond::date),
        }
    }
}

/// A failure of late.
#[derive(Serialize)]
struct Recent<'a> {
    domain: &'a str,
    part: &'static str,
    error: &'a str,
    count: u64,
    first: String,
    last: String,
    users: &'a VecDeque<String>,
}

impl<'a> From<&'a metrics::Failure> for Recent<'a> {
    fn from(failure: &'a metrics::Failure) -> Self {
        Self {
            domain: &failure.domain,
            part: failure.dependency.as_str(),
            error: &failure.error,
            count: failure.count,
            first: respond::date(failure.first),
            last: respond::date(failure.last),
            users: &failure.users,
        }
    }
}

/// The latest lists of which not all could be used, the latest first.
fn incomplete<S: ContactSource + 'static>(table: &Table<S>) -> Vec<Incomplete> {
    let hosts = table.0.iter();
    let hosts = hosts.filter_map(|(domain, served)| Some((domain, served.lists.as_ref()?)));
    let mut found: Vec<_> = hosts
        .flat_map(|(domain, lists)| {
            let source = match lists {
                Lists::Gateway(rosters) => rosters.source(),
                Lists::Server(rosters) => rosters.source(),
            };
            let lists = source.incomplete().into_iter();
            lists.map(move |list| (list.at, domain, list))
        })
        .collect();
    found.sort_by_key(|(at, ..)| Reverse(*at));
    found.truncate(MOST_INCOMPLETE);
    let shown = found.into_iter().map(|(at, domain, list)| Incomplete {
        at: respond::date(at),
        jid: format!("{}@{domain}", list.user),
        left_out: list.left_out.count(),
        contacts: list.left_out.to_string(),
    });
    shown.collect()
}

fn holder<S>(table: &Table<S>, domain: &str) -> Option<&'static str> {
    let served = table.0.iter().find(|(name, _)| name.as_str() == domain)?.1;
    Some(match served.lists.as_ref()? {
        Lists::Gateway(_) => "gateway",
        Lists::Server(_) => "server",
    })
}

/// What the page shows.
pub(super) fn status<S: ContactSource + 'static>(
    sessions: &Registry,
    table: &Table<S>,
    others: &Neighbours,
) -> Response<Full<Bytes>> {
    let survey: Survey = sessions.metrics.survey();
    let configured = survey.domains.iter().filter(|domain| {
        let mut names = table.0.keys();
        names.any(|name| name.as_str() == domain.name())
    });
    let hosts = configured.map(|domain| Host {
        domain: domain.name(),
        backend: (&domain.backend).into(),
        upstream: (&domain.upstream).into(),
        rosters: holder(table, domain.name()),
        writer: (&domain.writer).into(),
        unwritten_rosters: domain.unwritten.get(),
        events: (&domain.events).into(),
        pending_events: domain.events_pending.get(),
        lost_events: domain.events_lost.get(),
        stale_rosters: domain.stale.get(),
    });
    let mut sum = Share::of(sessions, &survey);
    let own = sessions
        .node
        .as_deref()
        .map(|node| sum.shown(node.to_owned()));
    for (_, share) in &others.words.said {
        sum.add(share);
    }
    let draining = sessions.is_closed();
    let outcome = Outcome::saying(if draining { "going down" } else { "serving" });
    let status = Status {
        outcome,
        version: env!("CARGO_PKG_VERSION"),
        started: respond::date(survey.started),
        draining,
        sessions: sum.sessions(),
        sessions_ever: sum.sessions_ever,
        held_requests: sum.held_requests,
        pushes: sum.pushes,
        refreshes: Refreshes {
            updated: sum.updated,
            failed: sum.failed,
            last: sum.last_refresh.map(respond::date),
        },
        hosts: hosts.collect(),
        failures: survey.failures.iter().map(Recent::from).collect(),
        incomplete_rosters: incomplete(table),
        last_hour: sessions.last_hour(Instant::now()).into(),
        gateways: own.into_iter().chain(others.lines()).collect(),
        incomplete: others
            .words
            .failures
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    answer::json(StatusCode::OK, &status)
}
