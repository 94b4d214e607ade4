//! Locality: whether a request plainly comes from a program on this machine.
//!
//! The address of the peer is not enough. A proxy on this machine passes strangers on. A browser on this machine
//! sends what the pages of strangers tell it to. And such a page can count as one of ours: its owner only has to
//! let the name that it was loaded by lead to 127.0.0.1 (DNS rebinding). So the request's headers and the name that
//! it calls us by have a say, too.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri,
    header::{ACCEPT_LANGUAGE, HOST, ORIGIN},
    uri::Authority,
};
use jid::DomainPart;

use super::{Peer, domain};

/// Where a browser says how the page that asks is related to what it asks (Fetch Metadata §2.4).
pub(super) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Headers that proxies and the networks before them add, some only where they are configured to. No program does.
const OF_PROXIES: [&str; 3] = ["cdn-loop", "max-forwards", "via"];
const BEGIN_OF_PROXIES: [&str; 8] = [
    "cf-",
    "fastly-",
    "fly-",
    "x-arr-",
    "x-azure-",
    "x-envoy-",
    "x-original-",
    "x-rewrite-",
];
/// `Forwarded` and all of `X-Forwarded-*`, `X-Real-IP`, `True-Client-IP`, `WL-Proxy-Client-IP`, …
const PART_OF_PROXIES: [&str; 9] = [
    "client-addr",
    "client-ip",
    "clientip",
    "forwarded",
    "proxy",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "user-ip",
];

/// What a request is about to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intent {
    /// It only looks.
    Read,
    /// It has something done.
    Change,
}

/// Why a request is not taken for one of a program on this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Foreign {
    /// The peer has another address than this machine's, or none that is known.
    #[error("this comes from another machine")]
    Machine,
    /// It has a header that proxies add.
    #[error("this has come through a proxy, by its headers")]
    Proxied,
    /// A browser sends it, for a page that may not.
    #[error("this comes from a web page, by its headers")]
    Page,
    /// It calls us by a name that may be anybody's.
    #[error("Host has to be localhost, a loopback address or a configured domain")]
    Name,
}

/// Name by which a request calls the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Name {
    /// A loopback address, `localhost`, or what is below that: it always leads here (RFC 6761 §6.3).
    Loopback,
    /// A configured domain: the site says where it leads.
    Domain,
    /// Another address, or a name without a dot: no site on the Internet has such a name.
    Nearby,
    /// Its owner can let it lead here.
    Foreign,
}

/// Whether a request plainly comes from a program on this machine, or only looks, from a page that was loaded from
/// a loopback address. `is_domain` tells the configured domains.
pub(super) fn check<B>(
    request: &Request<B>,
    is_domain: impl Fn(&DomainPart) -> bool,
    intent: Intent,
) -> Result<(), Foreign> {
    let peer = request.extensions().get();
    if !peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback()) {
        return Err(Foreign::Machine);
    }
    let headers = request.headers();
    if headers.keys().any(is_of_proxies) {
        return Err(Foreign::Proxied);
    }
    let mut names = names(request.uri(), headers, is_domain);
    // A browser always says by what name it comes; programs need not (HTTP/1.0).
    let is_known = match author(headers) {
        Author::Program => names.all(|name| matches!(name, Name::Loopback | Name::Domain)),
        Author::OwnPage if intent == Intent::Read => names.all(|name| name == Name::Loopback),
        Author::OwnPage | Author::OtherPage => return Err(Foreign::Page),
    };
    if is_known { Ok(()) } else { Err(Foreign::Name) }
}

/// The names that a request calls us by: `Host`, and `:authority` of HTTP/2 or what a target in absolute form has
/// in its place. Whoever sends several has to mean us by each.
pub(super) fn names(
    uri: &Uri,
    headers: &HeaderMap,
    is_domain: impl Fn(&DomainPart) -> bool,
) -> impl Iterator<Item = Name> {
    let hosts = headers.get_all(HOST).iter();
    let hosts = hosts.map(|host| host.to_str().ok()?.parse().ok());
    let all = hosts.chain(uri.authority().map(|authority| Some(authority.clone())));
    all.map(move |authority| {
        authority.map_or(Name::Foreign, |authority| classify(&authority, &is_domain))
    })
}

fn classify(authority: &Authority, is_domain: impl Fn(&DomainPart) -> bool) -> Name {
    let host = authority.host();
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        // Browsers do not know that an IPv4-mapped address is one of this machine, and say nothing of pages then.
        return if address.is_loopback() {
            Name::Loopback
        } else {
            Name::Nearby
        };
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        Name::Loopback
    } else if domain(&name).is_some_and(|domain| is_domain(&domain)) {
        Name::Domain
    } else if !name.is_empty() && !name.contains('.') {
        Name::Nearby
    } else {
        Name::Foreign
    }
}

fn is_of_proxies(name: &HeaderName) -> bool {
    let name = name.as_str();
    OF_PROXIES.contains(&name)
        || BEGIN_OF_PROXIES.iter().any(|it| name.starts_with(it))
        || PART_OF_PROXIES.iter().any(|it| name.contains(it))
}

/// Author of a request, as far as browsers tell.
enum Author {
    Program,
    /// A page that was loaded from where it asks, a person who has typed the address, or a browser that does not
    /// tell.
    OwnPage,
    OtherPage,
}

fn author(headers: &HeaderMap) -> Author {
    if headers.contains_key(ORIGIN) {
        return Author::OtherPage;
    }
    match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => Author::OwnPage,
        None if headers.iter().any(is_of_browsers) => Author::OtherPage,
        // Some browsers tell nothing of pages, above all not to a domain without TLS.
        None if speaks_languages(headers) => Author::OwnPage,
        None => Author::Program,
        _ => Author::OtherPage,
    }
}

/// Whether a browser seems to have sent `Accept-Language`. Browsers send their users' languages, or what a page sets;
/// the fetch of Node.js sends `*` together with its mode, which no page can set.
fn speaks_languages(headers: &HeaderMap) -> bool {
    let languages = headers.get(ACCEPT_LANGUAGE);
    languages.is_some_and(|languages| languages != "*" || !headers.contains_key(FETCH_MODE))
}

/// Browsers send all of `Sec-Fetch-*`, or none. The fetch of Node.js sends the mode "cors", and nothing else.
fn is_of_browsers((name, value): (&HeaderName, &HeaderValue)) -> bool {
    name.as_str().starts_with("sec-fetch-") && !(*name == FETCH_MODE && value == "cors")
}
