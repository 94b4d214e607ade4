//! Roster service of one session (RFC 6121 §2): answers roster gets, refuses roster sets, and pushes changes. It holds
//! the list as the client knows it. It decides nothing about presence.

use std::sync::Arc;

use bytes::Bytes;
use jid::Jid;

use super::{
    Effect,
    bounce::{is_repeated, write_error},
    identity::Identity,
};
use crate::{
    proto::{
        stanza::Stanza,
        xml::{Ns, write::Tag},
    },
    roster::{Roster, address},
};

/// Beginning of the ids of our pushes.
const PUSH_ID: &str = "rostergate-push-";
/// Most roster gets of one session that wait for one roster.
const MAX_WAITING: usize = 100;

type Effects = std::collections::VecDeque<Effect>;

/// A roster get that waits for the roster.
#[derive(Debug)]
struct Get {
    id: String,
    to: Option<String>,
    /// The client has had an answer before: it begins anew.
    is_again: bool,
}

/// Roster of one session, as its client knows it.
#[derive(Debug, Default)]
pub struct RosterService {
    /// The roster that the client was last told of.
    roster: Option<Arc<Roster>>,
    interested: bool,
    waiting: Vec<Get>,
    pushes: u64,
}

impl RosterService {
    /// The roster that the client was last told of.
    pub fn roster(&self) -> Option<&Roster> {
        self.roster.as_deref()
    }

    /// True once a roster get has been answered, even with an error: clients do not ask again, so pushes have to bring
    /// the list later.
    pub fn is_interested(&self) -> bool {
        self.interested
    }

    /// Whether a roster get waits for the roster.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many pushes there have been.
    pub fn pushes(&self) -> u64 {
        self.pushes
    }

    /// Whether the reply has the `id` of a push that the client has been given.
    pub fn has_pushed(&self, reply: &Stanza) -> bool {
        reply.id().is_some_and(|id| {
            let number = id.strip_prefix(PUSH_ID).unwrap_or_default();
            let push = number
                .parse()
                .ok()
                .filter(|push: &u64| push.to_string() == number);
            push.is_some_and(|push| (1..=self.pushes).contains(&push))
        })
    }

    /// The client asks for its roster.
    pub fn client_get(&mut self, get: &Stanza, identity: &Identity, effects: &mut Effects) {
        if !identity.has_list() {
            return refuse_without_list(get, identity, effects);
        }
        let id = get.id().filter(|id| is_repeated(id));
        let Some(id) = id else {
            return refuse(get, identity, "modify", "bad-request", effects);
        };
        if self.waiting.len() >= MAX_WAITING {
            return refuse(get, identity, "wait", "resource-constraint", effects);
        }
        // An address may be written at any length; one that is too long for an answer is not kept.
        let to = get.to().filter(|to| is_repeated(to));
        let to = to.map(|to| to.into_owned());
        self.waiting.push(Get {
            id: id.into_owned(),
            to,
            is_again: self.interested,
        });
        effects.push_back(Effect::NeedRoster);
    }

    /// The client asks to change its roster. That is refused: the site owns it. A push then puts right what the client
    /// may already show.
    pub fn client_set(&mut self, set: &Stanza, identity: &Identity, effects: &mut Effects) {
        if !identity.has_list() {
            return refuse_without_list(set, identity, effects);
        }
        refuse(set, identity, "cancel", "not-allowed", effects);
        let query = set.children().find(|child| child.is(Ns::Roster, "query"));
        let items = query.iter().flat_map(|query| query.children());
        // RFC 6121 §2.1.5: a set carries one item; more would only multiply the work.
        if let Some(jid) = items
            .take(1)
            .find_map(|item| item.attribute("jid").map(into_owned))
        {
            self.push_contact(&jid, identity, effects);
        }
    }

    /// The client asks for somebody's presence. It is answered as if that person declined, and a push puts right what
    /// the client may already show.
    pub fn client_subscribes(
        &mut self,
        subscribe: &Stanza,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let contact = subscribe.to().and_then(|to| address::prepare(&to));
        let Some(contact) = contact.map(Jid::into_bare) else {
            return;
        };
        let declined = Tag::new("presence")
            .ns(Ns::Client)
            .attribute("type", "unsubscribed")
            .attribute("from", contact.as_str())
            .attribute("to", identity.bare())
            .empty();
        effects.push_back(Effect::ToClient(Stanza::ours(declined)));
        self.push_contact(contact.as_str(), identity, effects);
    }

