//! Blocking of contacts (XEP-0191), for servers that know nothing of the contacts. Holds the changes that contacts are
//! being told, and the requests that the server has not answered. It does not keep the block list (see
//! [`blocked`](super::blocked)), and does not talk to other sessions.
//!
//! When a user blocks a contact, a server tells the contact that the user has gone, but only if it knows of a
//! subscription. After that it passes nothing on, the user's logout included, so the contact would see the user for
//! ever. So each of the user's sessions says goodbye to the contact before the server hears of the block. Once the
//! block is lifted, the two greet each other again.

use std::collections::VecDeque;

use super::{
    Effect,
    blocked::{Act, Change, Extent},
    bounce,
    identity::Identity,
    presence::PresenceService,
};
use crate::{
    proto::stanza::{IqType, Stanza},
    roster::Roster,
};

/// Contacts that one step looks at.
const TURN: usize = 64;
/// Most requests that the server has not answered; with more, the client is not read from.
const MAX_ASKED: usize = 256;
type Effects = VecDeque<Effect>;

/// Source of a change.
#[derive(Debug)]
enum Source {
    /// The client, by this request.
    Client(Box<Stanza>),
    /// Another session, or the answer to a request.
    Account,
    /// The server. It has made the change already, so contacts cannot be told any more.
    Server,
}

/// Changes of the block list that contacts are being told.
#[derive(Debug, Default)]
pub struct Blocking {
    /// With each change, the index of the contact that is next.
    changes: VecDeque<(Change, Source, usize)>,
    /// Requests that the server has not answered, in the order in which it makes the changes.
    asked: VecDeque<Asked>,
}

#[derive(Debug)]
struct Asked {
    /// `None`: another session asks for this block, once the server has had all before it.
    id: Option<Box<str>>,
    change: Change,
}

impl Blocking {
    /// Whether contacts are being told.
    pub fn is_busy(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether the server has yet to answer so many requests that there should not be more.
    pub fn is_full(&self) -> bool {
        self.asked.len() >= MAX_ASKED
    }

    /// The client asks to block or unblock somebody. A request without `id` is refused (RFC 6120 §8.2.3): its answer
    /// could not be recognized.
    pub fn client_asks(&mut self, request: Stanza, change: Change, effects: &mut Effects) {
        let Some(id) = request.id() else {
            let refusal = bounce::refused(&request, "modify", "bad-request");
            return effects.extend(refusal.map(Effect::ToClient));
        };
        self.asked.push_back(Asked {
            id: Some(id.into()),
            change: change.clone(),
        });
        match change.act() {
            Act::Block => {
                let source = Source::Client(Box::new(request));
                self.changes.push_back((change, source, 0));
            }
            // Contacts are greeted once the server has answered: until then, it would pass nothing on.
            Act::Unblock => effects.push_back(Effect::ToServer(request)),
        }
    }

    /// Another session of the account has heard of a change.
    pub fn account_changes(&mut self, change: Change) {
        if change.act() == Act::Block && !self.asked.is_empty() && !self.is_full() {
            self.asked.push_back(Asked {
                id: None,
                change: change.clone(),
            });
        }
        self.changes.push_back((change, Source::Account, 0));
    }

    /// The server tells of a change that another client has asked for.
    pub fn server_tells(&mut self, change: Change) {
        self.changes.push_back((change, Source::Server, 0));
    }

    /// The server has answered a request, perhaps one of those that wait. A block that failed is lifted again.
    pub fn server_answers(&mut self, kind: IqType, answer: &Stanza, effects: &mut Effects) {
        let Some(id) = answer.id() else { return };
        let is_it = |asked: &Asked| asked.id.as_deref() == Some(&*id);
        let place = self.asked.iter().position(is_it);
        let Some(Asked { change, .. }) = place.and_then(|place| self.asked.remove(place)) else {
            return;
        };
        match (change.act(), kind) {
            (Act::Block, IqType::Error) | (Act::Unblock, IqType::Result) => {
                let later = self.asked.iter().skip(place.unwrap_or_default());
                let lifted = change.lifted(later.map(|asked| &asked.change));
                effects.push_back(Effect::TellAccount(lifted.clone()));
                self.account_changes(lifted);
            }
            _ => {}
        }
        while self
            .asked
            .pop_front_if(|asked| asked.id.is_none())
            .is_some()
        {}
    }

    /// Tells the next few contacts. After the last one, the client's request may go to the server.
    pub fn go_on(
        &mut self,
        presence: &mut PresenceService,
        roster: Option<&Roster>,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let Some((change, source, place)) = self.changes.front_mut() else {
            return;
        };
        if *place == 0 {
            presence.blocked.note(change);
            if change.act() == Act::Block {
                presence.drop_blocked(identity, effects);
            }
        }
        let contacts = roster.map(Roster::contacts).unwrap_or_default();
        let is_told = !matches!(source, Source::Server);
        for contact in contacts.iter().skip(*place).take(TURN) {
            match (change.act(), change.extent_of(contact)) {
                (_, None) => {}
                (Act::Unblock, Some(_)) => presence.unblock(contact, effects),
                (Act::Block, Some(Extent::All)) => {
                    presence.block(contact, None, is_told, identity, effects);
                }
                (Act::Block, Some(Extent::Resources(resources))) => {
                    for resource in resources {
                        presence.block(contact, Some(resource), is_told, identity, effects);
                    }
                }
            }
        }
        *place = place.saturating_add(TURN);
        if *place < contacts.len() {
            return;
        }
        if let Some((change, Source::Client(request), _)) = self.changes.pop_front() {
            effects.push_back(Effect::Block(*request, change));
        }
    }
}
