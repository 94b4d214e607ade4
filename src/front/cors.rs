//! Cross-origin rules (Fetch standard), for pages that are served from elsewhere.

use std::collections::HashSet;

use http::{HeaderMap, HeaderValue, header};

/// Methods a page may use. The order is that of the connection managers clients were tested with.
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS, GET");
/// Seconds a browser may remember the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("1728000");

/// Which pages may read answers.
#[derive(Clone, Debug)]
pub enum Cors {
    /// All, without credentials.
    Any,
    /// These, with credentials.
    Only(HashSet<HeaderValue>),
}

impl Cors {
    /// Reads `web.origins`.
    pub fn new(origins: &[String]) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Self::Any;
        }
        Self::Only(
            origins
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok())
                .collect(),
        )
    }

    /// The headers that pages may send: Content-Type, and what `web.headers` says.
    pub fn allowed_headers(more: &[String]) -> HeaderValue {
        let names: Vec<&str> = std::iter::once("content-type")
            .chain(more.iter().map(String::as_str))
            .collect();
        HeaderValue::from_str(&names.join(", "))
            .unwrap_or_else(|_| HeaderValue::from_static("content-type"))
    }

    /// Whether pages from `origin` may read answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::Only(allowed) => allowed.contains(origin),
        }
    }

    /// The origin of a request, if an answer has to name it. A copy: a header shares the memory of the whole
    /// request, which a poll is not to hold.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        match self {
            Self::Any => None,
            Self::Only(_) => HeaderValue::from_bytes(origin.as_bytes()).ok(),
        }
    }

    /// Adds what every answer needs, whatever its status.
    pub fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        match self {
            Self::Any => {
                headers.insert(
                    header::ACCESS_CONTROL_ALLOW_ORIGIN,
                    HeaderValue::from_static("*"),
                );
            }
            Self::Only(_) => {
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

    /// Adds what the answer to a preflight needs besides; pages may send the headers `allowed`.
    pub fn preflight(allowed: &HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
}