    /// Answers the roster gets that wait. Returns whether the client had been answered before: it may have forgotten
    /// what else it was told of its contacts.
    pub fn answer_waiting(&mut self, identity: &Identity, effects: &mut Effects) -> bool {
        let Some(roster) = &self.roster else {
            return false;
        };
        let mut is_again = false;
        for get in self.waiting.drain(..) {
            self.interested = true;
            is_again |= get.is_again;
            let mut at = 0;
            let reply = reply("result", Some(&get.id), get.to.as_deref(), identity);
            let text = reply.content(|out| {
                Tag::within(out, "query")
                    .ns(Ns::Roster)
                    .content(|out| at = out.len());
            });
            let answer = Stanza::from_trusted(text.into(), at, roster.items());
            effects.push_back(Effect::ToClient(answer));
        }
        is_again
    }

    /// Answers the roster gets that wait with an error: the roster could not be fetched.
    pub fn refuse_waiting(&mut self, identity: &Identity, effects: &mut Effects) {
        for get in self.waiting.drain(..) {
            self.interested = true;
            // Not service-unavailable: Converse understands that as "there are no rosters here".
            let reply = reply("error", Some(&get.id), get.to.as_deref(), identity);
            let error = reply.content(|out| write_error(out, "wait", "internal-server-error"));
            effects.push_back(Effect::ToClient(Stanza::ours(error)));
        }
    }

    /// Takes over a new roster. Returns the old one if the client is to be told of the difference. The flag is true if
    /// there was no roster, and the client has been told so by an error: then the old one is empty.
    pub fn replace(&mut self, new: &Arc<Roster>) -> Option<(Arc<Roster>, bool)> {
        let old = self.roster.replace(Arc::clone(new));
        let is_late = old.is_none() && self.interested && self.waiting.is_empty();
        let old = old.or_else(|| is_late.then(Arc::default))?;
        Some((old, is_late))
    }

    /// Pushes one contact as it is on the list, or its removal.
    fn push_contact(&mut self, jid: &str, identity: &Identity, effects: &mut Effects) {
        let Some(roster) = &self.roster else { return };
        let prepared = address::prepare(jid).map(Jid::into_bare);
        let jid = prepared.as_ref().map_or(jid, |prepared| prepared.as_str());
        let item = match roster.index_of(jid) {
            Some(index) => roster.item(index),
            None => removal(jid),
        };
        self.push(&item, identity, effects);
    }

    /// Pushes an item to this session, but only if it has asked for its roster (RFC 6121 §2.1.6).
    pub(super) fn push(&mut self, item: &[u8], identity: &Identity, effects: &mut Effects) {
        if !self.interested {
            return;
        }
        self.pushes = self.pushes.wrapping_add(1);
        let push = Tag::new("iq")
            .ns(Ns::Client)
            .attribute("type", "set")
            .plain("id", format_args!("{PUSH_ID}{}", self.pushes))
            .attribute("to", identity.full())
            .content(|out| {
                Tag::within(out, "query")
                    .ns(Ns::Roster)
                    .content(|out| out.extend_from_slice(item));
            });
        effects.push_back(Effect::ToClient(Stanza::ours(push)));
    }
}

/// Answers a push of the server's own roster in the client's place: the client must not see that list.
pub fn acknowledge_server_push(push: &Stanza, effects: &mut Effects) {
    let result = Tag::new("iq")
        .ns(Ns::Client)
        .attribute("type", "result")
        .attribute_if("id", push.id().as_deref())
        .empty();
    effects.push_back(Effect::ToServer(Stanza::ours(result)));
}

/// Answers as a server without rosters does (RFC 6121 §2.1.3). Clients then do not ask again for a list that will never
/// be there.
fn refuse_without_list(iq: &Stanza, identity: &Identity, effects: &mut Effects) {
    refuse(iq, identity, "cancel", "service-unavailable", effects);
}

fn refuse(iq: &Stanza, identity: &Identity, kind: &str, condition: &str, effects: &mut Effects) {
    let reply = reply("error", iq.id().as_deref(), iq.to().as_deref(), identity);
    let error = reply.content(|out| write_error(out, kind, condition));
    effects.push_back(Effect::ToClient(Stanza::ours(error)));
}

/// Start tag of an answer to the client, from the address that it has asked.
fn reply(
    kind: &str,
    id: Option<&str>,
    asked: Option<&str>,
    identity: &Identity,
) -> Tag<'static, Vec<u8>> {
    Tag::new("iq")
        .ns(Ns::Client)
        .attribute("type", kind)
        .attribute_if("id", id.filter(|id| is_repeated(id)))
        .attribute_if("from", asked.filter(|asked| is_repeated(asked)))
        .attribute("to", identity.full())
}

/// The `<item/>` that takes a contact off the list.
pub(super) fn removal(jid: &str) -> Bytes {
    let item = Tag::new("item")
        .attribute("jid", jid)
        .attribute("subscription", "remove")
        .empty();
    item.into()
}

fn into_owned(text: std::borrow::Cow<'_, str>) -> String {
    text.into_owned()
}
