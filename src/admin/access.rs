//! Who may call: whoever bears the token; without a token, this machine alone.

use http::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName, ORIGIN},
};
use subtle::ConstantTimeEq;

use super::{Peer, respond::Failure};
use crate::config::Secret;

/// A request with one of these comes from a web page, or through a proxy on this machine.
const FOREIGN: [HeaderName; 6] = [
    ORIGIN,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("via"),
];

pub(super) fn check(
    token: Option<&Secret>,
    peer: Option<Peer>,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    match token {
        Some(token) if bears(headers, token) => Ok(()),
        Some(_) => Err(Failure::Token),
        None if is_local(peer, headers) => Ok(()),
        None => Err(Failure::NotLocal),
    }
}

fn is_local(peer: Option<Peer>, headers: &HeaderMap) -> bool {
    peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback())
        && !FOREIGN.iter().any(|name| headers.contains_key(name))
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
