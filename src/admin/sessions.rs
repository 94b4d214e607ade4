//! List of sessions, for people who look into them. It does not ask the sessions: it shows what each has written into
//! its record (`session::Record`).

use std::{borrow::Cow, cmp::Reverse, collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use jid::BareJid;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::respond::{Failure, Outcome};
use crate::{
    cluster::NodeName,
    net::answer,
    roster::{Username, address},
    session::{Counts, Record, Registry},
};

/// Most sessions in one answer, where nothing else is asked for; and if whatever is asked for.
const USUAL_LIMIT: usize = 100;
const MOST: usize = 1000;

/// Which sessions are to be listed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Filter {
    /// Prepared; a bare JID, or a localpart of any domain.
    user: Option<String>,
    /// Only sessions with a higher number.
    after: After,
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
                    let after = After::parse(&value);
                    filter.after = after.ok_or_else(|| fault("the next of another answer"))?;
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
        self.user.as_deref().is_none_or(|user| {
            let jid = record.jid().and_then(|jid| jid.split('/').next());
            jid.is_some_and(|jid| match user.contains('@') {
                true => jid == user,
                false => jid.split('@').next() == Some(user),
            })
        })
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(USUAL_LIMIT)
    }
}

#[derive(Serialize)]
struct Survey<'a> {
    #[serde(flatten)]
    outcome: Outcome,
    /// Of all sessions, listed or not.
    counts: Counts,
    sessions: Vec<Shown<'a>>,
    /// There are more: ask for those `after` this one.
    next: Option<Next>,
    /// Why some may be missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
}

/// What the next request says in `after`.
#[derive(Serialize)]
#[serde(untagged)]
enum Next {
    Number(u64),
    Each(String),
}

#[derive(Serialize)]
struct Shown<'a> {
    /// Where it is, if there are several gateways.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    #[serde(flatten)]
    session: &'a Session,
}

/// A session as it is shown.
#[derive(Deserialize, Serialize)]
pub(super) struct Session {
    number: u64,
    domain: String,
    jid: Option<String>,
    address: IpAddr,
    /// Seconds.
    age: u64,
    front: Cow<'static, str>,
    protocol: Cow<'static, str>,
    tls: bool,
    state: Cow<'static, str>,
    /// Seconds.
    asleep: Option<u64>,
    interested: bool,
}

impl Session {
    fn new(record: &Record, now: Instant) -> Self {
        let origin = record.origin();
        let now = now.into_std();
        Self {
            number: record.number(),
            domain: record.domain().to_owned(),
            jid: record.jid().map(str::to_owned),
            address: origin.address.ip(),
            age: record.age(now).as_secs(),
            front: record.front().as_str().into(),
            protocol: origin.protocol.as_str().into(),
            tls: origin.secure,
            state: record.state().as_str().into(),
            asleep: record.asleep_for(now).map(|asleep| asleep.as_secs()),
            interested: record.is_interested(),
        }
    }
}

/// The sessions of one gateway.
#[derive(Deserialize, Serialize)]
pub(super) struct Listed {
    counts: Vec<usize>,
    /// The oldest that are wanted.
    sessions: Vec<Session>,
    has_more: bool,
}

/// Counts all sessions here, and lists the oldest that the filter lets through.
pub(super) fn own(registry: &Registry, filter: &Filter) -> Listed {
    let limit = filter.limit().min(MOST);
    let after = filter.after.of(registry.node.as_deref());
    let mut counts = Counts::default();
    let mut listed: BTreeMap<u64, Arc<Record>> = BTreeMap::new();
    let mut has_more = false;
    for record in registry.records().flatten() {
        counts.count(&record);
        if record.number() > after && filter.lists(&record) {
            listed.insert(record.number(), record);
            if listed.len() > limit {
                listed.pop_last();
                has_more = true;
            }
        }
    }
    let now = Instant::now();
    Listed {
        counts: counts.numbers(),
        sessions: listed.values().map(|it| Session::new(it, now)).collect(),
        has_more,
    }
}

/// The answer that the lists of gateways make; one without a name is the only one.
pub(super) fn list(
    filter: &Filter,
    listed: &[(Option<NodeName>, Listed)],
    incomplete: Vec<String>,
) -> Response<Full<Bytes>> {
    let mut counts = Counts::default();
    let mut sessions = Vec::new();
    for (node, listed) in listed {
        counts.add(&listed.counts);
        let gateway = node.as_ref().map(NodeName::as_str);
        let of_one = listed.sessions.iter();
        sessions.extend(of_one.map(|session| Shown { gateway, session }));
    }
    // Those of one gateway are in this order, whatever their ages are rounded to.
    sessions.sort_by_key(|it| (Reverse(it.session.age), it.gateway));
    let has_more = listed.iter().any(|(_, it)| it.has_more) || sessions.len() > filter.limit();
    sessions.truncate(filter.limit());
    let next = || {
        let mut after = filter.after.clone();
        for it in &sessions {
            after.pass(it.gateway, it.session.number);
        }
        match after {
            After::Number(number) => Next::Number(number),
            After::Each(_) => Next::Each(after.to_string()),
        }
    };
    let survey = Survey {
        outcome: Outcome::saying(format!("sessions: {}", counts.total())),
        counts,
        next: has_more.then(next),
        sessions,
        incomplete,
    };
    answer::json(StatusCode::OK, &survey)
}

