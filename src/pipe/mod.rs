//! Pipe: the path of stanzas between a client and its server. It holds one session's roster and presence, and says
//! what becomes of each stanza. It does no I/O, knows no clock, and does not hold requests.
//!
//! A [`Pipe`] takes one stanza at a time and answers with a list of [`Effect`]s. Drain [`Pipe::poll_effect`] after
//! every other call; while the pipe [is telling](Pipe::is_telling) many contacts, poll it whenever there is room for
//! more. On a host without `http_roster_url`, everything passes but what makes no sense through a gateway (see
//! [`features`]).

pub mod blocked;
pub mod blocking;
pub mod bounce;
pub mod features;
pub mod identity;
pub mod messages;
pub mod presence;
pub mod refusal;
pub mod roster;
pub mod update;

use std::{collections::VecDeque, ptr, sync::Arc};

use blocked::Change;
use blocking::Blocking;
use bytes::Bytes;
use identity::{Identity, Whose};
use messages::Messages;
use presence::PresenceService;
use refusal::Refusal;
use roster::RosterService;
use update::RosterUpdate;

use crate::{
    proto::{
        stanza::{IqType, Kind, PresenceType, Stanza},
        xml::Ns,
    },
    roster::{Roster, Username},
};

/// Most steps of a long task (see [`Pipe::is_telling`]) that one poll takes without any effect.
const STEPS: usize = 32;

/// Rules of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Contact lists come from the backend.
    pub rosters: bool,
    /// Presence is carried to contacts by directed presence.
    pub directed: bool,
    /// Clients may use stream management, which ends at the gateway.
    pub manages_streams: bool,
    /// Only contacts may write to each other.
    pub contacts_only: bool,
}

/// Effect that the session's task has to carry out, in the order given.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The resource is bound; [`Pipe::identity`] is known from now on.
    Bound,
    /// Answer by [`Pipe::roster_ready`] or [`Pipe::roster_failed`].
    NeedRoster,
    /// Send this to the client.
    ToClient(Stanza),
    /// Send this to the server.
    ToServer(Stanza),
    /// Send the server these presence stanzas, which are written one after the other.
    ToServerMany {
        /// The stanzas.
        bytes: Bytes,
        /// How many there are.
        count: u32,
    },
    /// A message between people who are not contacts does not pass. The answer, if there is one, goes to its sender.
    Refused {
        /// The answer.
        answer: Option<Stanza>,
        /// Where the message came from.
        sender: Side,
    },
    /// Carry out `yes` if the list of `other` lets the user write ([`messages::is_welcome`]), or else `no`.
    IfWelcome {
        /// Another user of the domain.
        other: Username,
        /// The message.
        yes: Box<Self>,
        /// The refusal.
        no: Box<Self>,
    },
    /// Call [`Pipe::account_changes`] of the account's other sessions.
    TellAccount(Change),
    /// Do the same, wait until the server has what these sessions then send, and only then send it this request:
    /// afterwards, it would pass nothing on to the blocked contacts.
    Block(Stanza, Change),
}

/// Side of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// That towards the client.
    Client,
    /// That towards the server.
    Server,
}

/// The stanza path of one session.
#[derive(Debug)]
pub struct Pipe {
    rules: Rules,
    /// The domain of the session, prepared.
    domain: Box<str>,
    identity: Option<Identity>,
    service: RosterService,
    presence: PresenceService,
    blocking: Blocking,
    messages: Messages,
    effects: VecDeque<Effect>,
    /// The latest roster is the session's first.
    is_first: bool,
    /// The update of the list that is under way. It goes on once `effects` is empty.
    update: Option<Box<RosterUpdate>>,
    /// A newer roster, which waits until the update before it is done.
    next_roster: Option<Arc<Roster>>,
}

impl Pipe {
    /// A pipe for a session that has yet to log in. `domain` is prepared.
    pub fn new(rules: Rules, domain: &str) -> Self {
        Self {
            rules,
            domain: domain.into(),
            identity: None,
            service: RosterService::default(),
            presence: PresenceService::default(),
            blocking: Blocking::default(),
            messages: Messages::default(),
            effects: VecDeque::new(),
            is_first: false,
            update: None,
            next_roster: None,
        }
    }

    /// The same where people are served at these domains: theirs are no addresses of services.
    #[must_use]
    pub fn beside(mut self, people_at: Arc<[String]>) -> Self {
        self.messages = Messages::at(people_at);
        self
    }

    /// Who the client is, once the server has bound its resource.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// True once the client has asked for its roster (RFC 6121 §2.1.6, "interested resource").
    pub fn is_interested(&self) -> bool {
        self.service.is_interested()
    }

    /// How many roster pushes the client has been given.
    pub fn pushes(&self) -> u64 {
        self.service.pushes()
    }

