//! Stream features and the negotiation elements that belong to them: what is offered to a client
//! that is not itself connected to the server.

use bytes::Bytes;

use crate::proto::{
    stanza::{Child, Kind, Stanza},
    xml::{Ns, write},
};

/// Most features that are passed on; servers have a dozen.
const MAX_FEATURES: usize = 64;

/// The server's features without those that make no sense through a gateway: TLS, compression,
/// stream management and channel binding end at the gateway; SASL2 and XEP-0078 are not followed; with `rosters`,
/// roster versions and pre-approvals would contradict the backend.
pub fn offer(features: &Stanza, rosters: bool) -> Stanza {
    let mut kept = b"<stream:features xmlns:stream='".to_vec();
    kept.extend_from_slice(b"http://etherx.jabber.org/streams' xmlns='jabber:client'>");
    let offered = features
        .children()
        .filter(|child| is_offered(child, rosters));
    for child in offered.take(MAX_FEATURES) {
        if child.is(Ns::Sasl, "mechanisms") {
            write_mechanisms(&child, &mut kept);
        } else if let Some(feature) = child.closed() {
            // With the prefixes that the stream header, or the features, declare around it.
            feature
                .chunks()
                .for_each(|chunk| kept.extend_from_slice(&chunk));
        }
    }
    kept.extend_from_slice(b"</stream:features>");
    Stanza::from_trusted(kept.into(), 0, Bytes::new())
}

fn is_offered(child: &Child, rosters: bool) -> bool {
    match child.ns {
        Ns::CompressFeature
        | Ns::LegacyAuthFeature
        | Ns::Sasl2
        | Ns::SaslChannelBinding
        | Ns::Sm2
        | Ns::Sm3
        | Ns::Tls => false,
        Ns::PreApproval | Ns::RosterVer => !rosters,
        _ => true,
    }
}

/// The mechanisms but those that bind to a TLS channel, which client and server do not share.
fn write_mechanisms(mechanisms: &Child, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>");
    for mechanism in mechanisms.children() {
        let name = mechanism.text();
        if mechanism.is(Ns::Sasl, "mechanism") && !name.ends_with("-PLUS") && name != "EXTERNAL" {
            out.extend_from_slice(b"<mechanism>");
            write::text_into(out, &name);
            out.extend_from_slice(b"</mechanism>");
        }
    }
    out.extend_from_slice(b"</mechanisms>");
}

/// False for elements by which a client would negotiate what is not offered to it, and for those of
/// the stream itself.
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
