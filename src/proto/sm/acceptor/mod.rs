//! Stream management towards a client (XEP-0198), with resumption: which of the client's stanzas it has been told are
//! safe, and which of ours it is known to have.
//!
//! *From the client*: an `<a/>` counts what the server has acknowledged, or what needed no server. So the client keeps
//! what would be lost with the gateway, and sends it again.
//!
//! *To the client*: the acceptor keeps a stanza until the client has acknowledged it, and sends it again on a new
//! connection. The server is acknowledged no more than the client has.
//!
//! ```text
//!           enable            sleep
//!   (off) ---------> (awake) -------> (asleep)
//!                       ^---------------+
//!                         resume, and all that the client has sent is settled
//! ```
//!
//! A client without stream management confirms by its pongs, as a pong does not overtake what was written before the
//! ping. What it has not confirmed cannot be sent again, but the server keeps it.
//!
//! The acceptor must not know connections, nor who may resume: its caller finds the session, and proves the client's
//! identity. It writes nothing itself.

mod kept;
mod received;
mod violation;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::violation::Violation;
use self::{
    kept::{Kept, PACE},
    received::Received,
};
use crate::proto::{
    stanza::{Kind, Stanza},
    xml::{Ns, write::Tag},
};

/// The account of one client, in both directions.
#[derive(Debug, Default)]
pub struct Acceptor {
    /// What has not been written, in order.
    waiting: VecDeque<Given>,
    /// What it takes to keep that, bytes.
    waiting_size: usize,
    /// How many elements have been given by [`Self::send`], written, and confirmed by the client.
    given: u64,
    written: u64,
    confirmed: u64,
    /// The client's stanzas that have been passed on and not been dealt with.
    in_hand: u32,
    /// A request that is to be refused.
    refusal: Option<Refusal>,
    pings: Pings,
    /// The client is to be asked sooner than it would be.
    is_wanted: bool,
    asleep_since: Option<Instant>,
    /// What only a client with stream management needs.
    enabled: Option<Box<Enabled>>,
}

#[derive(Debug)]
struct Enabled {
    /// `<enabled/>`, until it is written.
    opening: Option<Bytes>,
    /// The SM-ID for `<resumed/>`, until that is written.
    resuming: Option<Box<str>>,
    /// `<enabled/>` has been written.
    is_open: bool,
    is_resumable: bool,
    /// How many elements had been given before: those are not counted.
    before: u64,
    received: Received,
    kept: Kept,
}

/// An element that [`Acceptor::send`] was given.
#[derive(Debug)]
struct Given {
    element: Stanza,
    /// How many had been given by then, this one included.
    position: u64,
    at: Instant,
    /// The connection for which it was meant is gone.
    is_late: bool,
}

#[derive(Debug)]
enum Refusal {
    /// It came at a wrong time.
    Unexpected,
    /// There is nothing to resume. If the session is remembered, so is its `h`.
    NotFound(Option<u32>),
}

/// Pings that ask a client without stream management.
#[derive(Debug, Default)]
struct Pings {
    /// How many elements had been written before the latest.
    position: u64,
    /// When the next may be sent.
    again: Option<Instant>,
}

/// What an element of the client is.
#[derive(Debug)]
pub enum Verdict {
    /// None of stream management. If it is a stanza, it has been counted, and [`Acceptor::dealt_with`] has to follow,
    /// in the order of the stanzas.
    Pass(Stanza),
    /// One of stream management, which has been dealt with.
    Done,
    /// Stream management may be enabled, by [`Acceptor::enable`].
    Enable {
        /// The client wants to be able to resume.
        resume: bool,
    },
    /// The client wants another session. If that exists and is the client's, its acceptor may
    /// [`resume`](Acceptor::resume). Else this one must [`refuse`](Acceptor::refuse).
    Resume {
        /// The SM-ID.
        previd: String,
        /// How many stanzas the client has handled.
        h: u32,
    },
    /// The stream has to be ended with [`Violation::error`]. It cannot be resumed.
    Violation(Violation),
}

/// An element to be written now.
#[derive(Debug)]
pub struct Transmit {
    /// The element.
    pub element: Stanza,
    /// For a message whose first connection is gone: when it was given. The client sorts by that.
    pub waited_since: Option<Instant>,
}

