//! Access to the admin API: by token or by client certificate; where neither is configured, from this machine alone.

use http::{
    HeaderMap, Request,
    header::{AUTHORIZATION, ORIGIN},
};
use jid::DomainPart;
use subtle::ConstantTimeEq;
use tracing::debug;

use super::{
    local::{self, FETCH_SITE, Intent},
    respond::Failure,
};
use crate::{
    config::{self, Secret},
    net::tls::ClientChain,
};

/// Whether a request may do what it wants to; `is_domain` tells the configured domains.
pub(super) fn check<B>(
    config: &config::Admin,
    request: &Request<B>,
    is_domain: impl Fn(&DomainPart) -> bool,
    intent: Intent,
) -> Result<(), Failure> {
    let headers = request.headers();
    let is_certified = config.client_ca.as_ref().is_some_and(|authority| {
        let shown = request.extensions().get::<ClientChain>();
        let admitted = shown.map(|it| authority.admit(it));
        if let Some(Err(error)) = &admitted {
            debug!(%error, "client certificate does not count");
        }
        // A browser shows its certificate also when a page of another site makes it call.
        matches!(admitted, Some(Ok(()))) && !is_of_another_site(headers)
    });
    match &config.token {
        _ if is_certified => Ok(()),
        Some(token) if bears(headers, token) => Ok(()),
        Some(_) => Err(Failure::Token),
        None if config.client_ca.is_some() => Err(Failure::Certificate),
        None => Ok(local::check(request, is_domain, intent)?),
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
