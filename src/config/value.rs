//! Values: parsers for the texts of the configuration.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use bytesize::ByteSize;
use ipnet::IpNet;
use jid::DomainPart;
use rustls_pki_types::DnsName;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// Why a value is refused, and what to write instead.
pub(super) struct Fault {
    pub(super) problem: String,
    pub(super) cure: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            cure: cure.into(),
        }
    }
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            "not an IP address with a port",
            "write it like 127.0.0.1:5290 or [::1]:5290",
        )
    })
}

/// A network, or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| {
            Fault::new(
                "neither a network nor an IP address",
                "write it like 10.0.0.0/8 or ::1",
            )
        })
}

pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, Fault> {
    move |text| {
        let shown = |end: &Duration| {
            humantime::format_duration(*end)
                .to_string()
                .replace(' ', "")
        };
        let between = format!(
            "between {} and {}",
            shown(range.start()),
            shown(range.end())
        );
        let cure = || format!("write a number and its unit, {between}, like 90s or 2m");
        if text.trim().parse::<f64>().is_ok() {
            return Err(Fault::new("a duration without a unit", cure()));
        }
        let value =
            humantime::parse_duration(text).map_err(|_| Fault::new("not a duration", cure()))?;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(Fault::new(
                "out of range",
                format!("choose a duration {between}"),
            ))
        }
    }
}

/// A duration that clients are told in whole seconds.
pub(super) fn seconds(range: RangeInclusive<Duration>) -> impl Fn(&str) -> Result<Duration, Fault> {
    let parse = duration(range);
    move |text| match parse(text)? {
        value if value.subsec_nanos() == 0 => Ok(value),
        _ => Err(Fault::new(
            "not whole seconds",
            "leave the fraction away: clients are told seconds",
        )),
    }
}

pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<usize, Fault> {
    move |text| {
        let shown = |end: &u64| ByteSize(*end).to_string().replace(".0 ", "");
        let between = format!(
            "between {} and {}",
            shown(range.start()),
            shown(range.end())
        );
        let cure = || format!("write a number and its unit, {between}, like 256KiB or 1MiB");
        if text.trim().parse::<f64>().is_ok() {
            return Err(Fault::new("a size without a unit", cure()));
        }
        let value: ByteSize = text.parse().map_err(|_| Fault::new("not a size", cure()))?;
        usize::try_from(value.as_u64())
            .ok()
            .filter(|_| range.contains(&value.as_u64()))
            .ok_or_else(|| Fault::new("out of range", format!("choose a size {between}")))
    }
}

/// An absolute path, without the slash that it may end with.
pub(super) fn path(text: &str) -> Result<String, Fault> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if path.len() > 1 && path.starts_with('/') && path.chars().all(legal) && !text.contains("//") {
        Ok(path.to_owned())
    } else {
        Err(Fault::new(
            "not the path of a URL",
            "write it like /http-bind: a slash, then letters, digits, and any of -._~/",
        ))
    }
}

/// The name of an HTTP header.
pub(super) fn header(text: &str) -> Result<String, Fault> {
    http::HeaderName::from_bytes(text.as_bytes())
        .map(|name| name.as_str().to_owned())
        .map_err(|_| Fault::new("not the name of a header", "write it like Authorization"))
}

/// A file that can be read.
pub(super) fn file(base: &Path) -> impl Fn(&str) -> Result<PathBuf, Fault> {
    move |text| {
        let path = base.join(text);
        match fs::File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() => Err(Fault::new("a folder", "name a file")),
            Ok(_) => Ok(path),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

pub(super) fn unreadable(error: &io::Error) -> Fault {
    let problem = match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "a file that this user may not read".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Fault::new(
        problem,
        "paths are relative to the folder of the configuration file",
    )
}

/// A DNS name, as certificates have it.
pub(super) fn dns_name(text: &str) -> Result<String, Fault> {
    DnsName::try_from(text)
        .map(|name| name.as_ref().to_ascii_lowercase())
        .map_err(|_| Fault::new("not a DNS name", "write it like backend.example.org"))
}

/// The filter of the log.
pub(super) fn log_filter(text: &str) -> Result<String, Fault> {
    let filter = tracing_subscriber::EnvFilter::builder().parse(text);
    filter.map(|_| text.to_owned()).map_err(|_| {
        let cure = "write it like info, or warn,rostergate=debug";
        Fault::new("not a log filter", cure)
    })
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, Fault> {
    choices
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let words: Vec<_> = choices
                .iter()
                .map(|(word, _)| format!("{word:?}"))
                .collect();
            Fault::new("not a choice", format!("write one of {}", words.join(", ")))
        })
}

/// An XMPP domain, prepared (RFC 6122 §2.2).
pub(super) fn domain(text: &str) -> Result<DomainPart, Fault> {
    let fault = || Fault::new("not an XMPP domain", "write it like example.org");
    if text.is_empty() || text.contains(['@', '/', ':', ' ']) {
        return Err(fault());
    }
    DomainPart::new(text)
        .map(|domain| domain.into_owned())
        .map_err(|_| fault())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T>(outcome: Result<T, Fault>) -> String {
        outcome.err().map(|fault| fault.problem).unwrap_or_default()
    }

    #[test]
    fn durations_and_sizes_need_units_and_sense() {
        let minute = duration(Duration::from_secs(1)..=Duration::from_secs(60));
        assert_eq!(minute("1m").ok(), Some(Duration::from_secs(60)));
        assert_eq!(problem(minute("30")), "a duration without a unit");
        assert_eq!(problem(minute("0")), "a duration without a unit");
        assert_eq!(problem(minute("soon")), "not a duration");
        assert_eq!(problem(minute("61s")), "out of range");
        let body = size(4096..=1 << 20);
        assert_eq!(body("4 KiB").ok(), Some(4096));
        assert_eq!(problem(body("65536")), "a size without a unit");
        assert_eq!(problem(body("big")), "not a size");
        assert_eq!(problem(body("1KiB")), "out of range");
        assert_eq!(problem(body("99999999999999999999999EiB")), "out of range");
        let whole = seconds(Duration::ZERO..=Duration::from_secs(60));
        assert_eq!(problem(whole("1500ms")), "not whole seconds");
    }

    #[test]
    fn paths_lose_their_last_slash_only() {
        assert_eq!(path("/http-bind/").ok().as_deref(), Some("/http-bind"));
        for bad in ["", "/", "http-bind", "//", "/a//b", "/a b", "/a?b", "/a%20"] {
            assert_eq!(problem(path(bad)), "not the path of a URL", "{bad}");
        }
    }

    #[test]
    fn headers_are_names() {
        assert_eq!(header("X-Token").ok().as_deref(), Some("x-token"));
        assert_eq!(problem(header("X-Token: 1")), "not the name of a header");
    }

    #[test]
    fn domains_are_prepared() {
        assert_eq!(
            domain("EXAMPLE.org").ok().as_deref().map(|d| d.as_str()),
            Some("example.org")
        );
        for bad in ["", "a@b", "a/b", "a:5222", "a b"] {
            assert_eq!(problem(domain(bad)), "not an XMPP domain", "{bad}");
        }
    }
}
