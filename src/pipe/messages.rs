//! Messages where only contacts may write to each other (`messages_from = "contacts"`): which of them pass, and what is
//! answered to the others. It looks at addresses and lists, and at nothing that a message says.
//!
//! People are contacts if one of them has the other on the list with any subscription but `none`: lists are two sides of
//! one thing, so `to` on one is `from` on the other. Where the own list does not have the other, that of the other
//! decides, if its owner is online.
//!
//! | the other address | the message |
//! |---|---|
//! | the own account, or the domain | passes |
//! | without a localpart: a server or a service | passes |
//! | at a subdomain of the domain, where no people are served: rooms and other services | passes |
//! | a room that the client has joined, at any other domain | passes |
//! | anybody else | passes between contacts |
//!
//! What does not pass is answered to its sender, but for what says nothing (that somebody writes, that a message was
//! read), headlines and messages to many. Errors are never answered; between strangers, only the fact is passed on,
//! without any text. Copies of messages (XEP-0280) are dropped as the messages are.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use super::{
    Effect, Pipe, Side, bounce,
    identity::{Identity, Whose},
};
use crate::{
    proto::{
        handover::message::carbon,
        stanza::{Kind, MessageType, PresenceType, Stanza},
        xml::Ns,
    },
    roster::{Contact, Roster, Subscription, Username, address},
};

/// Most rooms elsewhere of one client.
const MAX_ROOMS: usize = 256;

/// What is to become of a message.
#[derive(Debug, Eq, PartialEq)]
enum Fate {
    Passes,
    /// The list of this user of the domain decides.
    UpTo(Username),
    /// The own list has to be there first.
    Waits,
    Refused,
}

/// What a session has to do with messages between strangers.
#[derive(Debug, Default)]
pub struct Messages {
    /// Domains whose addresses are those of people, though they may be subdomains of the session's.
    people_at: Arc<[String]>,
    /// Addresses that the client has sent presence to, and those of them that have answered as rooms do.
    greeted: HashSet<Box<str>>,
    rooms: HashSet<Box<str>>,
    /// A message of the client, and one of the server, that wait for the list. There are no more: neither side is
    /// heard meanwhile.
    from_client: Option<Box<Stanza>>,
    from_server: Option<Box<Stanza>>,
    /// The list cannot be had at the moment.
    has_no_list: bool,
}

fn bare_of(address: &str) -> &str {
    address.split('/').next().unwrap_or_default()
}

/// Whether a contact and the owner of the list may write to each other.
pub fn is_welcome(contact: Option<&Contact>) -> bool {
    contact.is_some_and(|contact| contact.subscription != Subscription::None)
}

/// Whether somebody waits for an answer to the message.
fn is_answered(message: &Stanza) -> bool {
    let kind = message.attribute("type");
    message.kind() == Kind::Message(MessageType::Other)
        && !matches!(kind.as_deref(), Some("groupchat" | "headline"))
        && says_something(message)
}

/// Whether the message is more than a note beside others.
fn says_something(message: &Stanza) -> bool {
    let says = |local: &str| matches!(local, "body" | "subject" | "encrypted" | "openpgp" | "x");
    message.children().any(|child| says(child.local()))
}

impl Messages {
    pub(super) fn at(people_at: Arc<[String]>) -> Self {
        Self {
            people_at,
            ..Self::default()
        }
    }

    /// The client sends presence to one address.
    pub(super) fn client_greets(&mut self, presence: &Stanza, to: &str) {
        let bare = bare_of(to);
        match presence.kind() {
            Kind::Presence(PresenceType::Available) if self.greeted.len() < MAX_ROOMS => {
                self.greeted.insert(bare.into());
            }
            Kind::Presence(PresenceType::Unavailable) => {
                self.greeted.remove(bare);
                self.rooms.remove(bare);
            }
            _ => {}
        }
    }

    /// Somebody sends presence.
    pub(super) fn server_greets(&mut self, presence: &Stanza) {
        let Some(from) = presence.from() else { return };
        let bare = bare_of(&from);
        if self.greeted.contains(bare) && presence.has_child(Ns::MucUser) {
            self.rooms.insert(bare.into());
        }
    }

    /// What becomes of a message from or to `other`.
    fn fate(&self, other: &str, identity: &Identity, domain: &str, list: Option<&Roster>) -> Fate {
        let bare = bare_of(other);
        let has_localpart = bare.contains(['@', '\u{fe6b}', '\u{ff20}']);
        if !has_localpart || bare == identity.bare() {
            return Fate::Passes;
        }
        let is_listed = |jid: &str| list.is_some_and(|list| is_welcome(list.get(jid)));
        if is_listed(bare) {
            return Fate::Passes;
        }
        // Whom a server may mean by what is no address, nobody knows: Prosody takes `＠` for an `@`.
        let Some(jid) = address::prepare(other) else {
            return Fate::Refused;
        };
        let is_own = || matches!(identity.whose(Some(other)), Whose::Own | Whose::Near);
        let its_domain = jid.domain().as_str();
        // Those of the own domain are people, whatever they say of themselves.
        let is_here = address::is_same_domain(its_domain, domain);
        let is_of_people = is_here || self.people_at.iter().any(|it| it == its_domain);
        if self.rooms.contains(bare) && !is_of_people {
            return Fate::Passes;
        }
        if identity.has_list() && is_own() || self.is_service(its_domain, domain) {
            return Fate::Passes;
        }
        if is_listed(jid.to_bare().as_str()) {
            return Fate::Passes;
        }
        if !identity.has_list() {
            return Fate::Refused;
        }
        if list.is_none() {
            return match self.has_no_list {
                true => Fate::Passes,
                false => Fate::Waits,
            };
        }
        match jid.node() {
            Some(node) if is_here => Fate::UpTo(node.into()),
            _ => Fate::Refused,
        }
    }

