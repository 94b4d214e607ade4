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
    Only(HashSet<HeaderValue>),
}

impl Cors {
    /// The rules of `web`.
    pub fn new(web: &config::Web) -> Self {
        let value = |text: &String| HeaderValue::from_str(text).ok();
        let origins = match web.origins.iter().any(|origin| origin == "*") {
            true => Origins::Any,
            false => Origins::Only(web.origins.iter().filter_map(value).collect()),
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

    /// Whether pages from `origin` may read answers.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Only(allowed) => allowed.contains(origin),
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