    /// The client sent this.
    pub fn client_stanza(&mut self, stanza: Stanza) {
        if !features::may_be_sent(&stanza) {
            return;
        }
        if let Some(refusal) = Refusal::of(&stanza, self.rules, self.identity.as_ref()) {
            let answer = refusal.answer(&stanza);
            return self.effects.extend(answer.map(Effect::ToClient));
        }
        let identity = match &self.identity {
            Some(identity) if self.rules.rosters => identity,
            _ => return self.effects.push_back(Effect::ToServer(stanza)),
        };
        if self.rules.contacts_only {
            if let Kind::Message(_) = stanza.kind() {
                return self.client_message(stanza);
            }
            if let (Kind::Presence(_), Some(to)) = (stanza.kind(), stanza.to()) {
                self.messages.client_greets(&stanza, &to);
            }
        }
        let effects = &mut self.effects;
        match stanza.kind() {
            Kind::Iq(kind) => match (kind, stanza.payload()) {
                (IqType::Get | IqType::Set, Some((Ns::Roster, "query")))
                    if identity.whose(stanza.to().as_deref()) == Whose::Own =>
                {
                    if kind == IqType::Get {
                        self.service.client_get(&stanza, identity, effects);
                    } else {
                        self.service.client_set(&stanza, identity, effects);
                    }
                }
                (IqType::Set, Some((Ns::Blocking, _)))
                    if self.rules.directed
                        && identity.whose(stanza.to().as_deref()) == Whose::Own
                        && let Some(change) = Change::of(&stanza) =>
                {
                    self.blocking.client_asks(stanza, change, effects);
                }
                (IqType::Result | IqType::Error, _)
                    if self.service.has_pushed(&stanza)
                        && identity.whose(stanza.to().as_deref()) == Whose::Own => {}
                _ => effects.push_back(Effect::ToServer(stanza)),
            },
            Kind::Presence(PresenceType::Subscribe) => {
                self.service.client_subscribes(&stanza, identity, effects);
            }
            Kind::Presence(kind) if kind.is_subscription() || kind == PresenceType::Probe => {}
            Kind::Presence(kind)
                if stanza.to().is_none() && self.rules.directed && identity.has_list() =>
            {
                if stanza.size() > presence::MAX_BROADCAST {
                    return effects.push_back(Effect::ToClient(presence::too_large(&stanza)));
                }
                self.presence
                    .client_broadcast(kind, stanza, self.service.roster(), effects);
            }
            Kind::Presence(_) => {
                self.presence
                    .client_directed(&stanza.to().unwrap_or_default());
                effects.push_back(Effect::ToServer(stanza));
            }
            _ => effects.push_back(Effect::ToServer(stanza)),
        }
    }

    /// The server sent this.
    pub fn server_stanza(&mut self, stanza: Stanza) {
        let effects = &mut self.effects;
        if stanza.kind() == Kind::Features {
            let features = features::offer(&stanza, self.rules);
            return effects.push_back(Effect::ToClient(features));
        }
        let Some(identity) = &self.identity else {
            let identity = Identity::from_bind_result(&stanza, &self.domain);
            effects.push_back(Effect::ToClient(stanza));
            if identity.is_some() {
                self.identity = identity;
                effects.push_back(Effect::Bound);
            }
            return;
        };
        if !self.rules.rosters {
            return effects.push_back(Effect::ToClient(stanza));
        }
        if self.rules.contacts_only {
            match stanza.kind() {
                Kind::Message(_) => return self.server_message(stanza),
                Kind::Presence(_) => self.messages.server_greets(&stanza),
                _ => {}
            }
        }
        match stanza.kind() {
            Kind::Iq(IqType::Set) if stanza.has_child(Ns::Roster) => {
                if identity.is_own_server(stanza.from().as_deref()) {
                    roster::acknowledge_server_push(&stanza, effects);
                } else {
                    effects.push_back(Effect::ToServer(bounce::unwelcome(&stanza)));
                }
            }
            Kind::Iq(kind)
                if self.rules.directed && identity.is_own_server(stanza.from().as_deref()) =>
            {
                match kind {
                    IqType::Result | IqType::Error => {
                        self.blocking.server_answers(kind, &stanza, effects);
                    }
                    _ => {
                        let change = Change::of(&stanza);
                        change
                            .into_iter()
                            .for_each(|it| self.blocking.server_tells(it));
                    }
                }
                effects.push_back(Effect::ToClient(stanza));
            }
            Kind::Presence(kind) if kind.is_subscription() || kind == PresenceType::Probe => {}
            Kind::Presence(kind) if self.rules.directed && identity.has_list() => {
                self.presence.server_presence(
                    kind,
                    stanza,
                    self.service.roster(),
                    identity,
                    effects,
                );
            }
            _ => effects.push_back(Effect::ToClient(stanza)),
        }
    }

    /// The server sent something that cannot be passed on; `husk` is what can be read of it.
    pub fn server_husk(&mut self, husk: Stanza) {
        match husk.kind() {
            // That somebody comes or goes can be told without the rest of the presence.
            Kind::Presence(_) if husk.from().is_some() => self.server_stanza(husk),
            _ => self.effects.extend(bounce::unreadable(&husk)),
        }
    }

