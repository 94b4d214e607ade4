//! Who a request comes from, when proxies stand between.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::net::listener::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether `address` is that of a proxy that is trusted: who the client behind it is, is unknown.
pub fn is_trusted(address: &IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// The address of the client: that of the peer, or, if the peer is a proxy that is trusted, the last
/// entry of `X-Forwarded-For` that is not one itself. Entries further to the left are whatever the
/// client made up.
pub fn client(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut address = peer.ip().to_canonical();
    let values = headers.get_all(X_FORWARDED_FOR).into_iter();
    let mut entries: Vec<&str> = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .collect();
    while is_trusted(&address, trusted) {
        let entry = entries.pop().and_then(|entry| entry.trim().parse().ok());
        let Some(entry) = entry else { break };
        address = IpAddr::to_canonical(&entry);
    }
    address
}

/// Whether the client's own connection is encrypted, by its look or by the word of a trusted proxy.
pub fn is_secure(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
    let proto = headers.get(X_FORWARDED_PROTO);
    peer.tls
        || is_trusted(&peer.address.ip().to_canonical(), trusted)
            && proto.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_tells_of_tls_and_nobody_else() {
        let trusted = ["127.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let peer = |address: &str, tls| Peer {
            address: address.parse().unwrap(),
            tls,
        };
        assert!(is_secure(peer("192.0.2.1:1", true), &headers, &trusted));
        assert!(!is_secure(peer("127.0.0.1:1", false), &headers, &trusted));
        headers.insert(X_FORWARDED_PROTO, "https".parse().unwrap());
        assert!(is_secure(peer("127.0.0.1:1", false), &headers, &trusted));
        assert!(!is_secure(peer("192.0.2.1:1", false), &headers, &trusted));
    }

    fn client_of(peer: &str, forwarded: &[&str]) -> String {
        let trusted = ["127.0.0.0/8", "10.0.0.0/24"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        client(peer, &headers, &trusted).to_string()
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
    }

    #[test]
    fn what_the_client_made_up_does_not_count() {
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
}
