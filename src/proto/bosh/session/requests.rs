//! What a request does: in order, ahead of others, or again.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{
    Asked, Buffered, DUPLICATES, DUPLICATES_IN, Duplicates, End, Event, Held, MAX_WAITING, POLLING,
    Release, SLACK, Session, Slot, after,
};
use crate::proto::{
    bosh::{
        Rid,
        body::{Document, ERROR_ATTRIBUTES, Page, Request},
        condition::Condition,
    },
    stanza::Stanza,
};

impl Session {
    /// How many requests may be open, this one included: a pause or terminate request may come on top of
    /// the others (XEP-0124 "Overactivity").
    pub(super) fn window(&self, request: &Request) -> u64 {
        let extra = u64::from(request.pause.is_some() || request.terminate);
        self.terms.requests.saturating_add(extra)
    }

    /// Takes the request that is next in order.
    pub(super) fn accept(
        &mut self,
        request: Request,
        slot: Option<Slot>,
        received: Instant,
        now: Instant,
    ) {
        self.last = request.rid;
        self.duplicates.fresh = self.duplicates.fresh.saturating_add(1);
        self.idle_since = None;
        self.hung_up = false;
        let is_genuine = self
            .keys
            .advance(request.key.as_deref(), request.newkey.as_deref());
        let asked = Asked::by(&request);
        if is_genuine {
            self.turn_to(request.page, now);
            self.note_sent(&request);
            self.acknowledge(&request, asked.empty, now);
        }
        self.held.reserve_exact(1);
        self.held.push_back(Held {
            rid: request.rid,
            slot,
            received,
            deadline: after(received, self.terms.wait),
            asked,
            release: Release::Later,
        });
        let last_poll = std::mem::replace(&mut self.vain_poll, asked.empty.then_some(received));
        let is_hasty = last_poll.is_some_and(|last| after(last, POLLING) > after(received, SLACK));
        let violation = if !is_genuine {
            Some(Condition::ItemNotFound)
        } else if self.is_flood(&request) || self.terms.polling() && asked.empty && is_hasty {
            Some(Condition::PolicyViolation)
        } else {
            None
        };
        if let Some(condition) = violation {
            let end = End::Violation(condition);
            return self.close(Some(condition), Some(request.rid), end, now);
        }
        self.obey(request, None, now);
    }

    /// Does what a request says that is new. The end that it may ask for is told to `addressee`, else to the oldest
    /// open request.
    pub(super) fn obey(&mut self, request: Request, addressee: Option<Rid>, now: Instant) {
        self.pause = None;
        if request.restart {
            self.events.push_back(Event::Restart);
        } else {
            self.queue_events(request.payload);
        }
        if let Some(seconds) = request.pause {
            self.begin_pause(Duration::from_secs(seconds), request.rid, now);
        }
        if request.terminate && self.is_open() {
            self.close(None, addressee, End::Terminated, now);
        }
    }

    /// Whether more of the client's stanzas would wait for the shell than may.
    fn is_flood(&self, request: &Request) -> bool {
        let size: usize = request.payload.iter().map(Stanza::footprint).sum();
        self.waiting > 0 && self.waiting.saturating_add(size) > MAX_WAITING
    }

    fn queue_events(&mut self, payload: SmallVec<[Stanza; 2]>) {
        for stanza in payload {
            self.waiting = self.waiting.saturating_add(stanza.footprint());
            self.events.push_back(Event::Stanza(stanza));
        }
    }

    pub(super) fn accept_buffered(&mut self, now: Instant) {
        while self.is_open()
            && self
                .buffered
                .first()
                .is_some_and(|next| next.request.rid == self.last.plus(1))
        {
            let Buffered {
                request,
                slot,
                received,
            } = self.buffered.remove(0);
            self.accept(request, slot, received, now);
        }
        self.gap_since = if self.buffered.is_empty() {
            None
        } else {
            self.gap_since
        };
    }

