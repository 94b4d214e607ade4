//! Who may call: whoever bears the token, or has a certificate that counts; where neither is
//! configured, this machine alone.

use std::net::IpAddr;

use http::{
    Extensions, HeaderMap,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN},
    uri::Authority,
};
use subtle::ConstantTimeEq;
use tracing::debug;

use super::{Peer, respond::Failure};
use crate::{
    config::{self, Secret},
    net::clients::ClientChain,
};

/// Where a browser says how the page that asks is related to what it asks.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request with one of these comes from a web page that is not ours, or through a proxy on this machine.
const FOREIGN: [HeaderName; 5] = [
    ORIGIN,
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("via"),
];

/// Who sends a request, as far as the connection tells.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) peer: Option<Peer>,
    pub(super) certificate: Option<ClientChain>,
}

impl Caller {
    pub(super) fn of(extensions: &Extensions) -> Self {
        Self {
            peer: extensions.get().copied(),
            certificate: extensions.get().cloned(),
        }
    }
}

pub(super) fn check(
    config: &config::Admin,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let is_certified = config.client_ca.as_ref().is_some_and(|authority| {
        let admitted = caller.certificate.as_ref().map(|it| authority.admit(it));
        if let Some(Err(error)) = &admitted {
            debug!(%error, "client certificate does not count");
        }
        // A browser shows its certificate whatever page makes it call.
        matches!(admitted, Some(Ok(()))) && !is_of_another_site(headers)
    });
    match &config.token {
        _ if is_certified => Ok(()),
        Some(token) if bears(headers, token) => Ok(()),
        Some(_) => Err(Failure::Token),
        None if config.client_ca.is_some() => Err(Failure::Certificate),
        None if is_local(caller.peer, headers) => Ok(()),
        None => Err(Failure::NotLocal),
    }
}

/// Whether a web page of another site is behind a request.
///
/// Old browsers do not say of which: theirs count as others, whenever a page is behind it at all.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    match headers.get(FETCH_SITE) {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.contains_key(ORIGIN),
    }
}

/// Whether a request plainly comes from this machine.
pub fn is_local(peer: Option<Peer>, headers: &HeaderMap) -> bool {
    peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback())
        && !FOREIGN.iter().any(|name| headers.contains_key(name))
        && (!headers.contains_key(FETCH_SITE)
            || !is_of_another_site(headers) && is_for_this_machine(headers))
}

/// Whether a request calls this machine so, and not by a name that anybody could have given to its address.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
    })
}

fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, given)) = value.as_bytes().split_at_checked("Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ")
        && bool::from(given.trim_ascii().ct_eq(token.expose().as_bytes()))
}
