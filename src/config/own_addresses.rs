//! Own addresses of the gateway: none may be an upstream or a backend, or the gateway would connect to itself.

use std::net::{IpAddr, SocketAddr};

use super::{
    admin::Admin,
    server::Server,
    url::{self, Place, RosterUrl},
    value::Fault,
};

/// Each address, with the key that sets it.
pub(super) struct OwnAddresses(Vec<(&'static str, SocketAddr)>);

impl OwnAddresses {
    pub(super) fn of(server: &Server, admin: &Admin, monitoring: Option<SocketAddr>) -> Self {
        let all = [
            ("server.listen", server.listen.as_slice()),
            ("server.listen_tls", server.listen_tls.as_slice()),
            ("admin.listen", admin.listen.as_slice()),
            ("admin.listen_tls", admin.listen_tls.as_slice()),
            ("monitoring.listen", monitoring.as_slice()),
        ];
        let each = all
            .into_iter()
            .flat_map(|(key, addresses)| addresses.iter().map(move |address| (key, *address)));
        Self(each.collect())
    }

    /// The fault of an upstream at `place`, if that is an own address.
    pub(super) fn upstream_fault(&self, place: &Place) -> Option<Fault> {
        self.fault(place, "give the address of the XMPP server")
    }

    /// The fault of a backend at `url`, if that is an own address.
    pub(super) fn roster_fault(&self, url: &RosterUrl) -> Option<Fault> {
        self.fault(&place_of(url)?, "give the address of the web application")
    }

    /// The fault of an interface for lists at `place`, if that is an own address.
    pub(super) fn writer_fault(&self, place: &Place) -> Option<Fault> {
        self.fault(
            place,
            "give the address of the XMPP server's HTTP interface",
        )
    }

    /// The fault of a site's interface for logins at `place`, if that is an own address.
    pub(super) fn auth_fault(&self, place: &Place) -> Option<Fault> {
        self.fault(place, "give the address of the web application")
    }

    /// The fault of a receiver of events at `place`, if that is an own address.
    pub(super) fn receiver_fault(&self, place: &Place) -> Option<Fault> {
        self.fault(place, "give the address of the web application")
    }

    fn fault(&self, place: &Place, cure: &str) -> Option<Fault> {
        let met = self.0.iter().find(|(_, address)| meets(place, *address));
        met.map(|(key, _)| Fault::new(format!("the gateway itself listens there, by {key}"), cure))
    }
}

/// Whether a connection from this machine to `place` arrives at `listener`.
fn meets(place: &Place, listener: SocketAddr) -> bool {
    if place.port != listener.port() {
        return false;
    }
    let host = place.address.trim_end_matches('.').to_ascii_lowercase();
    if host == "localhost" || host.ends_with(".localhost") {
        return is_of_this_machine(listener.ip());
    }
    let Ok(address) = host.parse::<IpAddr>() else {
        return false;
    };
    let (address, own) = (address.to_canonical(), listener.ip().to_canonical());
    match (address.is_unspecified(), own.is_unspecified()) {
        (false, false) => address == own,
        // A connection to 0.0.0.0 goes to 127.0.0.1.
        (true, _) => is_of_this_machine(own),
        (_, true) => address.is_loopback(),
    }
}

/// Whether connections to a loopback address arrive at `listener`.
fn is_of_this_machine(listener: IpAddr) -> bool {
    listener.is_unspecified() || listener.to_canonical().is_loopback()
}

fn place_of(url: &RosterUrl) -> Option<Place> {
    url::place_of(&format!("{}{}", url.before, url.after).parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meets(host: &str, listener: &str) -> bool {
        let listener: SocketAddr = listener.parse().expect("an address");
        let (address, port) = (host.to_owned(), listener.port());
        let elsewhere = Place {
            address: address.clone(),
            port: port + 1,
        };
        assert!(!super::meets(&elsewhere, listener), "another port");
        super::meets(&Place { address, port }, listener)
    }

    #[test]
    fn an_address_of_ones_own_is_known_however_it_is_written() {
        for (host, listener) in [
            ("127.0.0.1", "127.0.0.1:5290"),
            ("localhost", "127.0.0.1:5290"),
            ("LocalHost.", "[::1]:5290"),
            ("chat.localhost", "127.0.0.1:5290"),
            ("127.0.0.1", "0.0.0.0:5290"),
            ("127.0.0.7", "0.0.0.0:5290"),
            ("::1", "[::]:5290"),
            ("127.0.0.1", "[::]:5290"),
            ("localhost", "[::]:5290"),
            ("0.0.0.0", "127.0.0.1:5290"),
            ("::", "[::1]:5290"),
            ("::ffff:127.0.0.1", "127.0.0.1:5290"),
            ("192.0.2.1", "192.0.2.1:5290"),
        ] {
            assert!(meets(host, listener), "{host} at {listener}");
        }
    }

    #[test]
    fn the_address_of_another_is_none_of_ones_own() {
        for (host, listener) in [
            ("127.0.0.2", "127.0.0.1:5290"),
            ("::1", "127.0.0.1:5290"),
            ("localhost", "192.0.2.1:5290"),
            ("192.0.2.2", "192.0.2.1:5290"),
            // These may be of this machine; the configuration does not tell.
            ("192.0.2.1", "0.0.0.0:5290"),
            ("xmpp.example.org", "0.0.0.0:5290"),
            ("notlocalhost", "127.0.0.1:5290"),
        ] {
            assert!(!meets(host, listener), "{host} at {listener}");
        }
    }

    #[test]
    fn urls_of_contact_lists_have_their_schemes_port() {
        let place = |before: &str| {
            let place = place_of(&RosterUrl {
                before: before.into(),
                after: "".into(),
            });
            let Place { address, port } = place.expect("a place");
            (address, port)
        };
        assert_eq!(place("http://a/contacts/"), ("a".to_owned(), 80));
        assert_eq!(place("https://a/contacts/"), ("a".to_owned(), 443));
        assert_eq!(place("http://[::1]:8/contacts?u="), ("::1".to_owned(), 8));
    }
}