impl Acceptor {
    /// Whether stream management is enabled.
    pub fn is_on(&self) -> bool {
        self.enabled.is_some()
    }

    /// Whether the client can come back: it has been written an SM-ID.
    pub fn is_resumable(&self) -> bool {
        let enabled = self.enabled.as_ref();
        enabled.is_some_and(|it| it.is_resumable && it.is_open)
    }

    /// Since when the connection has been gone. A client that is there again still counts as away until it is written
    /// `<resumed/>`.
    pub fn asleep_since(&self) -> Option<Instant> {
        self.asleep_since
    }

    // === From the client ===

    /// Takes in what the client sends. `is_bound` says whether it has a resource.
    pub fn handle(&mut self, element: Stanza, is_bound: bool, now: Instant) -> Verdict {
        if element.is_stanza() {
            self.in_hand = self.in_hand.saturating_add(1);
            if let Some(enabled) = &mut self.enabled {
                enabled.received.take_in();
            }
            return Verdict::Pass(element);
        }
        if element.ns() != Ns::Sm3 {
            return Verdict::Pass(element);
        }
        match element.local() {
            "enable" if is_bound && !self.is_on() => {
                let resume = element.attribute("resume");
                return Verdict::Enable {
                    resume: resume.is_some_and(|resume| matches!(&*resume, "true" | "1")),
                };
            }
            "resume" if !is_bound && !self.is_on() => {
                return match (element.attribute("previd"), handled(&element)) {
                    (Some(previd), Some(h)) => Verdict::Resume {
                        previd: previd.into_owned(),
                        h,
                    },
                    _ => Verdict::Violation(Violation::Incomplete),
                };
            }
            "enable" | "resume" => self.refusal = Some(Refusal::Unexpected),
            "r" => {
                if let Some(enabled) = &mut self.enabled {
                    enabled.received.ask();
                }
            }
            "a" => {
                if let Err(violation) = self.acknowledged(&element, now) {
                    return Verdict::Violation(violation);
                }
            }
            _ => {}
        }
        Verdict::Done
    }

    /// The next stanza of the client has been dealt with. By now, `sent` stanzas have been sent to the server in all,
    /// those included that it led to.
    pub fn dealt_with(&mut self, sent: u64) {
        let Some(in_hand) = self.in_hand.checked_sub(1) else {
            return;
        };
        self.in_hand = in_hand;
        if let Some(enabled) = &mut self.enabled {
            enabled.received.deal_with(sent);
        }
    }

    /// The server has acknowledged the first `sent` stanzas. To be called again after [`Self::dealt_with`], since a
    /// stanza may have needed no server.
    pub fn settle(&mut self, sent: u64) {
        if let Some(enabled) = &mut self.enabled {
            enabled.received.settle(sent);
        }
    }

    /// How many stanzas the client has sent, modulo 2^32.
    pub fn received(&self) -> u32 {
        let enabled = self.enabled.as_ref();
        enabled.map_or(0, |it| it.received.count())
    }

    /// How many of them are settled: the `h` to be remembered for a session that cannot be resumed any more.
    pub fn settled(&self) -> u32 {
        let enabled = self.enabled.as_ref();
        enabled.map_or(0, |it| it.received.settled())
    }

    /// Whether somebody waits for the server's acknowledgement: the client has asked, or will when it comes back.
    /// Servers are not asked about everything by themselves.
    pub fn wants_settlement(&self) -> bool {
        self.enabled.as_ref().is_some_and(|it| {
            let is_asleep = self.asleep_since.is_some();
            it.received.is_owed() || is_asleep && !it.received.is_all_settled()
        })
    }

    /// The client says how much it has.
    fn acknowledged(&mut self, element: &Stanza, now: Instant) -> Result<(), Violation> {
        let Some(enabled) = &mut self.enabled else {
            return Ok(());
        };
        let h = handled(element).ok_or(Violation::Incomplete)?;
        self.is_wanted = false;
        let released = match enabled.kept.count_by(h) {
            Err(Violation::HandledTooLow { .. }) => 0,
            count => count?,
        };
        if enabled.is_open {
            // Whoever has read `<enabled/>` has read everything before it.
            self.confirmed = self.confirmed.max(enabled.before);
        }
        enabled.kept.release(released);
        enabled.kept.answered(now);
        if released > 0 {
            let first = enabled.kept.first();
            self.confirmed = first.map_or(self.written, |first| first.saturating_sub(1));
        }
        Ok(())
    }

