//! URLs, and their parts.

use std::{borrow::Cow, fmt, sync::Arc};

use http::{
    Uri,
    uri::{Authority, PathAndQuery},
};
use percent_encoding::percent_decode_str;

use super::{credentials::Credentials, redact, secret, value::Fault};

/// A host and a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Host name or address literal (no brackets).
    pub address: String,
    /// TCP port.
    pub port: u16,
}

impl Place {
    /// Whether a referral to `text`, a host and perhaps a port, means this place.
    pub fn is_meant_by(&self, text: &str) -> bool {
        place(text, 5222).is_ok_and(|place| {
            place.port == self.port && place.address.eq_ignore_ascii_case(&self.address)
        })
    }
}

/// Scheme of an upstream URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// The server's own BOSH, in clear.
    Http,
    /// The server's own BOSH over TLS.
    Https,
    /// TCP, STARTTLS by policy.
    Xmpp,
    /// TLS from the first byte.
    Xmpps,
}

/// `http_roster_url`, with one `%s` in its path or query, without user and password.
#[derive(Clone, Eq, PartialEq)]
pub struct RosterUrl {
    /// What comes before `%s`.
    pub before: Arc<str>,
    /// What comes after it.
    pub after: Arc<str>,
}

impl RosterUrl {
    /// Whether it begins with `https://`, so that the backend's certificate is checked.
    pub fn is_https(&self) -> bool {
        let scheme = self.before.split(':').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }
}

impl fmt::Debug for RosterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = format!("{}%s{}", self.before, self.after);
        f.write_str(&redact::url(&url))
    }
}

/// URL of an interface below which its requests have their paths, without the slash that it may end with.
#[derive(Clone, Eq, PartialEq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins with `https://`, so that the server's certificate is checked.
    pub fn is_https(&self) -> bool {
        let scheme = self.0.split(':').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::url(&self.0))
    }
}

/// `events_url`, without user and password.
#[derive(Clone, Eq, PartialEq)]
pub struct EventsUrl(Uri);

impl EventsUrl {
    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it begins with `https://`, so that the receiver's certificate is checked.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl fmt::Debug for EventsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact::url(&self.0.to_string()))
    }
}

/// The URL of BOSH that clients are told: they take https only (XEP-0156 "Business Rules").
pub(super) fn bosh(text: &str) -> Result<String, Fault> {
    public(text, "https").ok_or_else(|| {
        let cure = "write it like https://chat.example.org/http-bind";
        Fault::new("not an https URL", cure)
    })
}

/// The URL of WebSocket that clients are told: they take wss only (RFC 7395 §4).
pub(super) fn websocket(text: &str) -> Result<String, Fault> {
    public(text, "wss").ok_or_else(|| {
        let cure = "write it like wss://chat.example.org/xmpp-websocket";
        Fault::new("not a wss URL", cure)
    })
}

fn public(text: &str, scheme: &str) -> Option<String> {
    let is_public = text.parse().is_ok_and(|uri: Uri| {
        uri.scheme_str() == Some(scheme)
            && uri
                .authority()
                .is_some_and(|it| place(it.as_str(), 443).is_ok())
    });
    (is_public && !text.contains('#')).then(|| text.to_owned())
}

/// `*`, or an origin as browsers send it (RFC 6454 §6.2), in lower case.
pub(super) fn origin(text: &str) -> Result<String, Fault> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let origin = text.to_ascii_lowercase();
    let authority = origin
        .split_once("://")
        .map(|(scheme, authority)| place(authority, 443).is_ok() && !scheme.is_empty());
    if authority == Some(true) {
        Ok(origin)
    } else {
        Err(Fault::new(
            "not an origin",
            "write it like https://www.example.org, or \"*\" for any",
        ))
    }
}

/// A `Host` header: a host and perhaps a port.
pub(super) fn host_header(text: &str) -> Result<String, Fault> {
    let cure = "write it like www.example.org or localhost:8080";
    place(text, 80).map_err(|problem| Fault::new(problem, cure))?;
    Ok(text.to_owned())
}

/// Where an XMPP server is.
pub(super) struct UpstreamUrl {
    pub(super) scheme: Scheme,
    pub(super) place: Place,
    pub(super) path: String,
}

