//! Effects: carries out what the pipe makes of the client's and the server's stanzas, at once or in parts.

use std::time::Instant;

use tracing::{debug, info, warn};

use super::Task;
use crate::{
    metrics::{Direction, Limit},
    pipe::{Effect, Side, messages::is_welcome},
    proto::{stanza::Kind, stream::error::stream_error},
    roster::Username,
    session::{
        Sid, State,
        downstream::{End, Event, Reason},
        ended_by_site,
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
                continue;
            }
            if !self.is_dealing() {
                self.client.dealt_with(self.link.sent());
            }
            if self.is_client_heard()
                && let Some(event) = self.client.poll_event()
            {
                match event {
                    Event::Stanza(stanza) => {
                        self.count(Direction::FromClient, stanza.kind());
                        self.handover.client_stanza(&stanza);
                        self.resuming.client_stanza(&stanza);
                        self.note_login(&stanza);
                        if !self.refuse_login(&stanza, now) && !self.answer_binding(&stanza) {
                            self.pipe.client_stanza(stanza);
                        }
                    }
                    Event::Enable { resume } => self.enable_for_client(resume),
                    Event::Resume { previd, h } => self.try_to_resume(previd, h, now),
                    Event::Asleep => self.fall_asleep(now),
                    Event::Refused(message) => {
                        self.registration.metrics().message_refused(message);
                    }
                    Event::Silent => self.registration.metrics().ping_lost(),
                    Event::Restart => self.restart(now),
                    Event::NewPage => self.pipe.begin_anew(),
                    Event::Ended(end) => self.close(end, now),
                }
            } else {
                self.has_more = self.pipe.is_telling() && self.has_room();
                return;
            }
        }
        self.has_more = true;
    }

    /// Whether what the client has sent is still being dealt with: it waits for the list, or for other sessions.
    fn is_dealing(&self) -> bool {
        let is_held = self.blocking.is_holding() || self.pipe.holds_of_client();
        self.pipe.is_waiting() || is_held || self.pipe.is_hiding()
    }

    pub(super) fn apply(&mut self, effect: Effect, now: Instant) {
        match effect {
            Effect::Bound => self.bound(now),
            Effect::NeedRoster => self.need_roster(),
            Effect::ToClient(stanza) => {
                self.count(Direction::ToClient, stanza.kind());
                self.client.send(stanza, now);
            }
            Effect::ToServer(stanza) => {
                self.count(Direction::ToServer, stanza.kind());
                if let Some(resource) = &mut self.resource {
                    resource.sends(&stanza);
                }
                self.link.queue(&stanza, now);
            }
            Effect::Refused { answer, sender } => {
                self.registration.metrics().stranger_refused();
                let answer = answer.map(match sender {
                    Side::Client => Effect::ToClient,
                    Side::Server => Effect::ToServer,
                });
                answer.into_iter().for_each(|it| self.apply(it, now));
            }
            Effect::IfWelcome { other, yes, no } => {
                let effect = if self.is_welcome(&other) { yes } else { no };
                self.apply(*effect, now);
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
        (self.bind_by, self.login) = (None, None);
        let Some(identity) = self.pipe.identity() else {
            return;
        };
        let sid = self.registration.sid();
        let jid = identity.full();
        let most = self.host.limits.sessions_per_user;
        let account = self.host.account(identity);
        if self.is_shut_out(&account, now) {
            info!(
                ?sid,
                jid, "login refused: the site has ended the sessions of this user"
            );
            return self.client.end(Reason::Error(ended_by_site(false)), now);
        }
        self.by_user = self.registration.count_for_user(account, most);
        if self.by_user.is_none() {
            warn!(?sid, jid, "too many sessions of a user");
            self.registration.metrics().limit(Limit::SessionsPerUser);
            let error = stream_error("policy-violation", "too many sessions of this user");
            return self.client.end(Reason::Violation(Some(error)), now);
        }
        self.record.bind(jid);
        self.client.bound();
        info!(?sid, jid, "session bound");
        if let (true, Err(reason)) = (self.host.rules.rosters, identity.owner()) {
            warn!(?sid, jid, %reason, "session has no contact list");
        }
        if let Ok(owner) = identity.owner() {
            if let Some(lists) = &self.host.written {
                lists.logged_in(owner);
            }
            let availability = &self.host.availability;
            let resource = availability.resource(owner, self.record.number());
            self.resource = Some(Box::new(resource));
        }
        if self.link.enable_sm() {
            self.join_account(now);
        }
        self.join_siblings();
    }

    /// Whether the list of `other`, if it is in memory, lets the user write.
    fn is_welcome(&self, other: &Username) -> bool {
        let (Some(rosters), Some(identity)) = (&self.host.rosters, self.pipe.identity()) else {
            return false;
        };
        // Nobody keeps the list of somebody who is offline up to date.
        let entry = rosters.known(other).entry.filter(|entry| entry.fresh);
        entry.is_some_and(|entry| is_welcome(entry.roster.get(identity.bare())))
    }

    pub(super) fn count(&self, direction: Direction, kind: Kind) {
        self.registration.metrics().stanza(direction, kind);
    }

    /// A new stream on the same connection, as long as no resource is bound to the old one.
    fn restart(&mut self, now: Instant) {
        if self.pipe.identity().is_some() || !self.link.restart(now) {
            debug!(sid = ?self.registration.sid(), "restart of a bound stream ignored");
            return;
        }
        match Sid::random(None) {
            Ok(stream_id) => self.client.restarted(stream_id.expose(), now),
            Err(_) => self.client.end(Reason::Closed, now),
        }
    }

    /// The session is over for the client: leave the server in good order.
    fn close(&mut self, end: End, now: Instant) {
        info!(sid = ?self.registration.sid(), %end, "session ended");
        self.registration.metrics().ended(end.as_str());
        if self.record.state() == State::Asleep {
            self.registration.metrics().asleep_ended(end.as_str());
        }
        self.record.enter(State::Ending);
        self.bind_by = None;
        (self.by_address, self.by_user) = (None, None);
        (self.roster, self.resource) = (None, None);
        self.leave_siblings();
        self.forget_resumption(now);
        self.bounce_pending();
        self.link.sm.handle_confirmation(self.client.confirmed());
        // What comes after a message that is not counted would be counted in its place.
        let is_uncounted = self.uncounted.take().is_some();
        if is_uncounted || !self.begin_handover(now) {
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
