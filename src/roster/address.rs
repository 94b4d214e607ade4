//! Addresses: prepares them as XMPP servers compare them (RFC 6122: nodeprep, nameprep, resourceprep).
//!
//! Stringprep rests on Unicode 3.2. Servers leave younger letters unchanged, while the library that is used here maps
//! some of them to older ones: `ᴬdmin` would become `admin`, who is somebody else. So text with a younger letter is no
//! address here, nor is text with one of the five letters that later versions decompose in another way.

use idna::domain_to_ascii;
use jid::{BareJid, DomainPart, Jid, NodePart};
use stringprep::tables::unassigned_code_point;

/// Longest address, bytes: three parts of 1023, and what stands between them.
const LONGEST: usize = 3 * 1023 + 2;

/// Letters whose decomposition was corrected after Unicode 3.2 (Corrigendum 4).
const CORRECTED: [char; 5] = [
    '\u{2f868}',
    '\u{2f874}',
    '\u{2f91f}',
    '\u{2f95f}',
    '\u{2f9bf}',
];

/// Prepares an address; `None` if it is none, or if servers do not agree on whose it is.
pub fn prepare(text: &str) -> Option<Jid> {
    if text.len() > LONGEST || is_unclear(text) {
        return None;
    }
    let jid = Jid::new(text).ok()?;
    if !jid.domain().as_str().ends_with('.') {
        return Some(jid);
    }
    // The library checks such a domain without the dot, but keeps the dot.
    let domain = DomainPart::new(jid.domain().as_str()).ok()?;
    let bare = BareJid::from_parts(jid.node(), &domain);
    match jid.resource() {
        Some(resource) => Some(bare.with_resource(resource).into()),
        None => Some(bare.into()),
    }
}

/// Prepares a localpart; `None` if it is none, or if servers do not agree on whose it is.
pub fn prepare_node(name: &str) -> Option<NodePart> {
    if is_unclear(name) {
        return None;
    }
    NodePart::new(name).ok().map(|node| node.into_owned())
}

/// Whether two prepared domains are the same; one of them may be written as ASCII (RFC 5890 "A-label").
pub fn is_same_domain(one: &str, other: &str) -> bool {
    one == other
        || matches!((domain_to_ascii(one), domain_to_ascii(other)), (Ok(one), Ok(other)) if one == other)
}

/// Whether there is a letter that servers and the library may understand differently.
fn is_unclear(text: &str) -> bool {
    let is_unclear = |letter| unassigned_code_point(letter) || CORRECTED.contains(&letter);
    !text.is_ascii() && text.chars().any(is_unclear)
}

#[cfg(test)]
mod tests {
    use jid::NodeRef;

    use super::*;

    fn prepared(text: &str) -> Option<String> {
        prepare(text).map(|jid| jid.as_str().to_owned())
    }

    #[test]
    fn addresses_become_what_servers_compare() {
        for (written, expected) in [
            ("Marie@Example.ORG", "marie@example.org"),
            ("marie@example.org.", "marie@example.org"),
            ("Marie@Example.org./Phone", "marie@example.org/Phone"),
            ("example.org.", "example.org"),
            ("ｍａｒｉｅ@example.org", "marie@example.org"),
            ("STRASSE@example.org", "strasse@example.org"),
            ("ü@example.org", "ü@example.org"),
        ] {
            assert_eq!(prepared(written).as_deref(), Some(expected), "{written}");
            assert_eq!(prepared(expected).as_deref(), Some(expected), "{written}");
        }
        for none in [
            "",
            "@example.org",
            "marie@",
            "a@b@c",
            "a@example.org..",
            "a@example.org/",
        ] {
            assert_eq!(prepared(none), None, "{none}");
        }
        assert_eq!(prepared(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn domains_are_compared_in_both_their_forms() {
        assert!(is_same_domain("bücher.example", "xn--bcher-kva.example"));
        assert!(is_same_domain("example。org", "example.org"));
        assert!(!is_same_domain("example.com", "example.org"));
    }

    /// A server that leaves a letter alone has two users where the library sees one.
    #[test]
    fn no_letter_becomes_another_one_that_servers_leave_alone() {
        let mut young = 0;
        for letter in char::MIN..=char::MAX {
            let name = format!("a{letter}b");
            let library = NodePart::new(&name).ok().map(|node| node.into_owned());
            if CORRECTED.contains(&letter) {
                assert_ne!(library.as_deref().map(NodeRef::as_str), Some(&*name));
                assert_eq!(prepare_node(&name), None, "{letter:?}");
            } else if unassigned_code_point(letter) {
                young += usize::from(library.is_some());
                assert_eq!(prepare_node(&name), None, "{letter:?}");
                assert_eq!(prepare(&format!("{name}@example.org")), None, "{letter:?}");
            } else {
                assert_eq!(prepare_node(&name), library, "{letter:?}");
            }
        }
        assert!(young > 400, "the library makes others of many: {young}");
    }
}