pub(super) fn upstream(text: &str) -> Result<UpstreamUrl, Fault> {
    const CURE: &str = "write it like xmpp://127.0.0.1:5222, xmpps://xmpp.example.org:5223 or \
        https://xmpp.example.org:5281/http-bind";
    let fault = |problem: &str| Fault::new(problem, CURE);
    let (scheme, rest) = text.split_once("://").ok_or_else(|| fault("no scheme"))?;
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "xmpp" => (Scheme::Xmpp, 5222),
        "xmpps" => (Scheme::Xmpps, 5223),
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        _ => return Err(fault("unknown scheme")),
    };
    let (rest, path) = match scheme {
        Scheme::Http | Scheme::Https => bosh_endpoint(rest).ok_or_else(|| fault("no path"))?,
        Scheme::Xmpp | Scheme::Xmpps => (rest.strip_suffix('/').unwrap_or(rest), ""),
    };
    if rest.contains(['/', '?', '#', '@']) {
        return Err(fault(match scheme {
            Scheme::Http | Scheme::Https => "more than a host, a port and a path",
            Scheme::Xmpp | Scheme::Xmpps => "more than a host and a port",
        }));
    }
    let is_path = path.is_empty() || path.parse::<PathAndQuery>().is_ok();
    if !is_path || path.contains('#') {
        return Err(fault("not the path of a URL"));
    }
    let place = place(rest, default_port).map_err(fault)?;
    Ok(UpstreamUrl {
        scheme,
        place,
        path: path.to_owned(),
    })
}

/// Where a NATS server is: `nats://` with TLS if the server wants it, `tls://` with TLS always.
pub(super) fn nats(text: &str) -> Result<String, Fault> {
    let fault = |problem: &str| Fault::new(problem, "write it like nats://127.0.0.1:4222");
    let (scheme, rest) = text.split_once("://").ok_or_else(|| fault("no scheme"))?;
    if !["nats", "tls"].contains(&scheme) {
        return Err(fault("neither nats:// nor tls://"));
    }
    if rest.contains('@') {
        let cure = "set cluster.nats_user and cluster.nats_password_file";
        return Err(Fault::new("a user in the URL", cure));
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    place(rest, 4222).map_err(fault)?;
    Ok(format!("{scheme}://{rest}"))
}

/// Where an XMPP server may refer us to: a host and perhaps a port.
pub(super) fn referral(text: &str) -> Result<Place, Fault> {
    place(text, 5222).map_err(|problem| Fault::new(problem, "write it like c2s.example.org:5222"))
}

/// A host and perhaps a port. The error says what is wrong.
pub(super) fn place(text: &str, default_port: u16) -> Result<Place, &'static str> {
    let authority: Authority = text.parse().map_err(|_| "not a host and a port")?;
    if text.contains('@') {
        return Err("more than a host and a port");
    }
    let port = match (
        authority.port_u16(),
        authority.as_str().len() > authority.host().len(),
    ) {
        (Some(port), _) if port != 0 => port,
        (None, false) => default_port,
        _ => return Err("not a port"),
    };
    let address = authority.host().trim_matches(['[', ']']);
    if address.is_empty() {
        return Err("no host");
    }
    Ok(Place {
        address: address.to_owned(),
        port,
    })
}

/// Splits authority and path; `None` without a path. The root counts as none, as no server has its BOSH there.
fn bosh_endpoint(rest: &str) -> Option<(&str, &str)> {
    let at = rest.find('/')?;
    let (authority, path) = rest.split_at(at);
    (path.len() > 1).then_some((authority, path))
}