    pub(super) fn buffer(&mut self, request: Request, slot: Slot, now: Instant) {
        self.idle_since = None;
        let rid = request.rid;
        if self.buffered.iter().any(|it| it.request.rid == rid) {
            return self.buffer_again(request, slot, now);
        }
        self.note_sent(&request);
        let index = self
            .buffered
            .iter()
            .take_while(|b| b.request.rid < rid)
            .count();
        self.buffered.insert(
            index,
            Buffered {
                request,
                slot: Some(slot),
                received: now,
            },
        );
        self.gap_since.get_or_insert(now);
    }

    /// A request that is buffered has come again: its new exchange is the one to be answered. What it says is added
    /// to what the first one says, if it is none that was sent a second time.
    fn buffer_again(&mut self, request: Request, slot: Slot, now: Instant) {
        let rid = request.rid;
        let has_sent = self.has_sent(&request);
        let Some(earlier) = self.buffered.iter_mut().find(|it| it.request.rid == rid) else {
            return;
        };
        let is_changed = Asked::by(&earlier.request).digest != request.digest;
        let is_new = is_new(Asked::by(&earlier.request), &request, has_sent);
        let size = |request: &Request| request.payload.iter().map(Stanza::footprint).sum::<usize>();
        let is_large = size(&earlier.request).saturating_add(size(&request)) > MAX_WAITING;
        if self.keys.is_used() && is_changed {
            return self.violation(Condition::ItemNotFound, rid, slot, now);
        }
        if is_new && is_large && !earlier.request.payload.is_empty() {
            return self.violation(Condition::PolicyViolation, rid, slot, now);
        }
        if let Some(older) = earlier.slot.replace(slot) {
            self.responses.push_back((older, recoverable_error()));
        }
        if is_new {
            let mut request = request;
            let mut payload = std::mem::take(&mut earlier.request.payload);
            payload.append(&mut request.payload);
            request.payload = payload;
            request.terminate |= earlier.request.terminate;
            self.note_sent(&request);
            if let Some(earlier) = self.buffered.iter_mut().find(|it| it.request.rid == rid) {
                earlier.request = request;
            }
        }
    }

    /// A rid that has been received before (XEP-0124 "Broken Connections").
    pub(super) fn handle_resent(&mut self, request: Request, slot: Slot, now: Instant) {
        self.hung_up = false;
        let catches_up = self.catches_up(&request);
        let is_repeated = !catches_up || self.has_sent(&request);
        if is_repeated && self.is_flooding(request.rid, now) {
            self.violation(Condition::PolicyViolation, request.rid, slot, now);
            return;
        }
        let rid = request.rid;
        let held = self.held.iter().position(|held| held.rid == rid);
        let original = held
            .and_then(|index| self.held.get(index))
            .map(|held| held.asked)
            .or_else(|| self.answered.get(rid).map(|it| it.asked));
        let is_changed = original.is_some_and(|it| it.digest != request.digest);
        let is_other = original.is_some_and(|it| Page::differ(it.page, request.page));
        let has_sent = self.has_sent(&request);
        let is_new = original.is_some_and(|it| is_new(it, &request, has_sent));
        if self.keys.is_used() && is_changed {
            // A resend has the key of the original (XEP-0124 "Protecting Insecure Sessions").
            self.violation(Condition::ItemNotFound, rid, slot, now);
        } else if (is_new || catches_up) && self.is_flood(&request) {
            self.violation(Condition::PolicyViolation, rid, slot, now);
        } else if let Some(original) = original {
            self.idle_since = None;
            let asked = match is_new || is_other {
                true => Asked::by(&request),
                false => original,
            };
            self.note_sent(&request);
            match held {
                Some(index) => self.hold_again(index, asked, slot, now),
                None if is_new && request.terminate => self.hold_to_the_end(rid, slot, now),
                None => self.answer_again(rid, asked, is_other, slot),
            }
            if is_new {
                self.obey(request, Some(rid), now);
            }
        } else if catches_up {
            self.lead_on(request, slot, now);
        } else if self.open_requests() > 0 || Page::differ(self.page, request.page) {
            // A stale tab must not end the session of a live one.
            let document = Document::terminate(Some(Condition::ItemNotFound));
            self.responses.push_back((slot, document));
        } else {
            self.violation(Condition::ItemNotFound, request.rid, slot, now);
        }
    }

