//! Stream features, and the elements that negotiate them: leaves out what a client cannot use that is not itself
//! connected to the server. Does not negotiate anything.

use super::Rules;
use crate::proto::{
    stanza::{Child, Kind, Stanza},
    xml::Ns,
};

/// Most features that are passed on; servers have a dozen.
const MAX_FEATURES: usize = 64;

/// The server's features without those that make no sense through a gateway. TLS, compression, stream management and
/// channel binding end at the gateway, and the server's limits (XEP-0478) hold for the gateway's connection. The
/// gateway does not follow SASL2 and XEP-0078. Roster versions and pre-approvals would contradict the backend. Where the
/// gateway manages the client's stream, it offers that itself, together with resource binding.
pub fn offer(features: &Stanza, rules: Rules) -> Stanza {
    let mut kept = b"<stream:features xmlns:stream='".to_vec();
    kept.extend_from_slice(b"http://etherx.jabber.org/streams' xmlns='jabber:client'>");
    let offered = features
        .children()
        .filter(|child| is_offered(child, rules.rosters));
    let mut may_bind = false;
    for child in offered.take(MAX_FEATURES) {
        may_bind |= child.is(Ns::Bind, "bind");
        if child.is(Ns::Sasl, "mechanisms") {
            write_mechanisms(&child, &mut kept);
        } else if let Some(feature) = child.closed() {
            // Closed: with the prefixes that the stream header or the features declare.
            feature
                .chunks()
                .for_each(|chunk| kept.extend_from_slice(&chunk));
        }
    }
    if rules.manages_streams && may_bind {
        kept.extend_from_slice(b"<sm xmlns='urn:xmpp:sm:3'/>");
    }
    kept.extend_from_slice(b"</stream:features>");
    Stanza::ours(kept)
}

fn is_offered(child: &Child, rosters: bool) -> bool {
    match child.ns {
        Ns::CompressFeature
        | Ns::LegacyAuthFeature
        | Ns::Sasl2
        | Ns::SaslChannelBinding
        | Ns::Sm2
        | Ns::Sm3
        | Ns::StreamLimits
        | Ns::Tls => false,
        Ns::PreApproval | Ns::RosterVer => !rosters,
        _ => true,
    }
}

/// Names of the server's ways to authenticate that clients are not offered: mechanisms, and the list of channel
/// bindings.
///
/// A client that protects itself against downgrades (XEP-0474) compares what it was offered with what the server says
/// that it has offered, and refuses to log in if something is missing.
pub fn withheld(features: &Stanza) -> Vec<String> {
    let mut withheld = Vec::new();
    for child in features.children().take(MAX_FEATURES) {
        if child.is(Ns::SaslChannelBinding, "sasl-channel-binding") {
            withheld.push(child.local().to_owned());
        } else if child.is(Ns::Sasl, "mechanisms") {
            let mechanisms = child.children().filter(is_withheld);
            withheld.extend(mechanisms.map(|it| it.text().trim().to_owned()));
        }
    }
    withheld
}

/// Copies the mechanisms as the server wrote them, without those that are withheld.
fn write_mechanisms(mechanisms: &Child, out: &mut Vec<u8>) {
    let Some(mechanisms) = mechanisms.closed() else {
        return;
    };
    let bytes = mechanisms.to_bytes();
    let mut from = 0;
    for withheld in mechanisms.children().filter(is_withheld) {
        out.extend_from_slice(bytes.get(from..withheld.at).unwrap_or_default());
        from = withheld.at.saturating_add(withheld.bytes.len());
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

/// Whether a mechanism cannot work through a gateway: it binds to a TLS channel, which client and server do not share,
/// or it relies on a certificate, which would be the gateway's.
fn is_withheld(mechanism: &Child) -> bool {
    let name = mechanism.text();
    let name = name.trim();
    mechanism.is(Ns::Sasl, "mechanism") && (name.ends_with("-PLUS") || name == "EXTERNAL")
}

/// Whether a client may send this: false for elements that negotiate a feature that it is not offered, and for elements
/// of the stream itself.
pub fn may_be_sent(stanza: &Stanza) -> bool {
    !matches!(stanza.kind(), Kind::Features | Kind::StreamError)
        && !matches!(
            (stanza.ns(), stanza.local()),
            (
                Ns::Tls | Ns::Sasl2 | Ns::Sm2 | Ns::Sm3 | Ns::Compress | Ns::Streams,
                _
            )
        )
}
