//! TLS towards the XMPP server: which certificates are accepted.

use std::{net::IpAddr, sync::Arc};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use crate::{
    config::{Host, Scheme, UpstreamTls},
    net::tls::{TlsError, Trust, client_config},
};

/// The ALPN name of XMPP for clients, for direct TLS only (XEP-0368 §2).
const ALPN: &[u8] = b"xmpp-client";

/// Why TLS to a host cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// The domain cannot be the name in a certificate.
    #[error("{domain} cannot be the name in a certificate")]
    Name {
        /// The XMPP domain.
        domain: String,
    },
    /// `upstream_tls = "plain"` with a scheme that always uses TLS.
    #[error("{scheme}:// excludes plain")]
    Plain {
        /// The scheme.
        scheme: &'static str,
    },
    /// There are no authorities to check certificates against, or they cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The settings of TLS to one host. Made once, so that connections share their resumption tickets.
#[derive(Debug)]
pub(super) struct Tls {
    /// The XMPP domain as certificates spell it (RFC 6120 §13.7.2), never the host name.
    pub(super) name: ServerName<'static>,
    /// For a server on a loopback address.
    pub(super) local: Arc<ClientConfig>,
    /// For a server anywhere else.
    pub(super) remote: Arc<ClientConfig>,
}

impl Tls {
    /// `None` for a host that never uses TLS.
    pub(super) fn new(host: &Host) -> Result<Option<Self>, TlsSetupError> {
        let upstream = &host.upstream;
        let alpn = match upstream.scheme {
            Scheme::Xmpps if upstream.tls == UpstreamTls::Plain => {
                return Err(TlsSetupError::Plain { scheme: "xmpps" });
            }
            Scheme::Http | Scheme::Https => return Ok(None),
            Scheme::Xmpp => None,
            Scheme::Xmpps => Some(ALPN),
        };
        let unchecked = || client_config(Trust::Anyone, alpn);
        let checked = || client_config(Trust::authorities(upstream.ca.as_deref())?, alpn);
        let (local, remote) = match upstream.tls {
            UpstreamTls::Plain => return Ok(None),
            UpstreamTls::Auto
                if std::iter::once(&upstream.place)
                    .chain(&upstream.referrals)
                    .all(|place| is_loopback(&place.address)) =>
            {
                both(unchecked()?)
            }
            UpstreamTls::Auto => (unchecked()?, checked()?),
            UpstreamTls::Insecure => both(unchecked()?),
            UpstreamTls::Verify => both(checked()?),
        };
        Ok(Some(Self {
            name: certificate_name(host.domain.as_str())?,
            local,
            remote,
        }))
    }
}

fn both(config: Arc<ClientConfig>) -> (Arc<ClientConfig>, Arc<ClientConfig>) {
    (Arc::clone(&config), config)
}

/// Whether this is the literal of a loopback address, so that with `auto` no certificate is checked.
pub(super) fn is_loopback(address: &str) -> bool {
    address
        .parse()
        .is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
}

/// Whether a connection to `address` never leaves this machine.
pub(super) fn is_this_machine(address: &str) -> bool {
    let name = address.trim_end_matches('.').to_ascii_lowercase();
    is_loopback(address) || name == "localhost" || name.ends_with(".localhost")
}

/// The domain in the ASCII form that certificates have.
fn certificate_name(domain: &str) -> Result<ServerName<'static>, TlsSetupError> {
    let ascii = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
    let literal = ascii.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(literal)
        .map(|name| name.to_owned())
        .map_err(|_| TlsSetupError::Name {
            domain: domain.to_owned(),
        })
}
