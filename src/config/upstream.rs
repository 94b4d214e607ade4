//! `upstream…`: where the XMPP server of a host is, and how it is reached.

use std::{fmt, path::PathBuf};

use super::{
    own_addresses::OwnAddresses,
    reader::Section,
    redact,
    url::{self, Place, Scheme},
    value::{self, Fault},
};
use crate::net::proxy::ProxyProtocol;

/// The `upstream` of a host.
#[derive(Clone)]
pub struct Upstream {
    /// The protocol that is spoken there.
    pub scheme: Scheme,
    /// Where it is.
    pub place: Place,
    /// Path and query of a BOSH endpoint; empty otherwise.
    pub path: String,
    /// Other places that it may refer us to.
    pub referrals: Vec<Place>,
    /// The version of the PROXY protocol, if that is to tell it the client's address.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether and how TLS is used.
    pub tls: UpstreamTls,
    /// PEM bundle that replaces the system's roots for `verify`.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("scheme", &self.scheme)
            .field("place", &self.place)
            .field("path", &redact::url(&self.path))
            .field("referrals", &self.referrals)
            .field("proxy_protocol", &self.proxy_protocol)
            .field("tls", &self.tls)
            .field("ca", &self.ca)
            .finish()
    }
}

/// `upstream_tls`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamTls {
    /// Loopback: plain where the server allows it, else any certificate. Elsewhere: as `Verify`.
    Auto,
    /// STARTTLS always, certificate checked against the domain (that of the URL with `https://`).
    Verify,
    /// STARTTLS always, any certificate.
    Insecure,
    /// Never TLS.
    Plain,
}

impl Upstream {
    /// Reads the keys of a `[[host]]` that say where its server is; `None` if they do not.
    pub(super) fn read(section: &mut Section<'_, '_>, own: &OwnAddresses) -> Option<Self> {
        let url = section.require("upstream", |text| {
            let url = url::upstream(text)?;
            own.upstream_fault(&url.place).map_or(Ok(url), Err)
        });
        let mut tls = UpstreamTls::Auto;
        let policies = [
            ("auto", UpstreamTls::Auto),
            ("verify", UpstreamTls::Verify),
            ("insecure", UpstreamTls::Insecure),
            ("plain", UpstreamTls::Plain),
        ];
        section.choose(&mut tls, "upstream_tls", &policies);
        let ca = section.read("upstream_ca", value::file(section.base()));
        let mut referrals = Vec::new();
        section.list(&mut referrals, "upstream_referrals", url::referral);
        let versions = [("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
        let proxy_protocol = section.read("upstream_proxy_protocol", |text| {
            value::choice(text, &versions)
        });
        let url = url?;
        let upstream = Self {
            scheme: url.scheme,
            place: url.place,
            path: url.path,
            referrals,
            proxy_protocol,
            tls,
            ca,
        };
        upstream.check_tls(section);
        upstream.check_bosh(section);
        Some(upstream)
    }

    /// Notes TLS settings that contradict the scheme.
    fn check_tls(&self, section: &mut Section<'_, '_>) {
        let (scheme, tls) = (self.scheme, self.tls);
        let contradiction = match scheme {
            Scheme::Xmpps => Some((
                "plain contradicts xmpps://",
                "use xmpp:// or another policy",
            )),
            Scheme::Https => Some((
                "plain contradicts https://",
                "use http:// or another policy",
            )),
            Scheme::Http | Scheme::Xmpp => None,
        };
        if let Some((problem, cure)) = contradiction.filter(|_| tls == UpstreamTls::Plain) {
            section.fault("upstream_tls", Fault::new(problem, cure));
        }
        if scheme == Scheme::Http && !matches!(tls, UpstreamTls::Auto | UpstreamTls::Plain) {
            let cure = "use https://, or leave upstream_tls away";
            section.fault(
                "upstream_tls",
                Fault::new("http:// is never encrypted", cure),
            );
        } else if self.ca.is_some() && scheme == Scheme::Http {
            let problem = "no certificate is checked with http://";
            let cure = "use https://, or leave upstream_ca away";
            section.fault("upstream_ca", Fault::new(problem, cure));
        } else if self.ca.is_some() && matches!(tls, UpstreamTls::Insecure | UpstreamTls::Plain) {
            let problem = "no certificate is checked with this upstream_tls";
            let cure = "set upstream_tls to \"verify\", or leave upstream_ca away";
            section.fault("upstream_ca", Fault::new(problem, cure));
        }
    }

    /// Notes settings that make no sense for a server that is reached by its BOSH.
    fn check_bosh(&self, section: &mut Section<'_, '_>) {
        if !matches!(self.scheme, Scheme::Http | Scheme::Https) {
            return;
        }
        if !self.referrals.is_empty() {
            let fault = Fault::new(
                "a server that is reached by BOSH is never left for another",
                "leave upstream_referrals away, or use xmpp://",
            );
            section.fault("upstream_referrals", fault);
        }
        if self.proxy_protocol.is_some() {
            let fault = Fault::new(
                "a server that is reached by BOSH is told by X-Forwarded-For",
                "leave upstream_proxy_protocol away, or use xmpp://",
            );
            section.fault("upstream_proxy_protocol", fault);
        }
    }
}