    // === The state of the stream ===

    /// Enables stream management, with `<enabled/>`: the client's stanzas count from now on, ours from those that are
    /// given from now on. With an SM-ID `id`, the client may resume for up to `max`.
    pub fn enable(&mut self, id: Option<&str>, max: Duration) {
        let mut opening = Tag::new("enabled").ns(Ns::Sm3);
        if let Some(id) = id {
            opening = opening
                .attribute("id", id)
                .plain("resume", true)
                .plain("max", max.as_secs());
        }
        self.enabled = Some(Box::new(Enabled {
            opening: Some(opening.empty().into()),
            resuming: None,
            is_open: false,
            is_resumable: id.is_some(),
            before: self.given,
            received: Received::new(self.in_hand),
            kept: Kept::default(),
        }));
    }

    /// Says that there is nothing to resume. `h` is what was settled of the session if it is remembered.
    pub fn refuse(&mut self, h: Option<u32>) {
        self.refusal = Some(Refusal::NotFound(h));
    }

    /// The connection is gone: nothing is written until [`Self::resume`].
    pub fn sleep(&mut self, now: Instant) {
        self.asleep_since = self.asleep_since.or(Some(now));
        if let Some(enabled) = &mut self.enabled {
            enabled.resuming = None;
            enabled.received.forget_questions();
            enabled.kept.forget_question();
        }
    }

    /// The client is there again, on another connection, and has handled `h` stanzas: it is sent `<resumed/>` and all
    /// that it lacks.
    ///
    /// `<resumed/>` waits until all is settled that the client has sent. It must count that, or the client would send it
    /// again; and what it counts is forgotten by the client, so that it must not be lost afterwards.
    ///
    /// # Errors
    /// When `h` cannot be true; then nothing has changed.
    pub fn resume(&mut self, previd: &str, h: u32, now: Instant) -> Result<(), Violation> {
        let is_resumable = self.is_resumable();
        let Some(enabled) = self.enabled.as_mut().filter(|_| is_resumable) else {
            return Err(Violation::HandledTooHigh { h, sent: 0 });
        };
        let has = enabled.kept.count_by(h)?;
        enabled.kept.release(has);
        // Features and the like were meant for the old connection.
        self.waiting.retain(|given| given.element.is_stanza());
        let mut stanzas = enabled.kept.take();
        stanzas.append(&mut self.waiting);
        stanzas.iter_mut().for_each(|given| given.is_late = true);
        let size = stanzas.iter().map(|given| given.element.footprint());
        self.waiting_size = size.sum();
        let first = stanzas
            .front()
            .map(|given| given.position.saturating_sub(1));
        self.written = first.unwrap_or(self.given);
        self.confirmed = self.written;
        self.waiting = stanzas;
        enabled.resuming = Some(previd.into());
        enabled.received.forget_questions();
        (self.refusal, self.is_wanted) = (None, false);
        // The connection before may still seem to be there.
        self.asleep_since = self.asleep_since.or(Some(now));
        Ok(())
    }

    /// The stream is about to be closed in good order: the client hears once more what is safe.
    pub fn farewell(&mut self) {
        if let Some(enabled) = &mut self.enabled {
            enabled.received.ask_at_last();
        }
    }

    // === To the client ===

    /// Queues an element, a stanza or another.
    pub fn send(&mut self, element: Stanza, now: Instant) {
        self.given = self.given.saturating_add(1);
        self.waiting_size = self.waiting_size.saturating_add(element.footprint());
        if self.waiting.is_empty() {
            // All that there mostly is: no room for more.
            self.waiting.reserve_exact(1);
        }
        self.waiting.push_back(Given {
            element,
            position: self.given,
            at: now,
            is_late: false,
        });
    }

