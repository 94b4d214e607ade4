//! The namespaces that the gateway knows by name.

/// A namespace, interned where the gateway has to tell it apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ns {
    /// No namespace at all (`xmlns=''`, or an attribute without a prefix).
    None,
    /// `urn:ietf:params:xml:ns:xmpp-bind`
    Bind,
    /// `urn:xmpp:blocking` (XEP-0191)
    Blocking,
    /// `urn:xmpp:carbons:2` (XEP-0280)
    Carbons,
    /// `jabber:client`
    Client,
    /// `http://jabber.org/protocol/compress` (XEP-0138)
    Compress,
    /// `http://jabber.org/features/compress` (its stream feature)
    CompressFeature,
    /// `urn:xmpp:csi:0` (XEP-0352)
    Csi,
    /// `urn:xmpp:delay` (XEP-0203)
    Delay,
    /// `urn:xmpp:forward:0` (XEP-0297)
    Forward,
    /// `urn:ietf:params:xml:ns:xmpp-framing` (RFC 7395)
    Framing,
    /// `http://jabber.org/protocol/httpbind`
    HttpBind,
    /// `urn:xmpp:mam:tmp` (XEP-0313, early)
    LegacyArchive,
    /// `jabber:iq:auth` (XEP-0078)
    LegacyAuth,
    /// `http://jabber.org/features/iq-auth` (its stream feature)
    LegacyAuthFeature,
    /// `jabber:x:delay` (XEP-0091)
    LegacyDelay,
    /// `http://jabber.org/protocol/muc#user` (XEP-0045)
    MucUser,
    /// `urn:xmpp:features:pre-approval`
    PreApproval,
    /// `jabber:iq:roster`
    Roster,
    /// `urn:xmpp:features:rosterver`
    RosterVer,
    /// `urn:ietf:params:xml:ns:xmpp-sasl`
    Sasl,
    /// `urn:xmpp:sasl:2`
    Sasl2,
    /// `urn:xmpp:sasl-cb:0`
    SaslChannelBinding,
    /// `urn:ietf:params:xml:ns:xmpp-session`
    Session,
    /// `urn:xmpp:sm:2`
    Sm2,
    /// `urn:xmpp:sm:3`
    Sm3,
    /// `urn:ietf:params:xml:ns:xmpp-stanzas`
    Stanzas,
    /// `urn:ietf:params:xml:ns:xmpp-streams` (conditions inside `stream:error`)
    StreamConditions,
    /// `urn:xmpp:sid:0` (XEP-0359)
    StanzaIds,
    /// `urn:xmpp:stream-limits:0`
    StreamLimits,
    /// `http://etherx.jabber.org/streams`
    Streams,
    /// `urn:ietf:params:xml:ns:xmpp-tls`
    Tls,
    /// `urn:xmpp:xbosh`
    XBosh,
    /// `http://www.w3.org/XML/1998/namespace`
    Xml,
    /// Any other namespace.
    Other,
}

impl Ns {
    /// The namespace named `uri`, which is compared byte by byte (Namespaces in XML §2.3).
    pub fn of(uri: &[u8]) -> Self {
        match uri {
            b"" => Self::None,
            b"urn:ietf:params:xml:ns:xmpp-bind" => Self::Bind,
            b"urn:xmpp:blocking" => Self::Blocking,
            b"urn:xmpp:carbons:2" => Self::Carbons,
            b"jabber:client" => Self::Client,
            b"http://jabber.org/protocol/compress" => Self::Compress,
            b"http://jabber.org/features/compress" => Self::CompressFeature,
            b"urn:xmpp:csi:0" => Self::Csi,
            b"urn:xmpp:delay" => Self::Delay,
            b"urn:xmpp:forward:0" => Self::Forward,
            b"urn:ietf:params:xml:ns:xmpp-framing" => Self::Framing,
            b"http://jabber.org/protocol/httpbind" => Self::HttpBind,
            b"urn:xmpp:mam:tmp" => Self::LegacyArchive,
            b"jabber:iq:auth" => Self::LegacyAuth,
            b"http://jabber.org/features/iq-auth" => Self::LegacyAuthFeature,
            b"jabber:x:delay" => Self::LegacyDelay,
            b"http://jabber.org/protocol/muc#user" => Self::MucUser,
            b"urn:xmpp:features:pre-approval" => Self::PreApproval,
            b"jabber:iq:roster" => Self::Roster,
            b"urn:xmpp:features:rosterver" => Self::RosterVer,
            b"urn:ietf:params:xml:ns:xmpp-sasl" => Self::Sasl,
            b"urn:xmpp:sasl:2" => Self::Sasl2,
            b"urn:xmpp:sasl-cb:0" => Self::SaslChannelBinding,
            b"urn:ietf:params:xml:ns:xmpp-session" => Self::Session,
            b"urn:xmpp:sm:2" => Self::Sm2,
            b"urn:xmpp:sm:3" => Self::Sm3,
            b"urn:ietf:params:xml:ns:xmpp-stanzas" => Self::Stanzas,
            b"urn:ietf:params:xml:ns:xmpp-streams" => Self::StreamConditions,
            b"urn:xmpp:sid:0" => Self::StanzaIds,
            b"urn:xmpp:stream-limits:0" => Self::StreamLimits,
            b"http://etherx.jabber.org/streams" => Self::Streams,
            b"urn:ietf:params:xml:ns:xmpp-tls" => Self::Tls,
            b"urn:xmpp:xbosh" => Self::XBosh,
            b"http://www.w3.org/XML/1998/namespace" => Self::Xml,
            _ => Self::Other,
        }
    }

