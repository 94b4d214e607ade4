//! Update of a contact list: tells a client and its contacts how a new list differs from the old one.
//!
//! It decides the order: all goodbyes, then all pushes, then all greetings, one contact a step. The roster service and
//! the presence service decide who is told what.

use std::sync::Arc;

use super::{
    Effect,
    identity::Identity,
    presence::PresenceService,
    roster::{RosterService, removal},
};
use crate::roster::{
    Roster,
    diff::{Change, Diff},
};

type Effects = std::collections::VecDeque<Effect>;

/// Difference of two rosters that is being told.
///
/// It is not told contact by contact, with push and presence together: presence ends the BOSH answer that a push is in,
/// so that each contact would take an answer of its own. It is not told at once, as it may be very long.
#[derive(Debug)]
pub struct RosterUpdate {
    /// There was no list before. No contact has been told of the client, so there are no goodbyes, and the announcement
    /// after the update takes the place of greetings.
    is_late: bool,
    old: Arc<Roster>,
    new: Arc<Roster>,
    step: Step,
    diff: Diff,
}

/// Step of an update. Each is done for all contacts before the next begins.
#[derive(Clone, Copy, Debug)]
enum Step {
    Goodbyes,
    Pushes,
    Greetings,
}

impl RosterUpdate {
    /// The update from `old` to `new`. With `is_late`, there was no list before, and the client has been told so.
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

    /// Goes on by one contact, or to the next step; false once the update is done.
    pub fn go_on(
        &mut self,
        service: &mut RosterService,
        presence: &mut PresenceService,
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
            Step::Goodbyes => presence.before_push(before, contact, identity, effects),
            Step::Pushes => {
                let gone = || before.map(|contact| removal(contact.jid.as_str()));
                let item = after.map(|index| self.new.item(index)).or_else(gone);
                service.push(&item.unwrap_or_default(), identity, effects);
            }
            Step::Greetings => presence.after_push(before, contact, effects),
        }
        true
    }
}
