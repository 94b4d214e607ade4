//! How a session ends, and what is said of it afterwards.

use std::time::Instant;

use super::{End, Event, Session, Slot, State, TOMBSTONE, after};
use crate::proto::bosh::{
    Rid,
    body::{Document, terminate_attributes},
    condition::Condition,
};

impl Session {
    /// Ends the session because of the request in `slot`, which has not been taken in.
    pub(super) fn violation(&mut self, condition: Condition, rid: Rid, slot: Slot, now: Instant) {
        let last_words = Document::terminate(Some(condition));
        self.responses.push_back((slot, last_words.clone()));
        self.dismiss_all(Some(condition));
        let forget_at = after(now, TOMBSTONE);
        self.state = State::Ended {
            forget_at,
            last_words,
            told: Some(rid),
            awaited_until: now,
        };
        self.events
            .push_back(Event::Ended(End::Violation(condition)));
    }

    /// Ends the session. `offender`, else the oldest open request, hears why.
    pub(super) fn close(
        &mut self,
        condition: Option<Condition>,
        offender: Option<Rid>,
        end: End,
        now: Instant,
    ) {
        let held = self.held.iter_mut().map(|held| (held.rid, &mut held.slot));
        let buffered = self
            .buffered
            .iter_mut()
            .map(|b| (b.request.rid, &mut b.slot));
        let addressee = held
            .chain(buffered)
            .filter(|(rid, slot)| slot.is_some() && offender.is_none_or(|it| it == *rid))
            .find_map(|(rid, slot)| Some((rid, slot.take()?)));

        let mut attributes = self.opening.take().unwrap_or_default();
        if !attributes.is_empty() && condition.is_some() {
            // A creation that failed names no session.
            attributes.clear();
        }
        attributes.push_str(&terminate_attributes(condition));
        let stanzas = self.pending.take_all();
        let last_words = Document::with(&attributes, stanzas.iter());

        let told = addressee.map(|(rid, slot)| {
            self.responses.push_back((slot, last_words.clone()));
            rid
        });
        let awaited_until = self.deaf_at().unwrap_or(now);
        self.dismiss_all(condition);
        let memory = if told.is_some() {
            TOMBSTONE
        } else {
            self.terms.inactivity
        };
        let forget_at = after(now, memory);
        self.state = State::Ended {
            forget_at,
            last_words,
            told,
            awaited_until,
        };
        self.events.push_back(Event::Ended(end));
    }

    /// Answers the requests that are not the one that hears why the session ended.
    pub(super) fn dismiss_all(&mut self, condition: Option<Condition>) {
        let document = match condition {
            Some(_) => Document::terminate(Some(Condition::OtherRequest)),
            None => Document::empty(),
        };
        let held = self.held.drain(..).filter_map(|held| held.slot);
        let buffered = self.buffered.drain(..).filter_map(|buffered| buffered.slot);
        let put_off = self.put_off.drain(..).map(|(slot, _)| slot);
        for slot in held.chain(buffered).chain(put_off) {
            self.responses.push_back((slot, document.clone()));
        }
        self.idle_since = None;
        self.gap_since = None;
    }

    /// Ends the session with nobody there to be told.
    pub(super) fn finish(&mut self, end: End, _now: Instant) {
        self.dismiss_all(None);
        self.state = State::Gone;
        self.events.push_back(Event::Ended(end));
    }

    /// Requests to a session that is over.
    pub(super) fn handle_late_request(&mut self, rid: Rid, slot: Slot, now: Instant) {
        let repeated = self.answered.get(rid);
        let document = match &mut self.state {
            State::Ended {
                last_words, told, ..
            } if *told == Some(rid) => last_words.clone(),
            State::Ended { .. } if repeated.is_some() => repeated
                .map(|answered| answered.document.clone())
                .unwrap_or_default(),
            State::Ended {
                last_words,
                told,
                forget_at,
                ..
            } if told.is_none() => {
                *told = Some(rid);
                *forget_at = after(now, TOMBSTONE);
                last_words.clone()
            }
            _ => Document::terminate(Some(Condition::ItemNotFound)),
        };
        self.responses.push_back((slot, document));
    }
}
