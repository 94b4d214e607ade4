//! Cross-origin rules (Fetch standard), for pages that are served from elsewhere.

use std::collections::HashSet;

use http::{HeaderMap, HeaderValue, header};

use crate::config;

/// Methods a page may use. The order is that of the connection managers clients were tested with.
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS, GET");
/// Seconds a browser may remember the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("1728000");

/// Rules of `[web]` for pages.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Origins,
    /// The headers that pages may send: Content-Type, and those of `web.headers`.
    headers: HeaderValue,
    /// Whether pages that may not read answers may not create sessions either.
    pub strict: bool,
}

/// Which pages may read answers.
#[derive(Clone, Debug)]
enum Origins {
    /// All, without credentials.
    Any,
    /// These, with credentials.
    Only(HashSet<String>),
}

impl Cors {
    /// The rules of `web`.
    pub fn new(web: &config::Web) -> Self {
        let origins = match web.origins.iter().any(|origin| origin == "*") {
            true => Origins::Any,
            false => Origins::Only(web.origins.iter().map(|origin| normal(origin)).collect()),
        };
        let names: Vec<&str> = std::iter::once("content-type")
            .chain(web.headers.iter().map(String::as_str))
            .collect();
        Self {
            origins,
            headers: HeaderValue::from_str(&names.join(", "))
                .unwrap_or_else(|_| HeaderValue::from_static("content-type")),
            strict: web.strict,
        }
    }

    /// Whether pages from `origin` may read answers, and open WebSockets.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Only(allowed) => origin
                .to_str()
                .is_ok_and(|origin| allowed.contains(origin) || allowed.contains(&normal(origin))),
        }
    }

    /// The origin of a request, if an answer has to name it. A copy: a header shares the memory of the whole
    /// request, which a poll is not to hold.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        match &self.origins {
            Origins::Any => None,
            Origins::Only(_) => HeaderValue::from_bytes(origin.as_bytes()).ok(),
        }
    }

    /// Adds what every answer needs, whatever its status.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        match &self.origins {
            Origins::Any => {
                headers.insert(
                    header::ACCESS_CONTROL_ALLOW_ORIGIN,
                    HeaderValue::from_static("*"),
                );
            }
            Origins::Only(_) => {
                headers.insert(header::VARY, HeaderValue::from_static("Origin"));
                if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                    headers.insert(
                        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                        HeaderValue::from_static("true"),
                    );
                }
            }
        }
    }

    /// Adds what the answer to a preflight needs besides.
    pub fn preflight(&self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
}

/// An origin as browsers write it (RFC 6454 §6.2): in lower case, and without the port that its scheme has anyway.
fn normal(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    let port = match origin.split_once("://") {
        Some(("https" | "wss", _)) => ":443",
        Some(("http" | "ws", _)) => ":80",
        _ => return origin,
    };
    origin
        .strip_suffix(port)
        .map(str::to_owned)
        .unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_by_scheme_host_and_port() {
        let web = config::Web {
            origins: vec![
                "https://a.example:443".into(),
                "http://b.example:8080".into(),
            ],
            ..config::Web::default()
        };
        let cors = Cors::new(&web);
        let allows = |origin| cors.allows(&HeaderValue::from_static(origin));
        for origin in [
            "https://a.example",
            "https://a.example:443",
            "HTTPS://A.Example",
            "http://b.example:8080",
        ] {
            assert!(allows(origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "*",
            "http://a.example",
            "https://a.example:444",
            "https://a.example.evil.example",
            "https://evil.example/https://a.example",
            "http://b.example",
            "https://b.example:8080",
        ] {
            assert!(!allows(origin), "{origin}");
        }
    }
}
