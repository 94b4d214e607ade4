//! Effects: carries out what the pipe makes of the client's and the server's stanzas, at once or in parts.

use std::time::Instant;

use tracing::{debug, info, warn};

use super::{Task, ownership::stream_error};
use crate::{
    metrics::{Direction, Limit},
    pipe::Effect,
    proto::stanza::Kind,
    session::{
        State,
        downstream::{End, Event, Reason},
    },
};

/// Effects that are carried out before other sessions get their turn.
const MAX_EFFECTS: usize = 512;

impl Task {
    /// Carries out effects and the client's stanzas in turn, until there are no more of them or it is time for other
    /// sessions. The pipe comes first: its effects are those of the stanza before.
    pub(super) fn drain_events(&mut self, now: Instant) {
        self.has_more = false;
        for _ in 0..MAX_EFFECTS {
            if let Some(effect) = self.pipe.poll_effect(self.has_room()) {
                self.apply(effect, now);
            } else if self.is_client_heard()
                && let Some(event) = self.client.poll_event()
            {
                match event {
                    Event::Stanza(stanza) => {
                        self.count(Direction::FromClient, stanza.kind());
                        self.handover.client_stanza(&stanza);
                        self.pipe.client_stanza(stanza);
                    }
                    Event::Restart => self.restart(now),
                    Event::Ended(end) => self.close(end, now),
                }
            } else {
                self.has_more = self.pipe.is_telling() && self.has_room();
                return;
            }
        }
        self.has_more = true;
    }

    pub(super) fn apply(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Bound => self.bound(now),
            Effect::NeedRoster => self.need_roster(),
            Effect::ToClient(stanza) => {
                self.count(Direction::ToClient, stanza.kind());
                self.client.send(stanza);
            }
            Effect::ToServer(stanza) => {
                self.count(Direction::ToServer, stanza.kind());
                self.link.queue(&stanza, now);
            }
            Effect::TellAccount(change) => drop(self.tell_siblings(&change)),
            Effect::Block(request, change) => self.block(request, &change, now),
            Effect::ToServerMany { bytes, count } => {
                self.registration.metrics().presence_to_server(count);
                self.link.queue_many(bytes, count, now);
            }
        }
    }

    /// The server has bound a resource.
    fn bound(&mut self, now: Instant) {
        self.bind_by = None;
        let Some(identity) = self.pipe.identity() else {
            return;
        };
        let sid = self.registration.sid();
        let jid = identity.full();
        let most = self.host.limits.sessions_per_user;
        self.by_user = self.registration.count_for_user(identity.bare(), most);
        if self.by_user.is_none() {
            warn!(?sid, jid, "too many sessions of a user");
            self.registration.metrics().limit(Limit::SessionsPerUser);
            let error = stream_error("policy-violation", "too many sessions of this user");
            return self.client.end(Reason::Violation(Some(error)), now);
        }
        self.record.bind(jid);
        info!(?sid, jid, "session bound");
        if let (true, Err(reason)) = (self.host.rules.rosters, identity.owner()) {
            warn!(?sid, jid, %reason, "session has no contact list");
        }
        if self.link.enable_sm() {
            self.join_account(now);
        }
        self.join_siblings();
    }

    pub(super) fn count(&self, direction: Direction, kind: Kind) {
        self.registration.metrics().stanza(direction, kind);
    }

    /// A new stream on the same connection, as long as no resource is bound to the old one.
    fn restart(&mut self, now: Instant) {
        if self.pipe.identity().is_some() || !self.link.restart(now) {
            debug!(sid = ?self.registration.sid(), "restart of a bound stream ignored");
        }
    }

    /// The session is over for the client: leave the server in good order.
    fn close(&mut self, end: End, now: Instant) {
        info!(sid = ?self.registration.sid(), %end, "session ended");
        self.registration.metrics().ended(end.as_str());
        self.record.enter(State::Ending);
        self.bind_by = None;
        (self.by_address, self.by_user) = (None, None);
        self.roster = None;
        self.leave_siblings();
        self.bounce_pending();
        self.link.sm.handle_confirmation(self.client.confirmed());
        if !self.begin_handover(now) {
            self.close_stream(now);
        }
    }

    /// Closes the stream. The server owns what has not been acknowledged.
    pub(super) fn close_stream(&mut self, now: Instant) {
        self.link.transmit(now);
        self.give_up_handover(now);
        self.link.close(now);
    }
}
