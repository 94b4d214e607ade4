//! Requests: what each does that comes in order, ahead of others, or again. This decides; the window, the held requests
//! and the pages keep what it decides by.

use std::time::{Duration, Instant};

use super::{
    End, Event, Session, Slot, State, after,
    answered::Asked,
    answers::recoverable_error,
    held::{Held, Release},
    inbox::{self, footprint},
    window::Buffered,
};
use crate::proto::{
    bosh::{
        Rid,
        body::{Document, Request},
        condition::Condition,
        terms::POLLING,
    },
    page::Page,
};

/// How much earlier than [`POLLING`] the next poll may come: the one before may have been on its way for long.
const SLACK: Duration = Duration::from_millis(2500);

impl Session {
    /// How many requests may be open, this one included. A request that pauses or terminates may come on top of the
    /// others (XEP-0124 "Overactivity").
    pub(super) fn window_size(&self, request: &Request) -> u64 {
        let extra = u64::from(request.pause.is_some() || request.terminate);
        self.terms.requests.saturating_add(extra)
    }

    // === In order ===

    /// Takes the request that is next in order.
    pub(super) fn accept(
        &mut self,
        request: Request,
        slot: Option<Slot>,
        received: Instant,
        now: Instant,
    ) {
        self.window.advance(request.rid);
        self.absence.end();
        self.absence.note_request();
        let is_genuine = self
            .keys
            .advance(request.key.as_deref(), request.newkey.as_deref());
        let asked = Asked::by(&request);
        if is_genuine {
            if self.pages.is_left_for(&request, asked.empty) {
                self.inbox.push(Event::NewPage);
            }
            self.turn_to(request.page, now);
            self.pages.note_sent(&request);
            self.acknowledge(&request, asked.empty, now);
        }
        self.held.push_back(Held {
            rid: request.rid,
            slot,
            received,
            deadline: after(received, self.terms.wait),
            asked,
            release: Release::Later,
        });
        let last_poll =
            std::mem::replace(&mut self.last_empty_poll, asked.empty.then_some(received));
        let is_hasty = last_poll.is_some_and(|last| after(last, POLLING) > after(received, SLACK));
        let violation = if !is_genuine {
            Some(Condition::ItemNotFound)
        } else if !self.inbox.has_room_for(&request.payload)
            || self.terms.polling() && asked.empty && is_hasty
        {
            Some(Condition::PolicyViolation)
        } else {
            None
        };
        if let Some(condition) = violation {
            let end = End::Violation(condition);
            return self.close(Some(condition), Some(request.rid), end, now);
        }
        self.carry_out(request, None, now);
    }

    /// Carries out what a request says. If it terminates the session, `addressee` gets the last answer, or the oldest
    /// open request.
    fn carry_out(&mut self, request: Request, addressee: Option<Rid>, now: Instant) {
        self.state = State::Open;
        if request.restart {
            self.inbox.push(Event::Restart);
        } else {
            self.inbox.push_stanzas(request.payload);
        }
        if let Some(seconds) = request.pause {
            self.begin_pause(Duration::from_secs(seconds), request.rid, now);
        }
        if request.terminate && self.is_open() {
            self.close(None, addressee, End::Terminated, now);
        }
    }

    fn begin_pause(&mut self, pause: Duration, rid: Rid, now: Instant) {
        if pause.is_zero() || pause > self.terms.max_pause {
            self.close(
                Some(Condition::PolicyViolation),
                Some(rid),
                End::Violation(Condition::PolicyViolation),
                now,
            );
            return;
        }
        self.state = State::Paused(pause);
        self.held.release_for_pause(rid);
    }

    /// Takes note of the answers that the client has (XEP-0124 "Acknowledgements"). It says so by `ack`; without `ack`,
    /// it must have those before its window, or it could not have made this request.
    fn acknowledge(&mut self, request: &Request, asks: bool, now: Instant) {
        let rid = request.rid;
        if self.terms.acks {
            let has = request.ack.unwrap_or_else(|| rid.minus(1));
            self.answered.acknowledge(has);
            self.deliveries.confirm(has);
            self.deliveries.taken(has);
            self.answered
                .look_for_loss(has, self.terms.report_grace, now);
        } else {
            self.deliveries
                .confirm(rid.minus(self.window_size(request)));
            self.note_taken(request, asks);
        }
    }

    // === Ahead of others ===

    /// Takes the buffered requests that have become the next in order.
    pub(super) fn accept_buffered(&mut self, now: Instant) {
        while self.is_open()
            && let Some(next) = self.window.pop_next()
        {
            self.accept(next.request, next.slot, next.received, now);
        }
    }

