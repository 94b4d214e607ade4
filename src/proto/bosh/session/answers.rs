//! Answers: when a held request is answered, and with what.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::{
    Session, Slot, after,
    answered::{Answered, Asked, Report},
    held::{Held, Release},
};
use crate::proto::{
    bosh::{
        Rid,
        body::{Document, ERROR_ATTRIBUTES},
    },
    page::Page,
    stanza::Stanza,
};

/// A request that has been held for so long may belong to a page that is gone.
const STALE: Duration = Duration::from_secs(1);

impl Session {
    /// Answers all requests that are due, or for which something is pending, strictly in the order of the rids.
    pub(super) fn settle(&mut self, now: Instant) {
        if !self.is_open() || !self.opening.is_introduced() {
            return;
        }
        let postponed = self.pages.take_due(now);
        self.responses
            .extend(postponed.map(|slot| (slot, recoverable_error())));
        while let Some(oldest) = self.held.front() {
            match oldest.slot {
                None if self.held.len() == 1 => break,
                None => self.skip_oldest(now),
                Some(slot) if self.is_due(oldest, now) || !self.pending.is_empty() => {
                    self.answer_oldest(slot, now);
                }
                Some(_) => break,
            }
        }
        self.watch_for_absence(now);
    }

    /// Whether a request must be answered, even with nothing.
    fn is_due(&self, oldest: &Held, now: Instant) -> bool {
        // The answer to the creation waits for the features.
        oldest.deadline <= now
            || self.opening.is_given()
                && (self.is_released(oldest.release, now)
                    || self.answered.has_report()
                    || self.terms.polling()
                    || self.is_crowded(now))
    }

    fn is_released(&self, release: Release, now: Instant) -> bool {
        match release {
            Release::Later => false,
            Release::Now | Release::NowEmpty => true,
            Release::Left => !self.pages.is_braked(now),
        }
    }

    /// Whether more requests are open than may stay so.
    fn is_crowded(&self, now: Instant) -> bool {
        let open = self.open_requests();
        open as u64 > self.terms.requests
            || open > self.terms.hold && self.patient_until().is_none_or(|until| until <= now)
    }

    /// The client gave up on the oldest held request, and went on to its next one.
    fn skip_oldest(&mut self, now: Instant) {
        if let Some(oldest) = self.held.pop_front() {
            self.remember(oldest.rid, oldest.asked, Document::empty(), now);
        }
    }

    /// Answers the oldest held request, in `slot`.
    fn answer_oldest(&mut self, slot: Slot, now: Instant) {
        let Some(oldest) = self.held.pop_front() else {
            return;
        };
        let (rid, asked) = (oldest.rid, oldest.asked);
        let next = self.held.front();
        // The client that sent the next request is there to read its answer. The older request may belong to a page
        // that is gone, so it gets nothing.
        let is_stale = next.is_some_and(|next| next.slot.is_some())
            && after(oldest.received, STALE) <= now
            && !self.terms.polling();
        let is_replaced = asked.empty && next.is_some_and(|next| next.asked.empty);
        let is_empty_answer =
            matches!(oldest.release, Release::NowEmpty | Release::Left) || is_stale;
        if is_replaced && (is_empty_answer || self.pending.is_empty()) {
            self.held.note_replacement(now);
        }
        let stanzas = match is_empty_answer {
            true => VecDeque::new(),
            false => self.pending.take_next(),
        };
        let document = self.compose(rid, &stanzas, now);
        self.account_for(rid, asked.page, stanzas);
        self.remember(rid, asked, document.clone(), now);
        self.responses.push_back((slot, document));
    }

    /// Writes the answer to `rid`.
    fn compose(&mut self, rid: Rid, stanzas: &VecDeque<Stanza>, now: Instant) -> Document {
        let is_opening = !self.opening.is_given();
        let mut attributes = self.opening.take();
        if let Some(Report { rid, answered_at }) = self.answered.take_report() {
            let time = now.saturating_duration_since(answered_at).as_millis();
            let _ = write!(attributes, " report='{rid}' time='{time}'");
        }
        let last = self.window.last();
        if self.terms.acks && !is_opening && last != rid {
            let _ = write!(attributes, " ack='{last}'");
        }
        match attributes.is_empty() && stanzas.is_empty() {
            true => Document::empty(),
            false => Document::with(&attributes, stanzas.iter()),
        }
    }

    /// The answer to `rid`, which `page` sent, carries these stanzas.
    fn account_for(&mut self, rid: Rid, page: Option<Page>, stanzas: VecDeque<Stanza>) {
        if !stanzas.is_empty() {
            self.last_empty_poll = None;
        }
        self.absence.note_answer(stanzas.len());
        self.deliveries.answered(rid, page, stanzas);
    }

    /// Keeps an answer, in case the client asks for it again.
    pub(super) fn remember(&mut self, rid: Rid, asked: Asked, document: Document, now: Instant) {
        // With a pause on top of the others, one answer more may be on its way.
        let on_top = u64::from(self.is_paused());
        self.answered.push(
            Answered {
                rid,
                asked,
                document,
                at: now,
            },
            self.terms.requests.saturating_add(on_top),
            self.terms.acks,
        );
    }

    /// Until when empty requests are left unanswered, although more are open than need be.
    pub(super) fn patient_until(&self) -> Option<Instant> {
        let until = self.held.patient_until();
        until.filter(|_| self.window.buffered() == 0)
    }

    /// Exchanges that wait for an answer.
    pub(super) fn open_requests(&self) -> usize {
        let held = self.held.open().count();
        held.saturating_add(self.window.open())
    }

    /// Starts or stops the clock of inactivity.
    pub(super) fn watch_for_absence(&mut self, now: Instant) {
        if self.open_requests() > 0 {
            self.absence.end();
        } else {
            self.absence.begin(now);
        }
    }
}

/// The answer on an older exchange, if its rid came again on another one (XEP-0124 "Recoverable Binding Conditions").
pub(super) fn recoverable_error() -> Document {
    Document::with(ERROR_ATTRIBUTES, std::iter::empty())
}