    /// The next element to be written. Each counts as written when it is given out.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let own = match self.asleep_since {
            Some(_) => Some(self.poll_resumed()?),
            None => self.poll_own(now),
        };
        if let Some(own) = own {
            return Some(Transmit {
                element: Stanza::ours(own),
                waited_since: None,
            });
        }
        let given = self.waiting.pop_front()?;
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        let size = given.element.footprint();
        self.waiting_size = self.waiting_size.saturating_sub(size);
        self.written = given.position;
        let transmit = Transmit {
            element: given.element.clone(),
            waited_since: given.waited_since(),
        };
        if let Some(enabled) = &mut self.enabled
            && given.position > enabled.before
        {
            if given.element.is_stanza() {
                enabled.kept.push(given, now);
            } else if self.confirmed.saturating_add(1) == given.position {
                // The client does not count it, and nothing before it is open.
                self.confirmed = given.position;
            }
        }
        Some(transmit)
    }

    /// `<resumed/>`, if a client is there to read it and all is settled.
    fn poll_resumed(&mut self) -> Option<Bytes> {
        let enabled = self.enabled.as_mut()?;
        enabled.resuming.as_ref()?;
        if !enabled.received.is_all_settled() {
            return None;
        }
        let previd = enabled.resuming.take()?;
        self.asleep_since = None;
        let resumed = Tag::new("resumed")
            .ns(Ns::Sm3)
            .attribute("previd", &previd)
            .plain("h", enabled.received.tell_all());
        Some(resumed.empty().into())
    }

    /// The next element of stream management itself.
    fn poll_own(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(enabled) = &mut self.enabled
            && enabled.opening.is_some()
        {
            // The client counts what comes after it.
            if self.written < enabled.before {
                return None;
            }
            enabled.is_open = true;
            return enabled.opening.take();
        }
        if let Some(refusal) = self.refusal.take() {
            return Some(refusal.element());
        }
        let enabled = self.enabled.as_mut()?;
        if let Some(answer) = enabled.received.poll_answer() {
            return Some(answer);
        }
        let request = enabled.kept.poll_request(self.is_wanted, now)?;
        self.is_wanted = false;
        Some(request)
    }

    /// The ping that is due, for a client without stream management: how many elements have been written before it. Its
    /// pong has to bring the same number back. To be called when [`Self::poll_transmit`] has been drained.
    pub fn poll_ping(&mut self, now: Instant) -> Option<u64> {
        if !self.wants_ping() || self.ping_at().is_some_and(|at| at > now) {
            return None;
        }
        self.is_wanted = false;
        self.pings = Pings {
            position: self.confirmable_by_pong(),
            again: now.checked_add(PACE),
        };
        Some(self.pings.position)
    }

    /// The client has read what had been written at `position`. With stream management that does not count: its page
    /// may be frozen, and it will say itself what it has.
    pub fn handle_pong(&mut self, position: u64) {
        let position = position.min(self.confirmable_by_pong());
        self.confirmed = self.confirmed.max(position);
    }

    /// Wants the client asked for what it has with the next elements, if it can be.
    pub fn ask(&mut self) {
        self.is_wanted = self.may_be_asked();
    }

    /// Whether [`Self::ask`] would have an effect: something is written and not confirmed, and the client has not been
    /// asked about it.
    pub fn may_be_asked(&self) -> bool {
        self.asleep_since.is_none()
            && match &self.enabled {
                Some(enabled) => enabled.kept.may_ask(),
                None => self.wants_ping() && self.pings.position <= self.confirmed,
            }
    }

    fn wants_ping(&self) -> bool {
        self.asleep_since.is_none()
            && self.confirmable_by_pong() > self.confirmed.max(self.pings.position)
    }

    /// What pongs can confirm.
    fn confirmable_by_pong(&self) -> u64 {
        match &self.enabled {
            Some(enabled) => self.written.min(enabled.before),
            None => self.written,
        }
    }

    // === What to do next ===

    /// When to call [`Self::poll_transmit`], [`Self::poll_ping`] and [`Self::is_unanswered`], if nothing else happens
    /// first. While the connection takes nothing, a time that has passed means nothing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.asleep_since.is_some() {
            return None;
        }
        let kept = self.enabled.as_ref().map(|enabled| &enabled.kept);
        let ask_at = kept.and_then(Kept::ask_at);
        let give_up_at = kept.and_then(Kept::give_up_at);
        let ping_at = self.ping_at().filter(|_| self.wants_ping());
        [ask_at, give_up_at, ping_at].into_iter().flatten().min()
    }

    /// True when the client has not answered an `<r/>` for so long that its page does not run.
    pub fn is_unanswered(&self, now: Instant) -> bool {
        let kept = self.enabled.as_ref().map(|enabled| &enabled.kept);
        let give_up_at = kept.and_then(Kept::give_up_at);
        give_up_at.is_some_and(|at| at <= now)
    }

    /// The client was not heard for a while: what it owes may be on its way.
    pub fn excuse_client(&mut self, now: Instant) {
        if let Some(enabled) = &mut self.enabled {
            enabled.kept.excuse(now);
        }
    }

    /// When the next ping may be sent; `None`: at any time.
    fn ping_at(&self) -> Option<Instant> {
        self.pings.again.filter(|_| !self.is_wanted)
    }

    // === The record of what was delivered ===

    /// How many stanzas there have been for the client since `<enabled/>`, modulo 2^32: the `h` of a client that has
    /// them all.
    pub fn sent(&self) -> u32 {
        let Some(enabled) = &self.enabled else {
            return 0;
        };
        let is_counted = |it: &&Given| it.position > enabled.before && it.element.is_stanza();
        let waiting = self.waiting.iter().filter(is_counted).count();
        enabled
            .kept
            .sent()
            .wrapping_add(u32::try_from(waiting).unwrap_or(u32::MAX))
    }

    /// How many elements have been given by [`Self::send`].
    pub fn given(&self) -> u64 {
        self.given
    }

    /// How many of them have been written to the present connection, or are known to have arrived. It goes back when
    /// the client resumes without the latest.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many of them the client is known to have.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// What it takes to keep what is not written, bytes.
    pub fn pending(&self) -> usize {
        self.waiting_size
    }

    /// What it takes to keep all that is kept, bytes: with stream management, whatever is not confirmed.
    pub fn unconfirmed_size(&self) -> usize {
        let enabled = self.enabled.as_ref();
        let kept = enabled.map_or(0, |enabled| enabled.kept.size());
        self.waiting_size.saturating_add(kept)
    }

    /// Takes the elements that the client may not have, as far as they are kept. The session is over.
    pub fn take_undelivered(&mut self) -> VecDeque<Stanza> {
        let enabled = self.enabled.as_mut();
        let kept = enabled.map(|enabled| enabled.kept.take());
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_size = 0;
        let undelivered = kept.into_iter().flatten().chain(waiting);
        undelivered.map(|given| given.element).collect()
    }
}

