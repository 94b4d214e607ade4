//! Identity of a session's client: its full JID and whose contact list it has. It is learned from the server, never
//! from the client.

use std::fmt;

use crate::{
    proto::{
        stanza::{IqType, Kind, Stanza},
        xml::Ns,
    },
    roster::{Username, address},
};

/// The bound resource (RFC 6120 §7), byte for byte as the server said it.
///
/// Servers differ in the names that they accept. One that accepts any name can have a user `ᴬdmin` beside `admin`, and
/// `ᴬdmin` must not be given the list of `admin`. So only a name that is prepared already has a list.
#[derive(Clone, Debug)]
pub struct Identity {
    full: Box<str>,
    /// Length of the bare JID at the beginning of `full`.
    bare: usize,
    /// Length of what stands before the domain.
    before_domain: usize,
    owner: Result<Username, NoList>,
}

/// Why a user has no contact list here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoList {
    /// The server bound another domain than that of the session.
    OtherDomain,
    /// The localpart is missing, or preparing it would change it (RFC 6122 "nodeprep").
    NotPrepared,
}

impl fmt::Display for NoList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherDomain => "the server bound another domain",
            Self::NotPrepared => "the localpart could be taken for another one",
        })
    }
}

/// Owner of an address, as a server may understand it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// The user's own account, or the server, which answers for it.
    Own,
    /// A resource of the user's own account, or what a server might understand as that.
    Near,
    /// Somebody else.
    Other,
    /// Unknown: it is no address, or servers do not agree on whose it is.
    Unclear,
}

impl Identity {
    /// Reads the result of resource binding in a session of `domain`, which is prepared; `None` for any
    /// other stanza.
    pub fn from_bind_result(stanza: &Stanza, domain: &str) -> Option<Self> {
        // Whoever knows the resource can send the client such a result, the client itself included. The server puts the
        // sender's address on it.
        let is_servers = stanza.from().is_none_or(|from| from == domain);
        if stanza.kind() != Kind::Iq(IqType::Result) || !is_servers {
            return None;
        }
        let bind = stanza.children().find(|child| child.is(Ns::Bind, "bind"))?;
        let jid = bind.children().find(|child| child.is(Ns::Bind, "jid"))?;
        Some(Self::new(jid.text().trim(), domain))
    }

    fn new(full: &str, domain: &str) -> Self {
        let bare = full.split_once('/').map_or(full, |(bare, _)| bare);
        let (local, bound) = bare.split_once('@').unwrap_or(("", bare));
        let owner = if bound == domain {
            let prepared = Username::prepare(local);
            let owner = prepared.filter(|prepared| prepared.as_str() == local);
            owner.ok_or(NoList::NotPrepared)
        } else {
            Err(NoList::OtherDomain)
        };
        Self {
            bare: bare.len(),
            before_domain: bare.len().saturating_sub(bound.len()),
            full: full.into(),
            owner,
        }
    }

    /// The full JID.
    pub fn full(&self) -> &str {
        &self.full
    }

    /// The bare JID.
    pub fn bare(&self) -> &str {
        self.full.get(..self.bare).unwrap_or_default()
    }

    /// The domain.
    fn domain(&self) -> &str {
        self.bare().get(self.before_domain..).unwrap_or_default()
    }

    /// The user whose contact list this session has.
    ///
    /// # Errors
    /// Why it has none.
    pub fn owner(&self) -> Result<&Username, NoList> {
        self.owner.as_ref().map_err(|reason| *reason)
    }

    /// True if the session has a contact list.
    pub fn has_list(&self) -> bool {
        self.owner.is_ok()
    }

    /// Whose account the client means by `to`, as any server may understand it. An empty `to` counts as missing
    /// (RFC 6120 §8.1.1.1), as it does for some servers.
    pub fn whose(&self, to: Option<&str>) -> Whose {
        let Some(to) = to.filter(|to| !to.is_empty()) else {
            return Whose::Own;
        };
        if to == self.bare() || to == self.domain() {
            return Whose::Own;
        }
        let Some(jid) = address::prepare(to) else {
            return Whose::Unclear;
        };
        if !address::is_same_domain(jid.domain().as_str(), self.domain()) {
            return Whose::Other;
        }
        match (&self.owner, jid.node()) {
            (Ok(owner), Some(local)) if owner.as_str() != local.as_str() => Whose::Other,
            (Ok(_), _) if jid.resource().is_none() => Whose::Own,
            _ => Whose::Near,
        }
    }

    /// Whether `from` is the server itself or the user's own account; a missing `from` is.
    pub fn is_own_server(&self, from: Option<&str>) -> bool {
        from.is_none_or(|from| from == self.bare() || from == self.domain())
    }
}