    /// Whether presence of people who are not on the list is held, as they may be about to become contacts. Call
    /// [`show_held`](Self::show_held) after a while.
    pub fn has_held(&self) -> bool {
        self.service.roster().is_some() && self.presence.has_held()
    }

    /// Whether the client waits for its list.
    pub fn is_waiting(&self) -> bool {
        self.service.is_waiting()
    }

    /// Gives the client the presence that is held.
    pub fn show_held(&mut self) {
        self.presence.show_held(&mut self.effects);
    }

    /// The client goes on with the session and has forgotten what it was told, as a page does that is loaded again: it is
    /// shown again who is there. It has to ask for its roster itself, if it has forgotten that, too.
    pub fn begin_anew(&mut self) {
        if self.service.roster().is_some() {
            self.presence.begin_anew();
        }
    }

    /// Another session of the account blocks or unblocks somebody, or a request to block has failed.
    pub fn account_changes(&mut self, change: Change) {
        self.blocking.account_changes(change);
    }

    /// Whether contacts are being told that the client blocks them. What the client sends next has to wait: it must not
    /// reach the server before the block does.
    pub fn is_hiding(&self) -> bool {
        self.blocking.is_busy()
    }

    /// Whether so many requests to block are unanswered that the client should not be read from.
    pub fn has_much_to_answer(&self) -> bool {
        self.blocking.is_full()
    }

    /// The roster has arrived: the one that was needed, or a newer one.
    pub fn roster_ready(&mut self, roster: &Arc<Roster>) {
        self.take_roster(roster);
        self.release_messages(true);
    }

    fn take_roster(&mut self, roster: &Arc<Roster>) {
        let Some(identity) = &self.identity else {
            return;
        };
        if self
            .service
            .roster()
            .is_some_and(|old| ptr::eq(old, &**roster))
        {
            if self.service.answer_waiting(identity, &mut self.effects) {
                self.presence.begin_anew();
            }
            return;
        }
        if self.is_telling() {
            self.next_roster = Some(Arc::clone(roster));
            return;
        }
        self.is_first = self.service.roster().is_none();
        let replaced = self.service.replace(roster);
        self.update = replaced
            .map(|(old, is_late)| Box::new(RosterUpdate::new(old, Arc::clone(roster), is_late)));
        if self.update.is_none() {
            self.finish_update();
        }
    }

    /// The update of the list is done.
    fn finish_update(&mut self) {
        let Some(identity) = &self.identity else {
            return;
        };
        if self.service.answer_waiting(identity, &mut self.effects) {
            self.presence.begin_anew();
        }
        if let Some(roster) = self
            .service
            .roster()
            .filter(|_| self.is_first && self.rules.directed)
        {
            self.presence.roster_arrived(roster, &mut self.effects);
        }
    }

    /// The roster could not be fetched: waiting requests are answered with an error.
    pub fn roster_failed(&mut self) {
        if let Some(identity) = &self.identity {
            self.service.refuse_waiting(identity, &mut self.effects);
        }
        self.release_messages(false);
    }

    /// Whether a long task is under way: presence to or of all contacts, an update of the list, or a block.
    /// [`Self::poll_effect`] goes on with it when there is room.
    pub fn is_telling(&self) -> bool {
        self.update.is_some()
            || self.blocking.is_busy()
            || self.presence.is_announcing()
            || self.presence.is_showing_again()
            || self.next_roster.is_some()
    }

    /// The next effect. A long task waits while there is no room for more, towards the server and the client
    /// (`has_room`). It also pauses after many steps without an effect, so that other sessions have their turn.
    pub fn poll_effect(&mut self, has_room: bool) -> Option<Effect> {
        for _ in 0..STEPS {
            let effect = self.effects.pop_front();
            if effect.is_some() {
                return effect;
            }
            if self.is_telling() && !has_room {
                return None;
            }
            if !self.step() {
                // Most sessions are idle most of the time: give the buffer back.
                self.effects = VecDeque::new();
                return None;
            }
        }
        self.effects.pop_front()
    }

    /// Takes one step of the long task; false if there is none.
    fn step(&mut self) -> bool {
        let Some(identity) = &self.identity else {
            return false;
        };
        let (service, presence) = (&mut self.service, &mut self.presence);
        if let Some(update) = &mut self.update {
            if !update.go_on(service, presence, identity, &mut self.effects) {
                self.update = None;
                self.finish_update();
            }
            return true;
        }
        if self.blocking.is_busy() {
            let (roster, effects) = (service.roster(), &mut self.effects);
            self.blocking.go_on(presence, roster, identity, effects);
            return true;
        }
        if presence.is_announcing() {
            presence.announce(service.roster(), &mut self.effects);
            return true;
        }
        if presence.is_showing_again() {
            presence.show_again(service.roster(), &mut self.effects);
            return true;
        }
        let Some(next) = self.next_roster.take() else {
            return false;
        };
        self.take_roster(&next);
        true
    }
}

#[cfg(test)]
mod tests;
