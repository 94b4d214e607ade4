//! What a client may not send to its server, though it would be well-formed: what the server might take
//! for a request about its own contact lists, and what leads around the gateway.

use super::{
    Rules, bounce,
    identity::{Identity, Whose},
};
use crate::{
    proto::{
        stanza::{IqType, Kind, PresenceType, Stanza},
        xml::Ns,
    },
    roster::address,
};

/// Why a stanza stays here: a stanza error (RFC 6120 §8.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    kind: &'static str,
    condition: &'static str,
}

const BAD_REQUEST: Refusal = Refusal::new("modify", "bad-request");
const JID_MALFORMED: Refusal = Refusal::new("modify", "jid-malformed");
const SERVICE_UNAVAILABLE: Refusal = Refusal::new("cancel", "service-unavailable");
/// Until the server has said who the client is, nobody can say whose list it means. A server that has
/// bound the resource meanwhile would not ask.
const UNEXPECTED_REQUEST: Refusal = Refusal::new("wait", "unexpected-request");

impl Refusal {
    const fn new(kind: &'static str, condition: &'static str) -> Self {
        Self { kind, condition }
    }

    /// What is wrong with a stanza of the client; `identity` is there once its resource is bound.
    pub fn of(stanza: &Stanza, rules: Rules, identity: Option<&Identity>) -> Option<Self> {
        match stanza.kind() {
            Kind::Nonza => nonza(stanza, identity),
            Kind::Iq(_) if stanza.has_child(Ns::LegacyAuth) => Some(SERVICE_UNAVAILABLE),
            Kind::Iq(kind) if rules.rosters && stanza.has_child(Ns::Roster) => {
                roster_request(kind, stanza, identity)
            }
            Kind::Presence(kind) if rules.rosters => presence(kind, stanza, identity),
            _ => None,
        }
    }

    /// What the client is told; nothing if it has sent no stanza, or an answer.
    pub fn answer(self, stanza: &Stanza) -> Option<Stanza> {
        bounce::refused(stanza, self.kind, self.condition)
    }
}

/// Some servers take stanzas of `jabber:server` and the like for stanzas of a client. And nobody becomes
/// somebody else once the gateway knows who they are.
fn nonza(element: &Stanza, identity: Option<&Identity>) -> Option<Refusal> {
    let looks_like_a_stanza = matches!(element.local(), "iq" | "message" | "presence");
    let authenticates_again = element.ns() == Ns::Sasl && identity.is_some();
    (looks_like_a_stanza || authenticates_again).then_some(BAD_REQUEST)
}

fn roster_request(kind: IqType, iq: &Stanza, identity: Option<&Identity>) -> Option<Refusal> {
    if matches!(kind, IqType::Result | IqType::Error) {
        return None;
    }
    let Some(identity) = identity else {
        return Some(UNEXPECTED_REQUEST);
    };
    match identity.whose(iq.to().as_deref()) {
        Whose::Other => None,
        // What a client would answer, if this were for one.
        Whose::Near => Some(SERVICE_UNAVAILABLE),
        Whose::Unclear => Some(JID_MALFORMED),
        Whose::Own => {
            let is_query = iq.payload() == Some((Ns::Roster, "query"));
            let is_request = kind != IqType::Invalid && is_query && iq.has_only_child();
            (!is_request).then_some(BAD_REQUEST)
        }
    }
}

fn presence(kind: PresenceType, presence: &Stanza, identity: Option<&Identity>) -> Option<Refusal> {
    let manages = kind.is_subscription() || kind == PresenceType::Probe;
    match kind {
        PresenceType::Invalid => Some(BAD_REQUEST),
        _ if manages && identity.is_none() => Some(UNEXPECTED_REQUEST),
        PresenceType::Subscribe => {
            let contact = presence.to().and_then(|to| address::prepare(&to));
            contact.is_none().then_some(JID_MALFORMED)
        }
        _ => None,
    }
}
