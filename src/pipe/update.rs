//! Update of a contact list: what a client and its contacts are told when the backend has another list.
//!
//! It is made bit by bit, in three steps: goodbyes, pushes, greetings. It decides the order; who is told what, decide
//! the roster service and the carrier of presence.

use std::sync::Arc;

use super::{
    Effect,
    identity::Identity,
    presence::Carrier,
    roster::{RosterService, removal},
};
use crate::roster::{
    Roster,
    diff::{Change, Diff},
};

type Effects = std::collections::VecDeque<Effect>;

/// Tells a client and its contacts how a roster differs from the one that it has replaced.
///
/// Not one contact after the other: presence ends the answer that a push is in. And not all at once:
/// there may be very many.
#[derive(Debug)]
pub struct RosterUpdate {
    /// There was none before: nobody has been told of the client, and nobody needs a goodbye.
    is_late: bool,
    old: Arc<Roster>,
    new: Arc<Roster>,
    step: Step,
    diff: Diff,
}

/// Each is done for all contacts before the next begins.
#[derive(Clone, Copy, Debug)]
enum Step {
    Goodbyes,
    Pushes,
    Greetings,
}

impl RosterUpdate {
    /// What follows when `new` takes the place of `old`; `is_late` if there was no list, and the client has been told
    /// so.
    pub fn new(old: Arc<Roster>, new: Arc<Roster>, is_late: bool) -> Self {
        let step = if is_late {
            Step::Pushes
        } else {
            Step::Goodbyes
        };
        Self {
            is_late,
            old,
            new,
            step,
            diff: Diff::default(),
        }
    }

    /// Says what comes next, if that is anything at all; false once everything has been said.
    pub fn go_on(
        &mut self,
        service: &mut RosterService,
        carrier: &mut Carrier,
        identity: &Identity,
        effects: &mut Effects,
    ) -> bool {
        let Some(change) = self.diff.next(&self.old, &self.new) else {
            self.diff = Diff::default();
            self.step = match self.step {
                Step::Goodbyes => Step::Pushes,
                Step::Pushes if !self.is_late => Step::Greetings,
                Step::Pushes | Step::Greetings => return false,
            };
            return true;
        };
        let (before, after) = match change {
            Change::Added(new) => (None, Some(new)),
            Change::Changed { old, new } => (Some(old), Some(new)),
            Change::Removed(old) => (Some(old), None),
        };
        let before = before.and_then(|index| self.old.contacts().get(index));
        let contact = after.and_then(|index| self.new.contacts().get(index));
        match self.step {
            Step::Goodbyes => carrier.before_push(before, contact, identity, effects),
            Step::Pushes => {
                let gone = || before.map(|contact| removal(contact.jid.as_str()));
                let item = after.map(|index| self.new.item(index)).or_else(gone);
                service.push(&item.unwrap_or_default(), identity, effects);
            }
            Step::Greetings => carrier.after_push(before, contact, effects),
        }
        true
    }
}
