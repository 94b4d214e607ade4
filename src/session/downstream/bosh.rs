//! BOSH as a client's side: owns the [`Session`], the HTTP exchanges that wait for its answers, and the pace of
//! requests. It must not write HTTP: that is the front's.

use std::{
    num::NonZeroU32,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{End, Event, Reason};
pub use crate::proto::bosh::body::Request;
pub(super) use crate::proto::bosh::session::Slot;
use crate::{
    config,
    proto::bosh::{
        body::{Creation, Document},
        condition::Condition,
        session::{self, Session},
        terms::Policy,
    },
};

/// Seconds for which a client that has been quiet may send its requests at once.
const BURST: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// The answer to an HTTP request.
#[derive(Debug)]
pub enum Reply {
    /// A `<body/>`, with HTTP status 200.
    Document {
        /// The body.
        document: Document,
        /// The Content-Type header.
        content_type: Bytes,
    },
    /// The XMPP server could not be reached: the session never began.
    Unreachable,
}

/// A client that speaks BOSH.
pub struct Side {
    pub(super) session: Session,
    /// HTTP exchanges that wait for an answer.
    slots: SmallVec<[(Slot, oneshot::Sender<Reply>); 3]>,
    next_slot: u32,
    pace: DefaultDirectRateLimiter,
    /// Until when requests wait, where the client is ahead of its pace.
    slowed_until: Option<Instant>,
}

impl Side {
    /// Begins a session by the request for it, which is answered through `reply`. `limits` say how fast the client
    /// may ask in the long run, and how much may pend for it.
    pub fn open(
        creation: &Creation,
        policy: &Policy,
        limits: &config::Session,
        reply: oneshot::Sender<Reply>,
        now: Instant,
    ) -> Self {
        let rate = limits.max_request_rate;
        let pace = Quota::per_second(rate).allow_burst(rate.saturating_mul(BURST));
        Self {
            session: Session::open(creation, policy, limits.max_pending, Slot(0), now),
            slots: SmallVec::from_iter([(Slot(0), reply)]),
            next_slot: 1,
            pace: RateLimiter::direct(pace),
            slowed_until: None,
        }
    }

    /// A request has come. False if the next one has to wait, as they come too fast.
    pub(in crate::session) fn handle_request(
        &mut self,
        request: Request,
        reply: oneshot::Sender<Reply>,
        now: Instant,
    ) -> bool {
        let early = self.pace.check().err();
        self.slowed_until = early.map(|early| now + early.wait_time_from(now));
        let slot = Slot(self.next_slot);
        self.next_slot = self.next_slot.wrapping_add(1);
        self.slots.push((slot, reply));
        self.session.handle_request(request, slot, now);
        self.slowed_until.is_none()
    }

    /// The next exchange on which the client has hung up.
    pub(super) fn poll_hang_up(&mut self, cx: &mut Context<'_>) -> Poll<Slot> {
        for (slot, reply) in &mut self.slots {
            if reply.poll_closed(cx).is_ready() {
                return Poll::Ready(*slot);
            }
        }
        Poll::Pending
    }

    /// The client has hung up on an exchange.
    pub(super) fn hung_up(&mut self, slot: Slot, now: Instant) {
        self.slots.retain(|(open, _)| *open != slot);
        self.session.handle_disconnect(slot, now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.slowed_until.take_if(|until| *until <= now).is_some() {
            // The request that was too early counts now.
            let _ = self.pace.check();
        }
        self.session.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let session = self.session.poll_timeout();
        [session, self.slowed_until].into_iter().flatten().min()
    }

    pub(super) fn is_slowed(&self) -> bool {
        self.slowed_until.is_some()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        Some(match self.session.poll_event()? {
            session::Event::Stanza(stanza) => Event::Stanza(stanza),
            session::Event::Restart => Event::Restart,
            session::Event::NewPage => Event::NewPage,
            session::Event::Ended(end) => Event::Ended(end.into()),
        })
    }

    /// Ends the session with a condition of BOSH (XEP-0124 "Terminal Binding Conditions"), and with the stream error
    /// that has more to say.
    pub(super) fn end(&mut self, reason: Reason, now: Instant) {
        let (error, condition) = match reason {
            Reason::Closed => (None, None),
            Reason::Shutdown => (None, Some(Condition::SystemShutdown)),
            Reason::Violation(error) => (error, Some(Condition::PolicyViolation)),
            // Not remote-connection-failed, after which Converse never comes back.
            Reason::Error(error) => (Some(error), Some(Condition::RemoteStreamError)),
        };
        if let Some(error) = error {
            self.session.send(error);
        }
        self.session.end(condition, now);
    }

    /// Another client goes on with the session, and may be off by one in counting.
    pub(super) fn hand_over(&mut self) {
        self.session.hand_over();
    }

    pub(super) fn abandon(&mut self) {
        self.session.abandon();
    }

    pub(super) fn refuse(&mut self) {
        for (_, reply) in self.slots.drain(..) {
            // A client that has gone meanwhile needs no answer.
            let _ = reply.send(Reply::Unreachable);
        }
        self.session.refuse();
    }

    /// Sends the answers that are due; whether a client was there to take one.
    pub(super) fn answer(&mut self, now: Instant) -> bool {
        let mut has_answered = false;
        while let Some((slot, document)) = self.session.poll_response(now) {
            let Some(index) = self.slots.iter().position(|(open, _)| *open == slot) else {
                continue;
            };
            let (_, reply) = self.slots.swap_remove(index);
            let content_type = self.session.content_type().clone();
            // If the client has gone, it will ask again: the session keeps the answer.
            let is_there = reply.send(Reply::Document {
                document,
                content_type,
            });
            has_answered |= is_there.is_ok();
        }
        has_answered
    }
}

impl From<session::End> for End {
    fn from(end: session::End) -> Self {
        match end {
            session::End::Closed => Self::Closed,
            session::End::Inactive => Self::Inactive,
            session::End::Terminated => Self::Terminated,
            session::End::Unreachable => Self::Unreachable,
            session::End::Violation(condition) => Self::Violation(condition.as_str()),
        }
    }
}
