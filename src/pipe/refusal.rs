//! Refusal of well-formed stanzas that a client may not send to its server: the server might understand them as
//! requests about its own contact lists, or they lead around the gateway. Does not look at what the server sends.

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

/// Stanza error (RFC 6120 §8.3) that answers a refused stanza.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    kind: &'static str,
    condition: &'static str,
}

const BAD_REQUEST: Refusal = Refusal::new("modify", "bad-request");
const JID_MALFORMED: Refusal = Refusal::new("modify", "jid-malformed");
const SERVICE_UNAVAILABLE: Refusal = Refusal::new("cancel", "service-unavailable");
/// For requests before the gateway knows who the client is, and so whose list it means. They must not pass: the server
/// may have bound the resource already.
const UNEXPECTED_REQUEST: Refusal = Refusal::new("wait", "unexpected-request");

impl Refusal {
    const fn new(kind: &'static str, condition: &'static str) -> Self {
        Self { kind, condition }
    }

    /// Why a stanza of the client is refused, if it is. `identity` is known once the resource is bound.
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

    /// The answer to the client; `None` if it has sent no stanza, or an answer itself.
    pub fn answer(self, stanza: &Stanza) -> Option<Stanza> {
        bounce::refused(stanza, self.kind, self.condition)
    }
}

/// Refuses stanzas of `jabber:server` and the like, which some servers accept from clients. Refuses a second SASL
/// authentication too: the client could become another user than the gateway believes.
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
        // Another client of the account would answer like this.
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
