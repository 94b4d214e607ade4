//! Prosody's side: the module `mod_rostergate`, which takes many contacts at once, and shows presence by itself.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
};

use http::{Method, StatusCode};
use jid::{BareJid, DomainPart, Jid};
use serde::{Deserialize, Serialize};

use super::{
    WriteError,
    api::{Answer, Api},
    pace::Pace,
};
use crate::{
    config::WriterEndpoint,
    net::http_client::path_segment,
    roster::{
        Contact, Roster, Subscription, Username, address,
        plan::{Changes, Held},
    },
};

/// Most changes of one request.
const MOST_CHANGES: usize = 1000;
/// About the longest body of one request, bytes: the module refuses more than a megabyte.
const MOST_BYTES: usize = 512 << 10;

/// Bytes of a contact in a body that has neither name nor groups.
const EMPTY: usize = 64;

/// What is asked, as errors name it.
const READ: &str = "GET /rosters/USER";
const WRITE: &str = "PUT /rosters/USER";

/// A Prosody with the module.
#[derive(Debug)]
pub(super) struct Prosody(Api);

#[derive(Deserialize)]
struct Contacts {
    contacts: HashMap<String, Item>,
    #[serde(default)]
    open: Vec<String>,
}

#[derive(Deserialize)]
struct Item {
    name: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    subscription: String,
    ask: Option<String>,
    #[serde(default)]
    written: bool,
}

#[derive(Default, Serialize)]
struct Change<'a> {
    contacts: BTreeMap<&'a str, NewItem<'a>>,
    remove: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    close: Vec<&'a str>,
}

#[derive(Serialize)]
struct NewItem<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    groups: &'a [String],
    subscription: &'static str,
}

impl Prosody {
    pub(super) fn new(endpoint: &WriterEndpoint, domain: &DomainPart, connections: usize) -> Self {
        let host = Some(domain.as_str());
        Self(Api::new("Prosody", endpoint, host, connections))
    }

    pub(super) async fn held(&self, user: &Username) -> Result<Held, WriteError> {
        let (path, nothing) = (path(user), None::<&()>);
        let answer = self.0.call(READ, Method::GET, &path, nothing);
        let answer = accept(answer.await?)?;
        answer.read(held).await
    }

    /// Makes the changes; counts them in `written`.
    pub(super) async fn write(
        &self,
        user: &Username,
        changes: &Changes,
        pace: &Pace,
        written: &mut usize,
    ) -> Result<(), WriteError> {
        let removals = changes.removals.iter().map(Edit::Remove);
        let edits: Vec<_> = removals
            .chain(changes.writes.iter().map(Edit::Write))
            .collect();
        let mut parts: Vec<_> = parts(&edits).map(Change::of).collect();
        if parts.is_empty() {
            parts.push(Change::default());
        }
        // A pair is open before anything of it is written, and closed after all of it.
        if let Some(first) = parts.first_mut() {
            first.open = texts(&changes.opened);
        }
        if let Some(last) = parts.last_mut() {
            last.close = texts(&changes.closed);
        }
        for part in &parts {
            let edits = part.contacts.len() + part.remove.len();
            pace.wait(edits).await;
            self.put(user, part).await?;
            *written += edits;
        }
        Ok(())
    }

    pub(super) async fn open(
        &self,
        user: &Username,
        contacts: Vec<BareJid>,
    ) -> Result<(), WriteError> {
        let change = Change {
            open: texts(&contacts),
            ..Change::default()
        };
        self.put(user, &change).await
    }

    async fn put(&self, user: &Username, change: &Change<'_>) -> Result<(), WriteError> {
        let path = path(user);
        let answer = self.0.call(WRITE, Method::PUT, &path, Some(change));
        accept(answer.await?).map(drop)
    }
}

/// Change of one contact.
enum Edit<'a> {
    Remove(&'a BareJid),
    Write(&'a Contact),
}

impl Edit<'_> {
    /// About how many bytes it takes in a body, where each character may be escaped.
    fn size(&self) -> usize {
        let of = |text: &str| serde_json::to_string(text).map_or(0, |json| json.len());
        match self {
            Self::Remove(jid) => of(jid.as_str()) + 1,
            Self::Write(contact) => {
                let texts = contact.groups.iter().chain(&contact.name);
                let texts: usize = texts.map(|text| of(text) + 1).sum();
                of(contact.jid.as_str()) + texts + EMPTY
            }
        }
    }
}