#[cfg(test)]
impl Acceptor {
    /// Lets the counters begin elsewhere than at 0: the client's stanzas, and ours.
    pub(super) fn count_from(&mut self, received: u32, sent: u32) {
        if let Some(enabled) = &mut self.enabled {
            enabled.received.count_from(received);
            enabled.kept.count_from(sent);
        }
    }

    /// Elements for which there is room.
    pub(super) fn capacity(&self) -> usize {
        let enabled = self.enabled.as_ref();
        let kept = enabled.map_or(0, |enabled| enabled.kept.capacity());
        self.waiting.capacity().saturating_add(kept)
    }
}

impl Given {
    fn waited_since(&self) -> Option<Instant> {
        let is_message = matches!(self.element.kind(), Kind::Message(_));
        (self.is_late && is_message).then_some(self.at)
    }
}

impl Refusal {
    fn element(&self) -> Bytes {
        let (condition, h) = match self {
            Self::Unexpected => ("unexpected-request", None),
            Self::NotFound(h) => ("item-not-found", *h),
        };
        let failed = Tag::new("failed").ns(Ns::Sm3);
        let failed = match h {
            Some(h) => failed.plain("h", h),
            None => failed,
        };
        let failed = failed.content(|out| {
            Tag::within(out, condition).ns(Ns::Stanzas).empty();
        });
        failed.into()
    }
}

/// How many stanzas an element says that its sender has handled.
fn handled(element: &Stanza) -> Option<u32> {
    element.attribute("h")?.trim().parse().ok()
}
