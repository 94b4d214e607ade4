//! When requests are answered, and with what.

use std::{collections::VecDeque, fmt::Write as _, time::Instant};

use super::answered::{Answered, Asked, Report};
use super::{REPLACEMENT, Release, STALE, Session, after};
use crate::proto::bosh::{
    Rid,
    body::{Document, Page},
};

impl Session {
    /// Answers whatever can and must be answered, strictly in the order of the rids.
    pub(super) fn settle(&mut self, now: Instant) {
        if !self.is_open() || !self.is_introduced() {
            return;
        }
        self.answer_put_off(now);
        while let Some(oldest) = self.held.front() {
            let (rid, asked) = (oldest.rid, oldest.asked);
            let Some(slot) = oldest.slot else {
                if self.held.len() == 1 {
                    break;
                }
                // Superseded: the client went on to its next request.
                self.held.pop_front();
                self.remember(rid, asked, Document::empty(), now);
                continue;
            };
            let open = self.open_requests();
            let is_crowded = open as u64 > self.terms.requests
                || open > self.terms.hold && self.patient_until().is_none_or(|until| until <= now);
            let due = oldest.deadline <= now
                || self.opening.is_none()
                    && (match oldest.release {
                        Release::Later => false,
                        Release::Now | Release::NowEmpty => true,
                        Release::Left => !self.is_braked(now),
                    } || self.report.is_some()
                        || self.terms.polling()
                        || is_crowded);
            if !due && self.pending.is_empty() {
                break;
            }
            let next = self.held.get(1);
            // Whoever has just come is there to read it; whoever was held may be a page that is gone.
            let is_stale = next.is_some_and(|next| next.slot.is_some())
                && after(oldest.received, STALE) <= now
                && !self.terms.polling();
            let is_replaced = asked.empty && next.is_some_and(|next| next.asked.empty);
            let mute = matches!(oldest.release, Release::NowEmpty | Release::Left) || is_stale;
            if is_replaced && (mute || self.pending.is_empty()) {
                self.replaced_at = Some(now);
            }
            self.held.pop_front();
            let document = self.compose(rid, asked.page, mute, now);
            self.remember(rid, asked, document.clone(), now);
            self.responses.push_back((slot, document));
        }
        self.watch_for_idleness(now);
    }

    /// Until when a crowd of empty requests is left alone: a client that answers every empty answer with
    /// another empty request, while one is held, would go round and round.
    pub(super) fn patient_until(&self) -> Option<Instant> {
        let mut open = self.held.iter().filter(|held| held.slot.is_some());
        let is_idle = self.buffered.is_empty() && open.all(|held| held.asked.empty);
        self.replaced_at
            .filter(|_| is_idle)
            .map(|at| after(at, REPLACEMENT))
    }

    /// Writes the answer to `rid`, which `page` sent, with what is pending unless `mute`.
    fn compose(&mut self, rid: Rid, page: Option<Page>, mute: bool, now: Instant) -> Document {
        let is_opening = self.opening.is_some();
        let mut attributes = self.opening.take().unwrap_or_default();
        if let Some(Report { rid, answered_at }) = self.report.take() {
            let time = now.saturating_duration_since(answered_at).as_millis();
            let _ = write!(attributes, " report='{rid}' time='{time}'");
        }
        if self.terms.acks && !is_opening && self.last != rid {
            let _ = write!(attributes, " ack='{}'", self.last);
        }
        let stanzas = if mute {
            VecDeque::new()
        } else {
            self.pending.take_next()
        };
        if !stanzas.is_empty() {
            self.vain_poll = None;
        }
        self.hung_up = false;
        self.last_given = u32::try_from(stanzas.len()).unwrap_or(u32::MAX);
        let document = if attributes.is_empty() && stanzas.is_empty() {
            Document::empty()
        } else {
            Document::with(&attributes, stanzas.iter())
        };
        self.deliveries.answered(rid, page, stanzas);
        document
    }

    /// Keeps an answer for a client that might ask again.
    pub(super) fn remember(&mut self, rid: Rid, asked: Asked, document: Document, now: Instant) {
        // With a pause on top of the others, one answer more may be on its way.
        let on_top = u64::from(self.pause.is_some());
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

    /// Exchanges that wait for an answer.
    pub(super) fn open_requests(&self) -> usize {
        let held = self.held.iter().filter(|held| held.slot.is_some()).count();
        let buffered = self
            .buffered
            .iter()
            .filter(|buffered| buffered.slot.is_some())
            .count();
        held.saturating_add(buffered)
    }

    pub(super) fn watch_for_idleness(&mut self, now: Instant) {
        if self.open_requests() > 0 {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        let allowed = self.pause.unwrap_or(self.terms.inactivity);
        self.idle_since.map(|since| after(since, allowed))
    }
}