    /// Keeps a request that is ahead of a missing one.
    pub(super) fn buffer(&mut self, request: Request, slot: Slot, now: Instant) {
        self.absence.end();
        if self.window.buffered_mut(request.rid).is_some() {
            return self.buffer_again(request, slot, now);
        }
        self.pages.note_sent(&request);
        self.window.insert(Buffered {
            request,
            slot: Some(slot),
            received: now,
        });
    }

    /// A request has come whose rid is buffered already: its exchange is answered in place of the older one. If it is a
    /// new request rather than a resend, what it says is added to what the buffered one says.
    fn buffer_again(&mut self, mut request: Request, slot: Slot, now: Instant) {
        let rid = request.rid;
        let Some(earlier) = self.window.buffered_mut(rid) else {
            return;
        };
        self.pages.note_resent(rid);
        let original = Asked::by(&earlier.request);
        let is_changed = original.digest != request.digest;
        let is_new = is_new(original, &request, self.pages.has_sent(&request));
        let size = footprint(&earlier.request.payload).saturating_add(footprint(&request.payload));
        if self.keys.is_used() && is_changed {
            return self.violation(Condition::ItemNotFound, rid, slot, now);
        }
        if is_new && size > inbox::MAX_SIZE && !earlier.request.payload.is_empty() {
            return self.violation(Condition::PolicyViolation, rid, slot, now);
        }
        if let Some(older) = earlier.slot.replace(slot) {
            self.responses.push_back((older, recoverable_error()));
        }
        if is_new {
            let mut payload = std::mem::take(&mut earlier.request.payload);
            payload.append(&mut request.payload);
            request.payload = payload;
            request.terminate |= earlier.request.terminate;
            self.pages.note_sent(&request);
            earlier.request = request;
        }
    }

    /// A missing rid has not come in time. It is skipped if no request is held, else the session ends. Strophe counts a
    /// request when it builds it, so a page that is reloaded in that instant leaves a rid that nobody will ever send.
    pub(super) fn give_up_on_gap(&mut self, now: Instant) {
        if self.held.open().next().is_some() {
            let condition = Condition::ItemNotFound;
            self.close(Some(condition), None, End::Violation(condition), now);
            return;
        }
        // A client that the session was handed to may be slow with its first request: that still counts when it comes.
        let asked = Asked {
            empty: self.window.is_handed_over(),
            ..Asked::NOTHING
        };
        while let Some(missing) = self.window.skip_missing() {
            self.remember(missing, asked, Document::empty(), now);
        }
        self.accept_buffered(now);
    }

    // === Again ===

    /// A request has come whose rid has been received before (XEP-0124 "Broken Connections"). It is one of:
    ///
    /// - a resend, by a client that has lost the answer: it gets the same answer;
    /// - another request with the same rid, by a page that was reloaded: it is carried out as well;
    /// - one by which a page that was asleep catches up: it is carried out, and answered with nothing;
    /// - one that is too old to be remembered, or a flood: an error.
    pub(super) fn handle_resent(&mut self, request: Request, slot: Slot, now: Instant) {
        self.absence.note_request();
        let rid = request.rid;
        self.pages.note_resent(rid);
        let has_sent = self.pages.has_sent(&request);
        let catches_up =
            !self.keys.is_used() && self.pages.catches_up(&request, self.window.last());
        let is_repeated = !catches_up || has_sent;
        if is_repeated && self.window.is_flooded_by(rid, now) {
            return self.violation(Condition::PolicyViolation, rid, slot, now);
        }
        let held = self.held.get(rid).map(|held| held.asked);
        let answered = || self.answered.get(rid).map(|answered| answered.asked);
        let original = held.or_else(answered);
        let is_changed = original.is_some_and(|it| it.digest != request.digest);
        let is_new = original.is_some_and(|it| is_new(it, &request, has_sent));
        if self.keys.is_used() && is_changed {
            // A resend has the key of the original (XEP-0124 "Protecting Insecure Sessions").
            self.violation(Condition::ItemNotFound, rid, slot, now);
        } else if (is_new || catches_up) && !self.inbox.has_room_for(&request.payload) {
            self.violation(Condition::PolicyViolation, rid, slot, now);
        } else if let Some(original) = original {
            self.repeat(request, original, is_new, slot, now);
        } else if catches_up {
            self.answer_page_behind(request, slot, now);
        } else if self.open_requests() > 0 || self.pages.is_other(request.page) {
            // A tab that is out of date must not end the session of a live one.
            let document = Document::terminate(Some(Condition::ItemNotFound));
            self.responses.push_back((slot, document));
        } else {
            self.violation(Condition::ItemNotFound, rid, slot, now);
        }
    }