/// The edits of each request, in their order.
fn parts<'e, 'a>(edits: &'e [Edit<'a>]) -> impl Iterator<Item = &'e [Edit<'a>]> {
    let mut left = edits;
    iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = left.iter().take(MOST_CHANGES).take_while(|edit| {
            bytes += edit.size();
            bytes <= MOST_BYTES
        });
        // One that is longer than that goes alone.
        let (part, rest) = left.split_at(fitting.count().max(1).min(left.len()));
        left = rest;
        (!part.is_empty()).then_some(part)
    })
}

impl<'a> Change<'a> {
    fn of(edits: &[Edit<'a>]) -> Self {
        let mut change = Self::default();
        for edit in edits {
            match edit {
                Edit::Remove(jid) => change.remove.push(jid.as_str()),
                Edit::Write(contact) => change.contacts.extend([NewItem::of(contact)]),
            }
        }
        change
    }
}

impl<'a> NewItem<'a> {
    fn of(contact: &'a Contact) -> (&'a str, Self) {
        let item = Self {
            name: contact.name.as_deref(),
            groups: &contact.groups,
            subscription: contact.subscription.as_str(),
        };
        (contact.jid.as_str(), item)
    }
}

/// The answer, if it is no error. Prosody itself answers 404, too, if it has no such module or host.
fn accept(answer: Answer) -> Result<Answer, WriteError> {
    if answer.status != StatusCode::NOT_FOUND {
        return answer.expect_ok();
    }
    Err(match answer.is_about("no such user") {
        true => WriteError::NoSuchUser,
        false => WriteError::NoInterface {
            asked: answer.asked,
            interface: "mod_rostergate for this domain",
        },
    })
}

fn texts(jids: &[BareJid]) -> Vec<&str> {
    jids.iter().map(|jid| jid.as_str()).collect()
}

fn path(user: &Username) -> String {
    format!("/rosters/{}", path_segment(user.as_str()))
}

/// The list in an answer. A contact whose address the gateway would not understand is none of its own: it stays.
fn held(answer: Contacts) -> Held {
    let mut held = Held::default();
    let mut contacts = Vec::new();
    for (jid, item) in answer.contacts {
        let Some(jid) = address::prepare(&jid).map(Jid::into_bare) else {
            continue;
        };
        if item.written {
            held.written.insert(jid.clone());
        }
        if item.ask.is_some() {
            held.asked.insert(jid.clone());
        }
        let subscription = Subscription::of_attribute(&item.subscription);
        contacts.push(Contact::new(jid, item.name, item.groups, subscription));
    }
    held.roster = Roster::new(contacts);
    let open = answer.open.iter();
    held.open = open
        .filter_map(|jid| address::prepare(jid).map(Jid::into_bare))
        .collect();
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::testing::contact;

    #[test]
    fn a_request_is_neither_long_nor_of_many_changes() {
        let sizes = |contacts: &[Contact]| {
            let edits: Vec<_> = contacts.iter().map(Edit::Write).collect();
            let parts: Vec<_> = parts(&edits).collect();
            for part in parts.iter().filter(|part| part.len() > 1) {
                let body = serde_json::to_vec(&Change::of(part)).unwrap();
                assert!(body.len() <= MOST_BYTES + 100, "{}", body.len());
            }
            parts.iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        assert!(sizes(&[]).is_empty());
        let named = |number: usize, name: &str| {
            let mut contact = contact(&format!("c{number}@x.org"));
            contact.name = Some(name.into());
            contact.groups = vec![name.into(); 2];
            contact
        };
        let short: Vec<_> = (0..2500).map(|number| named(number, "a")).collect();
        assert_eq!(sizes(&short), [1000, 1000, 500]);
        // Escaped, they are six times as long.
        let text = "\u{1}".repeat(10_000);
        let long: Vec<_> = (0..7).map(|number| named(number, &text)).collect();
        assert_eq!(sizes(&long), [2, 2, 2, 1]);
        let longer = named(0, &"a".repeat(MOST_BYTES));
        assert_eq!(sizes(&[longer.clone(), named(1, "a"), longer]), [1, 1, 1]);
    }
}
