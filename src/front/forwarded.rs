//! Parser of the `Forwarded` header (RFC 7239): reads who asks, and over which protocol. Does not decide whom to
//! believe.

use std::net::{IpAddr, SocketAddr};

/// Element of the header, which one proxy has added.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Element {
    /// `for`, where it is an address; the port is 0 where it does not say any.
    pub(super) client: Option<SocketAddr>,
    /// `proto`
    pub(super) proto: Option<String>,
}

/// The elements of a field value; `None` if it is not one.
pub(super) fn parse(value: &str) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let (name, after) = token(rest)?;
        let (value, after) = match after.strip_prefix('=')? {
            quoted if quoted.starts_with('"') => unquote(quoted)?,
            after => {
                let (value, after) = token(after)?;
                (value.to_owned(), after)
            }
        };
        if name.eq_ignore_ascii_case("for") {
            element.client = node(&value);
        } else if name.eq_ignore_ascii_case("proto") {
            element.proto = Some(value);
        }
        rest = after.trim_start();
        if let Some(next) = rest.strip_prefix(',') {
            elements.push(std::mem::take(&mut element));
            rest = next;
        } else if !rest.is_empty() {
            rest = rest.strip_prefix(';')?;
        }
        rest = rest.trim_start();
    }
    elements.push(element);
    Some(elements)
}

/// A token (RFC 9110 §5.6.2) at the beginning of `text`, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let in_token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
    let end = text.find(|char| !in_token(char)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// What a quoted string (RFC 9110 §5.6.4) at the beginning of `text` stands for, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}

/// The address that a node (RFC 7239 §6) is; `None` for `unknown` and for names that hide one.
fn node(text: &str) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.map_or_else(|| text.parse::<IpAddr>(), str::parse);
    match address {
        // An IPv6 address has brackets.
        Ok(address) if address.is_ipv6() == bare.is_some() => Some((address, 0).into()),
        Ok(_) => None,
        // The port may be hidden too.
        Err(_) => text.parse().ok().or_else(|| {
            let (host, port) = text.rsplit_once(':')?;
            port.starts_with('_').then(|| node(host))?
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `for` and `proto` of each element.
    fn read(value: &str) -> Option<Vec<String>> {
        let shown = |element: Element| {
            let client = element
                .client
                .map_or_else(|| "-".to_owned(), |it| it.to_string());
            format!("{client} {}", element.proto.as_deref().unwrap_or("-"))
        };
        Some(parse(value)?.into_iter().map(shown).collect())
    }

    #[test]
    fn the_examples_of_the_specification_are_understood() {
        for (value, elements) in [
            ("for=\"_gazonk\"", &["- -"][..]),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                &["[2001:db8:cafe::17]:4711 -"],
            ),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                &["192.0.2.60:0 http"],
            ),
            (
                "for=192.0.2.43, for=198.51.100.17",
                &["192.0.2.43:0 -", "198.51.100.17:0 -"],
            ),
            ("for=_hidden, for=_SEVKISEK", &["- -", "- -"]),
            (
                "for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown",
                &["192.0.2.43:0 -", "[2001:db8:cafe::17]:0 -", "- -"],
            ),
            ("for=\"192.0.2.43:47011\"", &["192.0.2.43:47011 -"]),
            ("for=\"192.0.2.43:_port\"", &["192.0.2.43:0 -"]),
        ] {
            let expected: Vec<_> = elements.iter().map(|&it| it.to_owned()).collect();
            assert_eq!(read(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn a_comma_in_quotes_separates_nothing() {
        let read = read("for=192.0.2.1;host=\"a\\\", for=192.0.2.2\", for=192.0.2.3;proto=https");
        let expected = ["192.0.2.1:0 -", "192.0.2.3:0 https"].map(str::to_owned);
        assert_eq!(read, Some(expected.to_vec()));
    }

    #[test]
    fn values_that_are_not_forwarded_are_refused() {
        for value in [
            "192.0.2.1",
            "for=\"192.0.2.1",
            "for=",
            "for=[2001:db8::1]",
            "for=a b",
            "for=192.0.2.1,,for=192.0.2.2",
            "for=\"\\",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
        assert_eq!(read("for=\"2001:db8::1\""), Some(vec!["- -".to_owned()]));
    }
}
