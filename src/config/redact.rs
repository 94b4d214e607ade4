//! Redaction: removes from texts what may be secret; from URLs, that is user, password and query.
//!
//! All that is shown of a configuration, valid or not, goes through here: errors, what `check` prints, `Debug`.

/// Keys whose values are URLs, or are meant to be.
const URL_KEYS: [&str; 11] = [
    "auth_url",
    "backend_host",
    "bosh_url",
    "events_url",
    "http_roster_url",
    "nats",
    "origins",
    "upstream",
    "upstream_referrals",
    "websocket_url",
    "writer_url",
];
/// Ends of the keys whose values are secrets, or may be: a secret is easily written where the name of its file belongs.
const SECRET_KEYS: [&str; 6] = [
    "token",
    "password",
    "secret",
    "token_file",
    "password_file",
    "secret_file",
];
/// How keys and certificates begin, which may be written where only the name of their file belongs.
const PEM: &str = "-----BEGIN";

/// Takes the place of what is left out.
const LEFT_OUT: &str = "…";

/// Whether the values of `key` are never shown.
pub(super) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.iter().any(|end| key.ends_with(end))
}

/// The value of `key` as it may be shown.
pub(super) fn value(key: &str, text: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    if text.contains(PEM) {
        LEFT_OUT.to_owned()
    } else if URL_KEYS.contains(&name) || text.contains("://") {
        url(text)
    } else {
        text.to_owned()
    }
}

/// A URL, even a broken one, without user, password and query. Where a missing escape makes them ambiguous, more is
/// left out rather than less.
pub(super) fn url(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + 3),
        None => ("", text),
    };
    let query = rest.find(['?', '#']);
    let (user, rest) = match (rest.rfind('@'), query) {
        // Ambiguous: a password with a question mark, or a query with an address.
        (Some(at), Some(query)) if query < at => return format!("{scheme}{LEFT_OUT}"),
        (Some(at), _) => (LEFT_OUT, &rest[at..]),
        (None, _) => ("", rest),
    };
    match rest.split_once(['?', '#']) {
        Some((path, _)) => format!("{scheme}{user}{path}?{LEFT_OUT}"),
        None => format!("{scheme}{user}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_no_password_and_no_query_is_shown() {
        for (text, shown) in [
            (
                "http://localhost/contacts/%s",
                "http://localhost/contacts/%s",
            ),
            ("http://site:pw@h/%s", "http://…@h/%s"),
            ("http://site:p@w@h/%s", "http://…@h/%s"),
            ("http://site:p/w@h/%s", "http://…@h/%s"),
            ("http://site:p?w@h/%s", "http://…"),
            ("http://h/%s?to=me@x.org&key=pw", "http://…"),
            ("http://h/%s?key=pw", "http://h/%s?…"),
            ("http://h/%s#pw", "http://h/%s?…"),
            ("http://site:pw@h/%s?key=pw", "http://…@h/%s?…"),
            ("http:/site:pw@h/%s", "…@h/%s"),
            ("site:pw@h", "…@h"),
            ("h/%s?pw", "h/%s?…"),
            ("", ""),
        ] {
            assert_eq!(url(text), shown, "{text}");
            assert_eq!(value("host.upstream", text), shown, "{text}");
        }
        assert_eq!(value("host.domain", "john@example.org"), "john@example.org");
        assert_eq!(value("log.filter", "http://site:pw@h"), "http://…@h");
        assert!(is_secret("admin.token") && is_secret("host.backend_password"));
        assert!(is_secret("admin.token_file") && is_secret("host.backend_password_file"));
        assert!(!is_secret("server.private_key"));
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n";
        assert_eq!(value("server.private_key", pem), "…");
        assert_eq!(value("server.private_key", "a.key"), "a.key");
    }
}