    fn is_service(&self, its: &str, domain: &str) -> bool {
        let is_below = its.strip_suffix(domain).is_some_and(|it| it.ends_with('.'));
        is_below && !self.people_at.iter().any(|it| it == its)
    }
}

impl Pipe {
    /// The list as it is now.
    fn list_now(&self) -> Option<&Roster> {
        let next = self.next_roster.as_deref();
        next.or_else(|| self.service.roster())
    }

    fn fate_of(&self, other: Option<&str>, identity: &Identity) -> Fate {
        let Some(other) = other.filter(|other| !other.is_empty()) else {
            return Fate::Passes;
        };
        let list = self.list_now();
        self.messages.fate(other, identity, &self.domain, list)
    }

    /// The client sends a message.
    pub(super) fn client_message(&mut self, message: Stanza) {
        let Some(identity) = &self.identity else {
            return self.effects.push_back(Effect::ToServer(message));
        };
        let fate = self.fate_of(message.to().as_deref(), identity);
        let is_error = message.kind() == Kind::Message(MessageType::Error);
        let effect = match fate {
            Fate::Passes => Effect::ToServer(message),
            _ if is_error => Effect::ToServer(bounce::without_text(&message)),
            Fate::Waits => {
                self.messages.from_client = Some(Box::new(message));
                Effect::NeedRoster
            }
            Fate::Refused => refused(&message, Side::Client, is_answered(&message)),
            Fate::UpTo(other) => {
                let no = refused(&message, Side::Client, is_answered(&message));
                Effect::IfWelcome {
                    other,
                    yes: Box::new(Effect::ToServer(message)),
                    no: Box::new(no),
                }
            }
        };
        self.effects.push_back(effect);
    }

    /// The server sends a message.
    pub(super) fn server_message(&mut self, message: Stanza) {
        let Some(identity) = &self.identity else {
            return self.effects.push_back(Effect::ToClient(message));
        };
        let from = message.from();
        let is_own = identity.is_own_server(from.as_deref());
        let copied = is_own.then(|| copied_from(&message)).flatten();
        let is_copy = copied.is_some();
        let fate = self.fate_of(copied.or(from).as_deref(), identity);
        let is_error = !is_copy && message.kind() == Kind::Message(MessageType::Error);
        let is_answered = !is_copy && is_answered(&message);
        let effect = match fate {
            Fate::Passes => Effect::ToClient(message),
            _ if is_error => Effect::ToClient(bounce::without_text(&message)),
            Fate::Waits => {
                self.messages.from_server = Some(Box::new(message));
                Effect::NeedRoster
            }
            Fate::Refused => refused(&message, Side::Server, is_answered),
            Fate::UpTo(other) => {
                let no = refused(&message, Side::Server, is_answered);
                Effect::IfWelcome {
                    other,
                    yes: Box::new(Effect::ToClient(message)),
                    no: Box::new(no),
                }
            }
        };
        self.effects.push_back(effect);
    }

    /// Whether a message of the client waits for the list: nothing that the client sends after it may pass it.
    pub fn holds_of_client(&self) -> bool {
        self.messages.from_client.is_some()
    }

    /// Whether a message of the server waits for the list: the server must not be read from, and the message does not
    /// count as dealt with.
    pub fn holds_of_server(&self) -> bool {
        self.messages.from_server.is_some()
    }

    /// Gives up the message of the client that waits.
    pub fn take_held_of_client(&mut self) -> Option<Stanza> {
        self.messages.from_client.take().map(|it| *it)
    }

    /// Gives up the message of the server that waits.
    pub fn take_held_of_server(&mut self) -> Option<Stanza> {
        self.messages.from_server.take().map(|it| *it)
    }

    /// The list is there, or cannot be had: what waits goes on.
    pub(super) fn release_messages(&mut self, has_list: bool) {
        self.messages.has_no_list = !has_list;
        if let Some(message) = self.take_held_of_server() {
            self.server_message(message);
        }
        if let Some(message) = self.take_held_of_client() {
            self.client_message(message);
        }
    }
}

fn refused(message: &Stanza, sender: Side, is_answered: bool) -> Effect {
    let answer = is_answered.then(|| bounce::not_contacts(message, sender));
    Effect::Refused { answer, sender }
}

/// Who has sent the message that this is a copy of, to another client of the account.
fn copied_from(message: &Stanza) -> Option<Cow<'static, str>> {
    if !message.may_have(Ns::Carbons) {
        return None;
    }
    let (copy, inner) = carbon(message)?;
    let from = inner
        .attribute("from")
        .filter(|_| copy.local() == "received")?;
    Some(Cow::Owned(from.into_owned()))
}
