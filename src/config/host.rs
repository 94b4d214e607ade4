//! `[[host]]`: an XMPP domain, its server and its backend.

use jid::DomainPart;

use super::{
    backend::Backend,
    own_addresses::OwnAddresses,
    reader::{Section, Taken},
    upstream::Upstream,
    url::RosterUrl,
};

/// `[[host]]`
#[derive(Clone, Debug)]
pub struct Host {
    /// The XMPP domain, prepared.
    pub domain: DomainPart,
    /// Where its server is.
    pub upstream: Upstream,
    /// Where its rosters come from; absent: stanzas pass untouched.
    pub http_roster_url: Option<RosterUrl>,
    /// Who carries presence between contacts.
    pub presence: Presence,
    /// How the backend is asked for them.
    pub backend: Backend,
}

/// Who carries presence between contacts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// The gateway, by directed presence.
    Directed,
    /// The server; the gateway leaves it alone.
    Server,
}

impl Host {
    /// `None` without a domain or an upstream.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        taken: &mut Taken,
        own: &OwnAddresses,
    ) -> Option<Self> {
        let domain = section.require("domain", |text| taken.domain(text));
        let upstream = Upstream::read(section, own);
        let (http_roster_url, backend) = Backend::read(section, own);
        let mut presence = Presence::Directed;
        let choices = [
            ("directed", Presence::Directed),
            ("server", Presence::Server),
        ];
        section.choose(&mut presence, "presence", &choices);
        Some(Self {
            domain: domain?,
            upstream: upstream?,
            http_roster_url,
            presence,
            backend,
        })
    }
}