    /// A request has come whose rid belongs to an `original` that is remembered. With `is_new`, it says something else
    /// and has to be carried out.
    fn repeat(
        &mut self,
        request: Request,
        original: Asked,
        is_new: bool,
        slot: Slot,
        now: Instant,
    ) {
        self.absence.end();
        let rid = request.rid;
        let is_other = Page::differ(original.page, request.page);
        if is_new && !is_other {
            // The page was loaded again before it could count the original.
            self.inbox.push(Event::NewPage);
        }
        let asked = match is_new || is_other {
            true => Asked::by(&request),
            false => original,
        };
        self.pages.note_sent(&request);
        if self.held.get(rid).is_some() {
            self.hold_again(rid, asked, slot, now);
        } else if is_new && request.terminate {
            self.hold_to_the_end(rid, slot, now);
        } else {
            self.answer_again(rid, asked, is_other, slot);
        }
        if is_new {
            self.carry_out(request, Some(rid), now);
        }
    }

    /// A held request has come again: its new exchange is answered in place of the older one.
    fn hold_again(&mut self, rid: Rid, asked: Asked, slot: Slot, now: Instant) {
        let Some(held) = self.held.get_mut(rid) else {
            return;
        };
        let is_other = Page::differ(held.asked.page, asked.page);
        let deadline = held.deadline;
        let older = held.slot.replace(slot);
        held.received = now;
        held.deadline = after(now, self.terms.wait);
        held.asked = asked;
        if is_other {
            held.release = Release::Later;
        }
        if is_other {
            self.inbox.push(Event::NewPage);
        }
        self.turn_to(asked.page, now);
        let to_be_answered = match older {
            Some(older) if is_other => self.pages.postpone(older, deadline, self.terms.requests),
            older => older,
        };
        let error = to_be_answered.map(|slot| (slot, recoverable_error()));
        self.responses.extend(error);
    }

    /// Holds a request that terminates the session, although its rid is not the next: it gets the last answer.
    fn hold_to_the_end(&mut self, rid: Rid, slot: Slot, now: Instant) {
        self.held.push_front(Held {
            rid,
            slot: Some(slot),
            received: now,
            deadline: now,
            asked: Asked::NOTHING,
            release: Release::Later,
        });
    }

    /// A request that has been answered has come again.
    fn answer_again(&mut self, rid: Rid, asked: Asked, is_other: bool, slot: Slot) {
        if is_other {
            // The answer was for the other page. What that page has not taken comes with a later answer.
            self.answered.replace(rid, Document::empty());
        }
        if let Some(answered) = self.answered.get_mut(rid) {
            answered.asked = asked;
            self.responses.push_back((slot, answered.document.clone()));
        }
    }

    // === Of pages that take over from each other ===

    /// `page` is there now. It is sent what other pages were sent and have not taken; their open requests get nothing.
    fn turn_to(&mut self, page: Option<Page>, now: Instant) {
        let Some(known) = page else {
            return;
        };
        if self.pages.turn_to(known, now) {
            self.held.note_replacement(now);
        }
        self.pending.put_back(self.deliveries.take_back(page));
        self.held.leave_others(page);
    }

    /// Answers a page that catches up with nothing: the answer to this rid was for another page.
    fn answer_page_behind(&mut self, request: Request, slot: Slot, now: Instant) {
        self.absence.end();
        let rid = request.rid;
        let is_new = !self.pages.has_sent(&request);
        if is_new && request.terminate {
            self.hold_to_the_end(rid, slot, now);
        } else {
            self.responses.push_back((slot, Document::empty()));
        }
        if is_new {
            self.pages.note_sent(&request);
            self.carry_out(request, Some(rid), now);
        }
    }

    /// Takes note of what the page of a request has taken, so that no other page is sent it again. An empty request,
    /// with nothing else held, shows that the page has all answers before. Another request shows only that it has those
    /// before its window.
    fn note_taken(&mut self, request: &Request, asks: bool) {
        if request.page.is_none() {
            return;
        }
        let distance = match asks && self.held.len() == 0 {
            true => 1,
            false => self.window_size(request),
        };
        self.deliveries.taken(request.rid.minus(distance));
    }
}

/// Whether a request with the rid of an earlier one, `original`, is a new request and no resend. `has_sent`: its page
/// has sent this rid before.
///
/// A resend says the same as the original. A request that says something else is new in two cases: another page sent
/// the original, of which this page knows nothing; or the original was empty, and the page was reloaded before it
/// could count it.
fn is_new(original: Asked, request: &Request, has_sent: bool) -> bool {
    let may_be = match Page::differ(original.page, request.page) {
        true => !has_sent,
        false => original.empty,
    };
    may_be && original.digest != request.digest
}
