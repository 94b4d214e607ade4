//! Origin of a request: the client's address, when proxies stand between. Believes trusted proxies alone.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, Version};

use super::forwarded;
use crate::{
    net::{
        listener::Peer,
        proxies::{ForwardedHeader, Proxies},
    },
    session::{Origin, Protocol},
};

const FORWARDED: HeaderName = http::header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

impl Proxies {
    /// The origin of a request: the peer, or, if the peer is a trusted proxy, the last address in the header that is
    /// none. Entries further to the left may be invented by the client.
    pub fn origin(&self, peer: Peer, version: Version, headers: &HeaderMap) -> Origin {
        let mut origin = Origin {
            address: peer.address,
            is_known: true,
            secure: peer.tls,
            protocol: protocol(version),
        };
        if self.trust(origin.address.ip()) {
            match self.header {
                ForwardedHeader::Forwarded => self.follow_forwarded(&mut origin, headers),
                ForwardedHeader::XForwardedFor => self.follow_x_forwarded(&mut origin, headers),
            }
        }
        let ip = origin.address.ip().to_canonical();
        origin.address = SocketAddr::new(ip, origin.address.port());
        origin.is_known = !self.trust(ip);
        origin
    }

    fn follow_forwarded(&self, origin: &mut Origin, headers: &HeaderMap) {
        let values = headers.get_all(FORWARDED).iter().rev();
        for value in values.map(|value| value.to_str().ok().and_then(forwarded::parse)) {
            for element in value.unwrap_or_default().into_iter().rev() {
                if !self.trust(origin.address.ip()) {
                    return;
                }
                if let Some(proto) = &element.proto {
                    origin.secure = proto.eq_ignore_ascii_case("https");
                }
                let Some(client) = element.client else { return };
                origin.address = client;
            }
        }
    }

    fn follow_x_forwarded(&self, origin: &mut Origin, headers: &HeaderMap) {
        let mut protos = entries_from_the_end(headers, X_FORWARDED_PROTO).peekable();
        let mut is_https = protos
            .peek()
            .is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        for entry in entries_from_the_end(headers, X_FORWARDED_FOR) {
            if !self.trust(origin.address.ip()) {
                break;
            }
            // Of several proxies, each may add the protocol by which it was asked, or only the first one does.
            if let Some(proto) = protos.next() {
                is_https = proto.eq_ignore_ascii_case("https");
            }
            let Some(client) = address(entry) else {
                break;
            };
            origin.address = client;
        }
        origin.secure |= is_https;
    }
}

/// The protocol of a request; no other versions reach the gateway.
fn protocol(version: Version) -> Protocol {
    match version {
        Version::HTTP_2 => Protocol::Http2,
        Version::HTTP_10 => Protocol::Http10,
        _ => Protocol::Http11,
    }
}

/// Entries that proxies have added to a list, the last one first.
fn entries_from_the_end(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().rev();
    let values = values.map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.rsplit(',')).map(str::trim)
}

