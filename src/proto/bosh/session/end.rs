//! End of a session: what the client is told, and what later requests are told.

use std::time::{Duration, Instant};

use super::{End, Event, Session, Slot, State, after};
use crate::proto::bosh::{
    Rid,
    body::{Document, terminate_attributes},
    condition::Condition,
};

/// How long the end of a session is remembered once the client has been told.
pub(super) const TOMBSTONE: Duration = Duration::from_secs(60);

/// How long a client is waited for, at most, to hear of the end: one that works on a long answer, or polls seldom, is
/// left to the server's store.
pub(super) const AWAITED: Duration = Duration::from_secs(2);

/// A session that is over, remembered so that its client learns how it ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// How long it is remembered.
    forget_at: Instant,
    /// What the client is told.
    last_words: Document,
    /// The request that was answered with it.
    told: Option<Rid>,
    /// Until when a client that is still there will most likely have come.
    awaited_until: Instant,
}

impl Ended {
    pub(super) fn forget_at(&self) -> Instant {
        self.forget_at
    }

    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// Until when a client that is still there will have come to hear of the end; `None` when it has.
    pub(super) fn awaited_until(&self) -> Option<Instant> {
        let awaited = self.told.is_none();
        awaited.then_some(self.awaited_until)
    }

    /// The answer to a request that came after the end. One that was answered before the end gets the same answer,
    /// `repeated`. The first other one hears of the end.
    fn answer(&mut self, rid: Rid, repeated: Option<&Document>, now: Instant) -> Document {
        if self.told == Some(rid) {
            self.last_words.clone()
        } else if let Some(document) = repeated {
            document.clone()
        } else if self.told.is_none() {
            self.told = Some(rid);
            self.forget_at = after(now, TOMBSTONE);
            self.last_words.clone()
        } else {
            Document::terminate(Some(Condition::ItemNotFound))
        }
    }
}

impl Session {
    /// Ends the session because of the request in `slot`, which is refused.
    pub(super) fn violation(&mut self, condition: Condition, rid: Rid, slot: Slot, now: Instant) {
        let last_words = Document::terminate(Some(condition));
        self.responses.push_back((slot, last_words.clone()));
        self.dismiss_all(Some(condition));
        self.state = State::Ended(Ended {
            forget_at: after(now, TOMBSTONE),
            last_words,
            told: Some(rid),
            awaited_until: now,
        });
        self.inbox.push(Event::Ended(End::Violation(condition)));
    }

    /// Ends the session. The request `offender` hears why, or the oldest open one.
    pub(super) fn close(
        &mut self,
        condition: Option<Condition>,
        offender: Option<Rid>,
        end: End,
        now: Instant,
    ) {
        let last_words = self.last_words(condition);
        let told = self.take_addressee(offender).map(|(rid, slot)| {
            self.responses.push_back((slot, last_words.clone()));
            rid
        });
        let awaited_until = self.deaf_at().map_or(now, |at| at.min(after(now, AWAITED)));
        self.dismiss_all(condition);
        let memory = match told {
            Some(_) => TOMBSTONE,
            None => self.terms.inactivity,
        };
        self.state = State::Ended(Ended {
            forget_at: after(now, memory),
            last_words,
            told,
            awaited_until,
        });
        self.inbox.push(Event::Ended(end));
    }

    /// Writes the last answer, with all that is pending.
    fn last_words(&mut self, condition: Option<Condition>) -> Document {
        let mut attributes = self.opening.take();
        if condition.is_some() {
            // The answer to a creation that failed names no session.
            attributes.clear();
        }
        attributes.push_str(&terminate_attributes(condition));
        let stanzas = self.pending.take_all();
        Document::with(&attributes, stanzas.iter())
    }

    /// Takes the exchange that gets the last answer: that of `offender`, or of the oldest request.
    fn take_addressee(&mut self, offender: Option<Rid>) -> Option<(Rid, Slot)> {
        let open = self.held.slots_mut().chain(self.window.slots_mut());
        open.filter(|(rid, _)| offender.is_none_or(|it| it == *rid))
            .find_map(|(rid, slot)| Some((rid, slot.take()?)))
    }

    /// Answers the other open requests, which do not get the last answer.
    fn dismiss_all(&mut self, condition: Option<Condition>) {
        let document = match condition {
            Some(_) => Document::terminate(Some(Condition::OtherRequest)),
            None => Document::empty(),
        };
        let open = self.held.drain().chain(self.window.drain());
        for slot in open.chain(self.pages.drain()) {
            self.responses.push_back((slot, document.clone()));
        }
        self.absence.end();
    }

    /// Ends the session when there is nobody to be told.
    pub(super) fn finish(&mut self, end: End) {
        self.dismiss_all(None);
        self.state = State::Gone;
        self.inbox.push(Event::Ended(end));
    }

    /// Answers a request to a session that is over.
    pub(super) fn handle_late_request(&mut self, rid: Rid, slot: Slot, now: Instant) {
        let repeated = self.answered.get(rid).map(|answered| &answered.document);
        let document = match &mut self.state {
            State::Ended(ended) => ended.answer(rid, repeated, now),
            _ => Document::terminate(Some(Condition::ItemNotFound)),
        };
        self.responses.push_back((slot, document));
    }
}