#[cfg(test)]
mod tests {
    use jid::NodePart;

    use super::*;

    fn bound(full: &str) -> Identity {
        let result = format!(
            "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>{full}</jid></bind></iq>"
        );
        let result = Stanza::parse(result).unwrap();
        Identity::from_bind_result(&result, "example.org").unwrap()
    }

    fn owner(full: &str) -> Result<String, NoList> {
        bound(full).owner().map(ToString::to_string)
    }

    #[test]
    fn the_servers_word_is_taken_as_it_is() {
        let odd = "john@example.org/\u{1f600} / @ \u{ad}";
        assert_eq!(bound(odd).full(), odd);
        assert_eq!(bound(odd).bare(), "john@example.org");
        assert_eq!(owner(odd).as_deref(), Ok("john"));
        assert_eq!(bound("ᴬdmin@example.org/x").full(), "ᴬdmin@example.org/x");
    }

    #[test]
    fn only_the_server_says_what_it_has_bound() {
        let result = |from: &str| {
            let result = format!(
                "<iq type='result'{from}><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                 <jid>john@example.org/web</jid></bind></iq>"
            );
            let result = Stanza::parse(result).unwrap();
            Identity::from_bind_result(&result, "example.org").is_some()
        };
        assert!(result("") && result(" from='example.org'"));
        for other in ["mallory@example.org/web", "john@example.org", "example.com"] {
            assert!(!result(&format!(" from='{other}'")), "{other}");
        }
    }

    #[test]
    fn another_domain_or_another_form_of_a_name_has_no_list() {
        for domain in ["example.com", "Example.org", "example.org.", "xexample.org"] {
            let reason = owner(&format!("john@{domain}/x"));
            assert_eq!(reason, Err(NoList::OtherDomain), "{domain}");
        }
        for local in [
            "ᴬdmin",
            "maᴿie",
            "John",
            "ｊohn",
            "jo\u{ad}hn",
            "a b",
            "\u{1f600}",
        ] {
            let reason = owner(&format!("{local}@example.org/x"));
            assert_eq!(reason, Err(NoList::NotPrepared), "{local}");
        }
        assert_eq!(owner("example.org/x"), Err(NoList::NotPrepared));
    }

    /// Tries all letters: a server may leave one unchanged that the library changes.
    #[test]
    fn nobody_is_given_the_list_of_somebody_else() {
        for letter in char::MIN..=char::MAX {
            let local = format!("a{letter}b");
            let owner = Identity::new(&format!("{local}@example.org/x"), "example.org");
            let owner = owner.owner().map(Username::as_str);
            assert!(owner.is_err() || owner == Ok(&*local), "{letter:?}");
            let prepared = NodePart::new(&local).ok();
            let is_itself = prepared.is_some_and(|it| it.as_str() == local);
            assert_eq!(owner.is_ok(), is_itself, "{letter:?}");
        }
    }

    #[test]
    fn every_spelling_of_the_own_account_is_known() {
        let john = bound("john@example.org/web");
        assert_eq!(john.whose(None), Whose::Own);
        for own in [
            "",
            "john@example.org",
            "JOHN@Example.ORG",
            "john@example.org.",
            "ｊohn@example.org",
            "jo\u{ad}hn@example.org",
            "john@ｅxample.org",
            "john@example。org",
            "example.org",
            "EXAMPLE.org.",
        ] {
            assert_eq!(john.whose(Some(own)), Whose::Own, "{own}");
        }
        for resource in [
            "john@example.org/web",
            "JOHN@example.org./x",
            "example.org/x",
        ] {
            assert_eq!(john.whose(Some(resource)), Whose::Near, "{resource}");
        }
        for other in [
            "jane@example.org",
            "john@example.com",
            "example.com",
            "Jane@Example.org/x",
        ] {
            assert_eq!(john.whose(Some(other)), Whose::Other, "{other}");
        }
        for unclear in [
            " john@example.org",
            "john@example.org/",
            "john@example.org/\u{ad}",
            "ᴶohn@example.org",
            "@example.org",
            "john@@example.org",
            "john@example.org..",
            "/x",
        ] {
            assert_eq!(john.whose(Some(unclear)), Whose::Unclear, "{unclear}");
        }
        let admin = bound("ᴬdmin@example.org/web");
        assert_eq!(admin.whose(Some("ᴬdmin@example.org")), Whose::Own);
        assert_eq!(admin.whose(Some("admin@example.org")), Whose::Near);
        assert_eq!(admin.whose(Some("admin@example.com")), Whose::Other);
        let idn = "john@bücher.example/x";
        let idn = Identity::new(idn, "bücher.example");
        assert_eq!(idn.whose(Some("john@xn--bcher-kva.example")), Whose::Own);
    }
}