/// After which session a list goes on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum After {
    /// Of each gateway, if there are several.
    Number(u64),
    /// Of the gateways of these names; of others, all.
    Each(BTreeMap<String, u64>),
}

impl Default for After {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl After {
    /// A number, or for several gateways `a.12-b.7`.
    fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let each = text.split('-').map(|part| {
            let (node, number) = part.split_once('.')?;
            let node = NodeName::new(node)?;
            Some((node.to_string(), number.parse().ok()?))
        });
        each.collect::<Option<_>>().map(Self::Each)
    }

    fn of(&self, node: Option<&str>) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Each(each) => node
                .and_then(|it| each.get(it))
                .copied()
                .unwrap_or_default(),
        }
    }

    /// This one has been listed.
    fn pass(&mut self, node: Option<&str>, number: u64) {
        match (&mut *self, node) {
            (Self::Number(last), None) => *last = number,
            (Self::Each(each), Some(node)) => {
                let last = each.entry(node.to_owned()).or_default();
                *last = number.max(*last);
            }
            (Self::Number(_), Some(node)) => {
                *self = Self::Each(BTreeMap::from([(node.to_owned(), number)]));
            }
            (Self::Each(_), None) => {}
        }
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Each(each) => {
                let each = each.iter().map(|(node, number)| format!("{node}.{number}"));
                f.write_str(&each.collect::<Vec<_>>().join("-"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u64, age: u64) -> Session {
        Session {
            number,
            domain: "example.org".to_owned(),
            jid: None,
            address: [127, 0, 0, 1].into(),
            age,
            front: "bosh".into(),
            protocol: "HTTP/1.1".into(),
            tls: false,
            state: "bound".into(),
            asleep: None,
            interested: false,
        }
    }

    /// The sessions of two gateways, each with so many seconds of age.
    fn two(filter: &Filter, ages: [&[u64]; 2]) -> Vec<(Option<NodeName>, Listed)> {
        let nodes = ["a", "b"].into_iter().zip(ages);
        let lists = nodes.map(|(node, ages)| {
            let numbered = (1..).zip(ages).map(|(number, age)| session(number, *age));
            let after = filter.after.of(Some(node));
            let mut sessions: Vec<_> = numbered.filter(|it| it.number > after).collect();
            let has_more = sessions.len() > filter.limit();
            sessions.truncate(filter.limit());
            let counts = Vec::new();
            let listed = Listed {
                counts,
                sessions,
                has_more,
            };
            (NodeName::new(node), listed)
        });
        lists.collect()
    }

    async fn said(response: Response<Full<Bytes>>) -> serde_json::Value {
        use http_body_util::BodyExt as _;

        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn the_sessions_of_two_gateways_come_oldest_first_each_once() {
        let ages: [&[u64]; 2] = [&[90, 50, 50, 10], &[70, 50, 20]];
        let mut filter = Filter {
            limit: Some(2),
            ..Filter::default()
        };
        let mut seen = Vec::new();
        for _ in 0..10 {
            let answer = said(list(&filter, &two(&filter, ages), Vec::new())).await;
            for session in answer["sessions"].as_array().unwrap() {
                let gateway = session["gateway"].as_str().unwrap();
                seen.push(format!("{gateway}{}", session["number"]));
            }
            let Some(next) = answer["next"].as_str() else {
                break;
            };
            filter.after = After::parse(next).unwrap();
        }
        assert_eq!(seen, ["a1", "b1", "a2", "a3", "b2", "b3", "a4"]);
    }

    #[test]
    fn where_a_list_goes_on_is_a_number_or_one_for_each_gateway() {
        for text in ["0", "17", "a.1", "a.12-b.7"] {
            assert_eq!(After::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "-1", "a", "a.", "A.1", "a.1-", "a.1,b.2", "a.x"] {
            assert_eq!(After::parse(text), None, "{text}");
        }
        let after = After::parse("a.12").unwrap();
        assert_eq!(
            [Some("a"), Some("b"), None].map(|it| after.of(it)),
            [12, 0, 0]
        );
    }
}
