//! Who the client of a session is: learned from the server, never from the client.

use std::str::FromStr as _;

use jid::{BareJid, FullJid};

use crate::{
    proto::{
        stanza::{IqType, Kind, Stanza},
        xml::Ns,
    },
    roster::Username,
};

/// The bound resource (RFC 6120 §7).
#[derive(Clone, Debug)]
pub struct Identity {
    full: FullJid,
    bare: BareJid,
    username: Username,
}

impl Identity {
    /// Reads the result of resource binding; `None` for any other stanza.
    pub fn from_bind_result(stanza: &Stanza) -> Option<Self> {
        if stanza.kind() != Kind::Iq(IqType::Result) {
            return None;
        }
        let bind = stanza.children().find(|child| child.is(Ns::Bind, "bind"))?;
        let jid = bind.children().find(|child| child.is(Ns::Bind, "jid"))?;
        let full = FullJid::from_str(jid.text().trim()).ok()?;
        let bare = full.to_bare();
        let username = Username::prepare(full.node()?.as_str())?;
        Some(Self {
            full,
            bare,
            username,
        })
    }

    /// The full JID.
    pub fn full(&self) -> &str {
        self.full.as_str()
    }

    /// The bare JID.
    pub fn bare(&self) -> &str {
        self.bare.as_str()
    }

    /// The localpart.
    pub fn username(&self) -> &Username {
        &self.username
    }

    /// True if an address that may be missing means the user's own account (RFC 6120 §8.1.1.1).
    pub fn is_own_account(&self, address: Option<&str>) -> bool {
        address.is_none_or(|address| {
            address == self.bare()
                || BareJid::new(address).is_ok_and(|address| address == self.bare)
        })
    }
}
