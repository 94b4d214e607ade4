//! Login: under which name a client wants to log in, and how a login is refused (RFC 6120 §6). Checks no password, and
//! believes nothing: what a session may do depends on what the server has bound.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    stanza::Stanza,
    xml::{Ns, write::Tag},
};

/// The name in an `<auth/>` or `<response/>` of SASL: of PLAIN and mechanisms with the same message (RFC 4616), of SCRAM
/// (RFC 5802) and others with a GS2 header, and of DIGEST-MD5. `None` where there is none, or none that is known.
pub fn name(element: &Stanza) -> Option<String> {
    if element.ns() != Ns::Sasl || !matches!(element.local(), "auth" | "response") {
        return None;
    }
    let bytes = element.to_bytes();
    let text = std::str::from_utf8(&bytes).ok()?;
    let (_, rest) = text.split_once('>')?;
    let (base64, _) = rest.rsplit_once("</")?;
    let message = STANDARD.decode(base64.trim()).ok()?;
    let message = String::from_utf8(message).ok()?;
    if message.contains('\0') {
        return message.split('\0').nth(1).map(str::to_owned);
    }
    if ["n,", "y,", "p="].iter().any(|it| message.starts_with(it)) {
        let mut parts = message.split([',', '\u{1}']);
        let authorized = parts.nth(1)?.strip_prefix("a=");
        let name = parts.next().and_then(|part| part.strip_prefix("n="));
        return name.or(authorized).map(unescaped);
    }
    let quoted = message.split_once("username=\"")?.1;
    quoted.split_once('"').map(|(name, _)| name.to_owned())
}

/// A name of SCRAM, in which `,` and `=` are written otherwise.
fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

/// The localpart of a name: some clients log in by their whole address.
pub fn localpart(name: &str) -> &str {
    name.rsplit_once('@').map_or(name, |(local, _)| local)
}

/// Whether a server refuses a login because of the password, or of a user who does not exist. Other failures are not the
/// client's fault.
pub fn is_refused(element: &Stanza) -> bool {
    matches!(element.ns(), Ns::Sasl | Ns::Sasl2)
        && element.local() == "failure"
        && element
            .children()
            .any(|it| it.is(Ns::Sasl, "not-authorized"))
}

/// The answer to a client whose login is refused: it shows this to its user, and does not try again by itself.
pub fn refused(text: &str) -> Stanza {
    let failure = Tag::new("failure").ns(Ns::Sasl).content(|out| {
        Tag::within(out, "not-authorized").empty();
        Tag::within(out, "text")
            .attribute("xml:lang", "en")
            .text(text);
    });
    Stanza::ours(failure)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

    fn name_in(element: &str, message: &str) -> Option<String> {
        let text = STANDARD.encode(message);
        let element = format!("<{element} xmlns='{SASL}'>{text}</{element}>");
        name(&Stanza::parse(element).unwrap())
    }

    #[test]
    fn the_name_is_found_whatever_the_mechanism() {
        for (message, expected) in [
            ("\0john\0secret", "john"),
            ("john@example.org\0john\0secret", "john"),
            ("n,,n=john,r=abc", "john"),
            ("y,,n=jo=2Chn=3D,r=abc", "jo,hn="),
            ("p=tls-unique,,n=john,r=abc", "john"),
            ("n,a=boss,n=john,r=abc", "john"),
            (
                "n,a=john@example.org,\u{1}auth=Bearer t\u{1}\u{1}",
                "john@example.org",
            ),
            ("username=\"john\",realm=\"example.org\"", "john"),
        ] {
            assert_eq!(
                name_in("auth", message).as_deref(),
                Some(expected),
                "{message:?}"
            );
            assert_eq!(name_in("response", message).as_deref(), Some(expected));
        }
        assert_eq!(localpart("john@example.org"), "john");
        assert_eq!(localpart("john"), "john");
    }

    #[test]
    fn anything_else_has_no_name() {
        for message in ["", "c=biws,r=abc,p=def", "n,", "username=john", "=", "john"] {
            assert_eq!(name_in("auth", message), None, "{message:?}");
        }
        for element in [
            format!("<auth xmlns='{SASL}'/>"),
            format!("<auth xmlns='{SASL}'>not base64!</auth>"),
            format!("<auth xmlns='{SASL}'>/w==</auth>"),
            format!("<abort xmlns='{SASL}'>AGpvaG4AeA==</abort>"),
            "<message xmlns='jabber:client'><body>AGpvaG4AeA==</body></message>".to_owned(),
        ] {
            assert_eq!(
                name(&Stanza::parse(element.clone()).unwrap()),
                None,
                "{element}"
            );
        }
    }

    #[test]
    fn only_a_wrong_password_is_a_refusal() {
        for (failure, expected) in [
            (
                format!("<failure xmlns='{SASL}'><not-authorized/></failure>"),
                true,
            ),
            (
                format!(
                    "<failure xmlns='urn:xmpp:sasl:2'><not-authorized xmlns='{SASL}'/></failure>"
                ),
                true,
            ),
            (
                format!("<failure xmlns='{SASL}'><temporary-auth-failure/></failure>"),
                false,
            ),
            (format!("<success xmlns='{SASL}'/>"), false),
            (
                "<iq xmlns='jabber:client'><not-authorized/></iq>".to_owned(),
                false,
            ),
        ] {
            let element = Stanza::parse(failure.clone()).unwrap();
            assert_eq!(is_refused(&element), expected, "{failure}");
        }
    }

    #[test]
    fn a_refusal_is_well_formed() {
        let refusal = refused("ended & over");
        assert!(is_refused(&refusal));
        assert!(Stanza::parse(refusal.to_bytes()).is_ok());
    }
}