    /// The name; empty for [`Ns::None`], unknown for [`Ns::Other`].
    pub fn uri(self) -> Option<&'static str> {
        Some(match self {
            Self::None => "",
            Self::Bind => "urn:ietf:params:xml:ns:xmpp-bind",
            Self::Blocking => "urn:xmpp:blocking",
            Self::Carbons => "urn:xmpp:carbons:2",
            Self::Client => "jabber:client",
            Self::Compress => "http://jabber.org/protocol/compress",
            Self::CompressFeature => "http://jabber.org/features/compress",
            Self::Csi => "urn:xmpp:csi:0",
            Self::Delay => "urn:xmpp:delay",
            Self::Forward => "urn:xmpp:forward:0",
            Self::Framing => "urn:ietf:params:xml:ns:xmpp-framing",
            Self::HttpBind => "http://jabber.org/protocol/httpbind",
            Self::LegacyArchive => "urn:xmpp:mam:tmp",
            Self::LegacyAuth => "jabber:iq:auth",
            Self::LegacyAuthFeature => "http://jabber.org/features/iq-auth",
            Self::LegacyDelay => "jabber:x:delay",
            Self::MucUser => "http://jabber.org/protocol/muc#user",
            Self::PreApproval => "urn:xmpp:features:pre-approval",
            Self::Roster => "jabber:iq:roster",
            Self::RosterVer => "urn:xmpp:features:rosterver",
            Self::Sasl => "urn:ietf:params:xml:ns:xmpp-sasl",
            Self::Sasl2 => "urn:xmpp:sasl:2",
            Self::SaslChannelBinding => "urn:xmpp:sasl-cb:0",
            Self::Session => "urn:ietf:params:xml:ns:xmpp-session",
            Self::Sm2 => "urn:xmpp:sm:2",
            Self::Sm3 => "urn:xmpp:sm:3",
            Self::Stanzas => "urn:ietf:params:xml:ns:xmpp-stanzas",
            Self::StreamConditions => "urn:ietf:params:xml:ns:xmpp-streams",
            Self::StanzaIds => "urn:xmpp:sid:0",
            Self::StreamLimits => "urn:xmpp:stream-limits:0",
            Self::Streams => "http://etherx.jabber.org/streams",
            Self::Tls => "urn:ietf:params:xml:ns:xmpp-tls",
            Self::XBosh => "urn:xmpp:xbosh",
            Self::Xml => "http://www.w3.org/XML/1998/namespace",
            Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_namespace_is_found_by_its_uri() {
        let known = [
            Ns::Bind,
            Ns::Blocking,
            Ns::Carbons,
            Ns::Client,
            Ns::CompressFeature,
            Ns::Delay,
            Ns::Csi,
            Ns::Forward,
            Ns::Framing,
            Ns::HttpBind,
            Ns::LegacyArchive,
            Ns::LegacyAuth,
            Ns::LegacyAuthFeature,
            Ns::LegacyDelay,
            Ns::MucUser,
            Ns::PreApproval,
            Ns::Roster,
            Ns::RosterVer,
            Ns::Sasl,
            Ns::Sasl2,
            Ns::SaslChannelBinding,
            Ns::Session,
            Ns::Sm2,
            Ns::Sm3,
            Ns::Stanzas,
            Ns::StreamConditions,
            Ns::StanzaIds,
            Ns::StreamLimits,
            Ns::Streams,
            Ns::Tls,
            Ns::XBosh,
            Ns::Xml,
            Ns::None,
        ];
        for ns in known {
            assert_eq!(ns.uri().map(|uri| Ns::of(uri.as_bytes())), Some(ns));
        }
        for unknown in [
            "jabber:client ",
            "Jabber:client",
            "jabber:clien",
            "urn:xmpp:sm:4",
        ] {
            assert_eq!(Ns::of(unknown.as_bytes()), Ns::Other);
        }
        assert_eq!(Ns::Other.uri(), None);
    }
}