/// An address, perhaps with a port, as some proxies write it.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.parse().map(|address| SocketAddr::new(address, 0));
    bare.or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(header: ForwardedHeader, peer: &str, fields: &[(HeaderName, &str)]) -> Origin {
        let trusted = ["127.0.0.0/8", "10.0.0.0/24"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().unwrap());
        }
        let peer = Peer {
            address: SocketAddr::new(peer.parse().unwrap(), 1),
            tls: false,
            proxied: false,
        };
        let trusted = trusted.into_iter().collect();
        Proxies { trusted, header }.origin(peer, Version::HTTP_11, &headers)
    }

    fn client_of(peer: &str, forwarded: &[&str]) -> String {
        let fields: Vec<_> = forwarded.iter().map(|it| (X_FORWARDED_FOR, *it)).collect();
        let origin = origin(ForwardedHeader::XForwardedFor, peer, &fields);
        origin.address.ip().to_string()
    }

    #[test]
    fn a_trusted_proxy_tells_of_tls_and_nobody_else() {
        let secure = |peer: &str, proto: &str| {
            let fields = [(X_FORWARDED_PROTO, proto)];
            origin(ForwardedHeader::XForwardedFor, peer, &fields).secure
        };
        assert!(secure("127.0.0.1", "https"));
        assert!(!secure("127.0.0.1", "http"));
        assert!(!secure("192.0.2.1", "https"));
        let secure = |peer: &str, forwarded: &str| {
            let fields = [(FORWARDED, forwarded)];
            origin(ForwardedHeader::Forwarded, peer, &fields).secure
        };
        assert!(secure("127.0.0.1", "for=192.0.2.1;proto=https"));
        assert!(!secure("192.0.2.9", "for=192.0.2.1;proto=https"));
        // Between two proxies there may be none.
        let line = "for=192.0.2.1;proto=https, for=10.0.0.7;proto=http";
        assert!(secure("127.0.0.1", line));
        let line = "for=192.0.2.1;proto=https, for=192.0.2.2;proto=http";
        assert!(!secure("127.0.0.1", line));
    }

    #[test]
    fn proxies_in_a_row_tell_of_tls_each_for_itself() {
        for (clients, protos, expected) in [
            // One that says it twice.
            (&["192.0.2.1"][..], &["https, https"][..], true),
            (&["192.0.2.1"], &["https", "HTTPS"], true),
            (&["192.0.2.1"], &["https ,https "], true),
            // What the client made up does not count.
            (&["192.0.2.1"], &["https, http"], false),
            (&["192.0.2.1"], &["https", "http"], false),
            (&["192.0.2.1"], &["http, https"], true),
            (&["1.1.1.1, 192.0.2.1"], &["https, http"], false),
            // Between two proxies there may be none.
            (&["192.0.2.1, 10.0.0.7"], &["https, http"], true),
            (&["192.0.2.1", "10.0.0.7"], &["http, https"], false),
            (&["192.0.2.1, 10.0.0.7"], &["http, https, http"], true),
            // The second one passes on what the first one says.
            (&["192.0.2.1, 10.0.0.7"], &["https"], true),
            (&["192.0.2.1, 10.0.0.7"], &["http"], false),
            // It does not say for whom.
            (&[], &["https"], true),
            (&[], &["https, http"], false),
            (&["unknown"], &["https, https"], true),
        ] {
            let clients = clients.iter().map(|it| (X_FORWARDED_FOR, *it));
            let protos = protos.iter().map(|it| (X_FORWARDED_PROTO, *it));
            let fields: Vec<_> = clients.chain(protos).collect();
            let origin = origin(ForwardedHeader::XForwardedFor, "127.0.0.1", &fields);
            assert_eq!(origin.secure, expected, "{fields:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        assert_eq!(client_of("127.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client_of("192.0.2.9", &["192.0.2.1"]), "192.0.2.9");
        assert_eq!(client_of("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(
            client_of("::ffff:127.0.0.1", &["2001:db8::1"]),
            "2001:db8::1"
        );
        assert_eq!(client_of("127.0.0.1", &["192.0.2.1:4711"]), "192.0.2.1");
    }

    #[test]
    fn addresses_invented_by_the_client_do_not_count() {
        assert_eq!(
            client_of("127.0.0.1", &["127.0.0.1, 192.0.2.1"]),
            "192.0.2.1"
        );
        assert_eq!(
            client_of("127.0.0.1", &["1.1.1.1", "192.0.2.1, 10.0.0.7"]),
            "192.0.2.1"
        );
        assert_eq!(client_of("127.0.0.1", &["192.0.2.1, garbage"]), "127.0.0.1");
    }

    #[test]
    fn forwarded_is_believed_in_the_same_way() {
        for (peer, forwarded, expected) in [
            ("127.0.0.1", &["for=192.0.2.1"][..], "192.0.2.1:0"),
            (
                "127.0.0.1",
                &["for=\"[2001:db8::1]:4711\""],
                "[2001:db8::1]:4711",
            ),
            ("192.0.2.9", &["for=192.0.2.1"], "192.0.2.9:1"),
            ("127.0.0.1", &["for=1.1.1.1, for=192.0.2.1"], "192.0.2.1:0"),
            (
                "127.0.0.1",
                &["for=1.1.1.1", "for=192.0.2.1, for=10.0.0.7"],
                "192.0.2.1:0",
            ),
            ("127.0.0.1", &["for=192.0.2.1, for=unknown"], "127.0.0.1:1"),
            ("127.0.0.1", &["garbage"], "127.0.0.1:1"),
        ] {
            let fields: Vec<_> = forwarded.iter().map(|it| (FORWARDED, *it)).collect();
            let origin = origin(ForwardedHeader::Forwarded, peer, &fields);
            assert_eq!(origin.address.to_string(), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn a_header_that_the_proxies_do_not_set_is_not_believed() {
        let fields = [(X_FORWARDED_FOR, "192.0.2.1"), (FORWARDED, "for=192.0.2.2")];
        for (header, expected) in [
            (ForwardedHeader::XForwardedFor, "192.0.2.1:0"),
            (ForwardedHeader::Forwarded, "192.0.2.2:0"),
        ] {
            let origin = origin(header, "127.0.0.1", &fields);
            assert_eq!(origin.address.to_string(), expected);
        }
    }
}
