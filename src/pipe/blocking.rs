//! Blocked contacts (XEP-0191), where the server knows nothing of the contacts.
//!
//! Servers tell a contact that a user who blocks them is gone only if they know of a subscription, and from then
//! on pass nothing on, the user's logout included. So the contact is told before the server hears of the block, by
//! each of the user's sessions; and once the block is lifted, the two see each other again.

use std::collections::VecDeque;

use super::{
    Effect,
    blocked::{Act, Change, Extent},
    bounce,
    identity::Identity,
    presence::Carrier,
};
use crate::{
    proto::stanza::{IqType, Stanza},
    roster::Roster,
};

/// Contacts looked at, at once.
const TURN: usize = 64;
/// Most requests whose answers are waited for, before the client is not heard.
const MAX_ASKED: usize = 256;
type Effects = VecDeque<Effect>;

/// Who says that there is a change.
#[derive(Debug)]
enum Word {
    /// The client, by this request.
    Client(Box<Stanza>),
    /// Another session, or the answer to a request.
    Account,
    /// The server, which has seen to it already.
    Server,
}

/// Changes on their way through the list.
#[derive(Debug, Default)]
pub struct Blocking {
    turns: VecDeque<(Change, Word, usize)>,
    /// Requests that the server has not answered.
    asked: VecDeque<(Box<str>, Change)>,
}

impl Blocking {
    /// Whether contacts are being told.
    pub fn is_busy(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether the server has yet to answer so many requests that there should be no more.
    pub fn is_full(&self) -> bool {
        self.asked.len() >= MAX_ASKED
    }

    /// The client's request. Without an `id` it is none (RFC 6120 §8.2.3): nobody could tell what became of it.
    pub fn client_asks(&mut self, request: Stanza, change: Change, effects: &mut Effects) {
        let Some(id) = request.id() else {
            let refusal = bounce::refused(&request, "modify", "bad-request");
            return effects.extend(refusal.map(Effect::ToClient));
        };
        self.asked.push_back((id.into(), change.clone()));
        match change.act() {
            Act::Block => {
                let word = Word::Client(Box::new(request));
                self.turns.push_back((change, word, 0));
            }
            // Until the server has done so, it would pass nothing on.
            Act::Unblock => effects.push_back(Effect::ToServer(request)),
        }
    }

    /// Another session of the account has heard of a change.
    pub fn account_changes(&mut self, change: Change) {
        self.turns.push_back((change, Word::Account, 0));
    }

    /// The server tells of a change, which some other client has asked for.
    pub fn server_tells(&mut self, change: Change) {
        self.turns.push_back((change, Word::Server, 0));
    }

    /// The server's answer to a request, perhaps to one of these: a block that failed is lifted.
    pub fn server_answers(&mut self, kind: IqType, answer: &Stanza, effects: &mut Effects) {
        let Some(id) = answer.id() else { return };
        let place = self.asked.iter().position(|(asked, _)| **asked == *id);
        let Some((_, change)) = place.and_then(|place| self.asked.remove(place)) else {
            return;
        };
        match (change.act(), kind) {
            (Act::Block, IqType::Error) | (Act::Unblock, IqType::Result) => {
                let later = self.asked.iter().skip(place.unwrap_or_default());
                let lifted = change.lifted(later.map(|(_, change)| change));
                effects.push_back(Effect::TellAccount(lifted.clone()));
                self.account_changes(lifted);
            }
            _ => {}
        }
    }

    /// Tells the next contacts.
    pub fn go_on(
        &mut self,
        carrier: &mut Carrier,
        roster: Option<&Roster>,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let Some((change, word, place)) = self.turns.front_mut() else {
            return;
        };
        if *place == 0 {
            carrier.blocked.note(change);
            if change.act() == Act::Block {
                carrier.drop_blocked(identity, effects);
            }
        }
        let contacts = roster.map(Roster::contacts).unwrap_or_default();
        let is_told = !matches!(word, Word::Server);
        for contact in contacts.iter().skip(*place).take(TURN) {
            match (change.act(), change.extent_of(contact)) {
                (_, None) => {}
                (Act::Unblock, Some(_)) => carrier.unblock(contact, effects),
                (Act::Block, Some(Extent::All)) => {
                    carrier.block(contact, None, is_told, identity, effects);
                }
                (Act::Block, Some(Extent::Resources(resources))) => {
                    for resource in resources {
                        carrier.block(contact, Some(resource), is_told, identity, effects);
                    }
                }
            }
        }
        *place = place.saturating_add(TURN);
        if *place < contacts.len() {
            return;
        }
        if let Some((change, Word::Client(request), _)) = self.turns.pop_front() {
            effects.push_back(Effect::Block(*request, change));
        }
    }
}
