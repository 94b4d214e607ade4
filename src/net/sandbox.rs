//! Headers that keep browsers from running any answer.
//!
//! Answers carry what strangers write, and XML can be a page with scripts. A page of another site can make its
//! visitor's browser show an answer as a document (by a form, a link or a frame). That document would have our origin,
//! which is the site's own if the web server passes `/http-bind` on. So every document gets an opaque origin and no
//! scripts. Programs and pages that read answers as data do not notice.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS},
};

const POLICY: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Keeps answers out of the processes of other origins' pages. Requests by CORS are not affected.
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// Adds them to an answer. A page that is meant to be shown has a policy of its own, and keeps it.
pub fn apply(headers: &mut HeaderMap) {
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
}

/// The same as lines, for an answer that is written by hand.
pub(super) fn lines() -> String {
    let mut headers = HeaderMap::new();
    apply(&mut headers);
    let lines = headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap_or_default();
        format!("{name}: {value}\r\n")
    });
    lines.collect()
}
