//! Prosody's side: the module `mod_rostergate`, which takes many contacts at once, and shows presence by itself.

use std::collections::{BTreeMap, HashMap};

use http::{Method, StatusCode};
use jid::{BareJid, DomainPart, Jid};
use serde::{Deserialize, Serialize};

use super::{
    Pace, WriteError,
    api::{Answer, Api},
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

/// A Prosody with the module.
#[derive(Debug)]
pub(super) struct Prosody(Api);

#[derive(Deserialize)]
struct Contacts {
    contacts: HashMap<String, Item>,
}

#[derive(Deserialize)]
struct Item {
    name: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    subscription: String,
    #[serde(default)]
    written: bool,
}

#[derive(Default, Serialize)]
struct Change<'a> {
    contacts: BTreeMap<&'a str, NewItem<'a>>,
    remove: Vec<&'a str>,
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
        Self(Api::new(endpoint, Some(domain.as_str()), connections))
    }

    pub(super) async fn held(&self, user: &Username) -> Result<Held, WriteError> {
        let nothing = None::<&()>;
        let answer = self
            .0
            .call("GET", Method::GET, &path(user), nothing)
            .await?;
        if is_no_user(&answer) {
            return Err(WriteError::NoSuchUser);
        }
        answer.expect_ok()?.read(held).await
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
        let path = path(user);
        for edits in edits.chunks(MOST_CHANGES) {
            let change = Change::of(edits);
            pace.wait(edits.len()).await;
            let answer = self
                .0
                .call("PUT", Method::PUT, &path, Some(&change))
                .await?;
            if is_no_user(&answer) {
                return Err(WriteError::NoSuchUser);
            }
            answer.expect_ok()?;
            *written += edits.len();
        }
        Ok(())
    }
}

/// Change of one contact.
enum Edit<'a> {
    Remove(&'a BareJid),
    Write(&'a Contact),
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

/// Whether the module says so. Prosody itself answers 404 if it has no such module or host.
fn is_no_user(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND && answer.is_about("no such user")
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
        let subscription = Subscription::of_attribute(&item.subscription);
        contacts.push(Contact::new(jid, item.name, item.groups, subscription));
    }
    held.roster = Roster::new(contacts);
    held
}