/// The URL of contact lists, and the login in it, if it has one.
pub(super) fn roster_url(text: &str) -> Result<(RosterUrl, Option<Credentials>), Fault> {
    const CURE: &str = "write it like http://localhost/contacts/%s";
    let fault = |problem: &str| Fault::new(problem, CURE);
    let (text, credentials) = split_credentials(text)?;
    let Some((before, after)) = text.split_once("%s") else {
        return Err(fault("no %s to stand for the username"));
    };
    if after.contains("%s") {
        return Err(fault("more than one %s"));
    }
    if text.contains('#') {
        return Err(fault("a fragment is never sent to the backend"));
    }
    if !escapes_are_whole(before) || !escapes_are_whole(after) {
        return Err(Fault::new(
            "a % that is neither %s nor an escape",
            "write %25 for a plain %",
        ));
    }
    // The username must not become part of the authority, which therefore has to be the same for two usernames.
    let uri = |name: &str| format!("{before}{name}{after}").parse::<Uri>();
    let url = uri("u").map_err(|_| fault("not a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(fault("neither http:// nor https://"));
    }
    let authority = url.authority().ok_or_else(|| fault("no host"))?;
    if uri("v").ok().as_ref().and_then(Uri::authority) != Some(authority) {
        return Err(fault("%s outside path and query"));
    }
    place(authority.as_str(), 80).map_err(fault)?;
    let url = RosterUrl {
        before: Arc::from(before),
        after: Arc::from(after),
    };
    Ok((url, credentials))
}

/// The URL of an XMPP server's interface for lists, and where that is.
pub(super) fn writer(text: &str) -> Result<(BaseUrl, Place), Fault> {
    base(text, "write it like http://127.0.0.1:5280/rostergate")
}

/// The URL of the site's interface for logins, where that is, and the login in it, if it has one.
pub(super) fn auth(text: &str) -> Result<(BaseUrl, Place, Option<Credentials>), Fault> {
    let (text, credentials) = split_credentials(text)?;
    let (url, place) = base(&text, "write it like http://127.0.0.1/auth")?;
    Ok((url, place, credentials))
}

fn base(text: &str, cure: &'static str) -> Result<(BaseUrl, Place), Fault> {
    let fault = |problem: &str| Fault::new(problem, cure);
    let url: Uri = text.parse().map_err(|_| fault("not a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(fault("neither http:// nor https://"));
    }
    if url.query().is_some() || text.contains('#') {
        return Err(fault("more than a host, a port and a path"));
    }
    let authority = url.authority().ok_or_else(|| fault("no host"))?;
    place(authority.as_str(), 80).map_err(fault)?;
    let place = place_of(&url).ok_or_else(|| fault("no host"))?;
    let url = text.strip_suffix('/').unwrap_or(text).to_owned();
    Ok((BaseUrl(url), place))
}

/// The URL that events are sent to, where that is, and the login in it, if it has one.
pub(super) fn events(text: &str) -> Result<(EventsUrl, Place, Option<Credentials>), Fault> {
    const CURE: &str = "write it like http://localhost/chat-events";
    let fault = |problem: &str| Fault::new(problem, CURE);
    let (text, credentials) = split_credentials(text)?;
    let url: Uri = text.parse().map_err(|_| fault("not a URL"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(fault("neither http:// nor https://"));
    }
    if text.contains('#') {
        return Err(fault("a fragment is never sent to the site"));
    }
    let authority = url.authority().ok_or_else(|| fault("no host"))?;
    place(authority.as_str(), 80).map_err(fault)?;
    let place = place_of(&url).ok_or_else(|| fault("no host"))?;
    Ok((EventsUrl(url), place, credentials))
}

/// Where a server of HTTP is.
pub(super) fn place_of(url: &Uri) -> Option<Place> {
    let port = match url.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    Some(Place {
        address: url.host()?.trim_matches(['[', ']']).to_owned(),
        port: url.port_u16().unwrap_or(port),
    })
}

fn percent_decoded(text: &str) -> Result<Cow<'_, str>, Fault> {
    let decoded = percent_decode_str(text).decode_utf8().ok();
    decoded.filter(|_| escapes_are_whole(text)).ok_or_else(|| {
        let cure = "percent-encode them as UTF-8, a plain % as %25";
        Fault::new("user and password are not percent-encoded", cure)
    })
}

/// Takes user and password, percent-encoded (RFC 3986 §3.2.1), out of a URL.
fn split_credentials(url: &str) -> Result<(String, Option<Credentials>), Fault> {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => return Ok((url.to_owned(), None)),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else {
        return Ok((url.to_owned(), None));
    };
    let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
    let credentials = Credentials::Basic {
        user: secret::user(&percent_decoded(user)?)?,
        password: secret::without_controls(&percent_decoded(password)?)?,
    };
    let url = format!("{scheme}{}", &rest[at + 1..]);
    Ok((url, Some(credentials)))
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        rest.get(..2)
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T>(outcome: Result<T, Fault>) -> String {
        outcome.err().map(|fault| fault.problem).unwrap_or_default()
    }

    #[test]
    fn upstream_takes_names_addresses_and_default_ports() {
        for (text, expected) in [
            ("xmpp://a.example", "Xmpp a.example 5222 "),
            ("xmpps://a.example/", "Xmpps a.example 5223 "),
            ("XMPP://127.0.0.1:15222", "Xmpp 127.0.0.1 15222 "),
            ("xmpp://[::1]:1", "Xmpp ::1 1 "),
            ("xmpp://[::1]", "Xmpp ::1 5222 "),
            ("http://[::1]:5280/http-bind", "Http ::1 5280 /http-bind"),
            (
                "HTTPS://a.example/bosh/?room=x",
                "Https a.example 443 /bosh/?room=x",
            ),
        ] {
            let url = upstream(text).unwrap_or_else(|fault| panic!("{text}: {}", fault.problem));
            let Place { address, port } = url.place;
            let found = format!("{:?} {address} {port} {}", url.scheme, url.path);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn upstream_is_a_host_and_a_port_and_for_bosh_a_path() {
        for (text, expected) in [
            ("prosody:5222", "no scheme"),
            ("tcp://a:1", "unknown scheme"),
            ("xmpp://", "not a host and a port"),
            ("xmpp://:5222", "no host"),
            ("xmpp://a:0", "not a port"),
            ("xmpp://a:", "not a port"),
            ("xmpp://a:99999", "not a port"),
            ("xmpp://u@a", "more than a host and a port"),
            ("xmpp://a/b", "more than a host and a port"),
            ("http://a:5280", "no path"),
            ("https://a", "no path"),
            ("https://a/", "no path"),
            ("http://u@a/b", "more than a host, a port and a path"),
            ("http://a/b#c", "not the path of a URL"),
            ("http://a/b c", "not the path of a URL"),
        ] {
            assert_eq!(problem(upstream(text)), expected, "{text}");
        }
    }

    #[test]
    fn roster_url_keeps_the_username_out_of_the_host() {
        for (url, expected) in [
            ("http://%s.example/", "%s outside path and query"),
            ("http://h:80%s/", "%s outside path and query"),
            ("http://h/#%s", "a fragment is never sent to the backend"),
            ("ftp://h/%s", "neither http:// nor https://"),
            ("http://h/%s?again=%s", "more than one %s"),
            ("http://h/%d/%s", "a % that is neither %s nor an escape"),
            ("/contacts/%s", "neither http:// nor https://"),
            ("http://h:0/%s", "not a port"),
            ("http://h:65536/%s", "not a port"),
            ("http://h:99999/%s", "not a port"),
            ("http://h:/%s", "not a port"),
        ] {
            assert_eq!(problem(roster_url(url)), expected, "{url}");
        }
        let (url, credentials) = roster_url("https://h:8443/a%20b?user=%s&v=1")
            .ok()
            .expect("a good URL");
        assert!(credentials.is_none());
        assert_eq!(
            (&*url.before, &*url.after),
            ("https://h:8443/a%20b?user=", "&v=1")
        );
    }

    #[test]
    fn a_roster_url_may_say_who_asks() {
        for (userinfo, user, password) in [
            ("site:pw", "site", "pw"),
            ("site", "site", ""),
            ("si%C3%A9:p%40%3A%2f%25w:x@y", "sié", "p@:/%w:x@y"),
        ] {
            let found = roster_url(&format!("http://{userinfo}@h:81/%s?u=a@b"));
            let (url, credentials) = found.unwrap_or_else(|fault| panic!("{}", fault.problem));
            assert_eq!((&*url.before, &*url.after), ("http://h:81/", "?u=a@b"));
            let Some(Credentials::Basic {
                user: u,
                password: p,
            }) = credentials
            else {
                panic!("{userinfo}: {credentials:?}")
            };
            assert_eq!((u.expose(), p.expose()), (user, password));
        }
        for (userinfo, expected) in [
            ("site:100%", "user and password are not percent-encoded"),
            ("site:%ff", "user and password are not percent-encoded"),
            ("si%3Ate:pw", "not the name of a user"),
            (":pw", "not the name of a user"),
            ("site:p%0Aw", "with control characters"),
        ] {
            let url = format!("http://{userinfo}@h/%s");
            assert_eq!(problem(roster_url(&url)), expected, "{url}");
        }
    }

    #[test]
    fn origins_are_scheme_and_authority() {
        assert_eq!(
            origin("HTTPS://A.example:8443").ok().as_deref(),
            Some("https://a.example:8443")
        );
        for bad in [
            "",
            "null",
            "a.example",
            "https://",
            "https://a/",
            "https://u@a",
            "https://a:0",
            "https://a:99999",
        ] {
            assert_eq!(problem(origin(bad)), "not an origin", "{bad}");
        }
    }
}