    /// A request that is held has come again: its new exchange is the one to be answered.
    fn hold_again(&mut self, index: usize, asked: Asked, slot: Slot, now: Instant) {
        let Some(held) = self.held.get_mut(index) else {
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
        self.turn_to(asked.page, now);
        match older {
            Some(older) if is_other => self.put_off(older, deadline),
            Some(older) => self.responses.push_back((older, recoverable_error())),
            None => {}
        }
    }

    /// Holds a request out of order that ends the session, to be told so.
    pub(super) fn hold_to_the_end(&mut self, rid: Rid, slot: Slot, now: Instant) {
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
            // The answer was for the other page. What that has not taken comes with a later one.
            self.answered.replace(rid, Document::empty());
        }
        if let Some(answered) = self.answered.get_mut(rid) {
            answered.asked = asked;
            self.responses.push_back((slot, answered.document.clone()));
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
        self.pause = Some(pause);
        for held in &mut self.held {
            held.release = if held.rid == rid || held.release == Release::Left {
                Release::NowEmpty
            } else {
                Release::Now
            };
        }
    }

    /// Takes note of what the client has (XEP-0124 "Acknowledgements"): by its own account, or as it could
    /// not have made this request without.
    fn acknowledge(&mut self, request: &Request, asks: bool, now: Instant) {
        let rid = request.rid;
        if self.terms.acks {
            let has = request.ack.unwrap_or_else(|| rid.minus(1));
            self.answered.acknowledge(has);
            self.deliveries.confirm(has);
            self.deliveries.taken(has);
            self.report = self.answered.report(has, self.terms.report_grace, now);
        } else {
            self.deliveries.confirm(rid.minus(self.window(request)));
            self.note_taken(request, asks);
        }
    }

    fn is_flooding(&mut self, rid: Rid, now: Instant) -> bool {
        let Duplicates {
            since,
            counts,
            fresh,
        } = &mut self.duplicates;
        if after(*since, DUPLICATES_IN) <= now || counts.is_empty() {
            (*since, *counts, *fresh) = (now, SmallVec::new(), 0);
        }
        let index = counts.iter().position(|(known, _)| *known == rid);
        let index = index.unwrap_or_else(|| {
            counts.push((rid, 0));
            counts.len().saturating_sub(1)
        });
        if let Some((_, count)) = counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        let of_one = counts.get(index).map_or(0, |(_, count)| *count);
        let of_all = counts.iter().map(|(_, count)| count).sum::<u32>();
        of_one > DUPLICATES || of_all > fresh.saturating_add(DUPLICATES.saturating_mul(2))
    }

    /// Strophe counts a request when it builds it, so a page that is reloaded in that instant leaves
    /// a rid that nobody will ever send.
    pub(super) fn give_up_on_gap(&mut self, now: Instant) {
        if self.held.iter().any(|held| held.slot.is_some()) {
            let condition = Condition::ItemNotFound;
            self.close(Some(condition), None, End::Violation(condition), now);
            return;
        }
        self.gap_since = None;
        let Some(next) = self.buffered.first() else {
            return;
        };
        let next = next.request.rid;
        while self.last.plus(1) < next {
            self.last = self.last.plus(1);
            self.remember(self.last, Asked::NOTHING, Document::empty(), now);
        }
        self.accept_buffered(now);
    }
}

/// Whether a request whose rid has come before is another than the one that came with it, which `has_sent` says of its
/// page. A resend says what the original said. Another page may not know of that, nor may one that was reloaded before
/// it could count its last, empty request.
fn is_new(original: Asked, request: &Request, has_sent: bool) -> bool {
    let may_be = match Page::differ(original.page, request.page) {
        true => !has_sent,
        false => original.empty,
    };
    may_be && original.digest != request.digest
}

pub(super) fn recoverable_error() -> Document {
    Document::with(ERROR_ATTRIBUTES, std::iter::empty())
}
