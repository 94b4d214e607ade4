//! From the texts of a file to values, noting on the way what is wrong with them.

use std::{
    collections::HashSet,
    net::SocketAddr,
    ops::{Range, RangeInclusive},
    path::Path,
};

use jid::DomainPart;
use toml::Spanned;

use super::{
    Config, Secret,
    error::{ConfigError, ConfigErrors, Position},
    redact,
    value::{self, Fault, SecretKind},
};

/// Turns tables into their meaning and notes what has none.
///
/// Where a value is refused its default stays; with an error noted the outcome is never used.
pub(super) struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    /// The folder that relative paths start from.
    pub(super) base: &'a Path,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, name: &'a str, base: &'a Path) -> Self {
        Self {
            name,
            text,
            base,
            errors: Vec::new(),
        }
    }

    /// The configuration, or all that was noted.
    pub(super) fn finish(self, config: Config) -> Result<Config, ConfigErrors> {
        if self.errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors::new(self.errors))
        }
    }

    /// A secret written in the file, or in a file of its own; `keys` names the two.
    pub(super) fn secret(
        &mut self,
        keys: [&str; 2],
        inline: Option<Spanned<String>>,
        file: Option<Spanned<String>>,
        kind: &SecretKind,
    ) -> Option<Secret> {
        let [key, file_key] = keys;
        if let (Some(_), Some(file)) = (&inline, &file) {
            self.beside(file_key, file.span(), key);
        }
        if inline.is_some() {
            return self.read(key, inline, kind.read);
        }
        self.read(file_key, file, value::secret_file(self.base, kind))
    }

    /// Notes that only one of two keys can be set.
    pub(super) fn beside(&mut self, key: &str, span: Range<usize>, other: &str) {
        let fault = Fault::new(format!("set beside {other}"), "keep one of the two");
        self.fault(key, Some(span), fault);
    }

    /// What `text` means, if it is there and means something.
    pub(super) fn read<T>(
        &mut self,
        key: &str,
        text: Option<Spanned<String>>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let text = text?;
        match parse(text.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) if redact::is_secret(key) => {
                self.fault(key, Some(text.span()), fault);
                None
            }
            Err(fault) => {
                let got = redact::value(key, text.get_ref());
                self.refuse(key, text.span(), format!("{got:?}"), fault);
                None
            }
        }
    }

    /// Puts what `text` means, if it is there, into `target`.
    pub(super) fn set<T>(
        &mut self,
        target: &mut T,
        key: &str,
        text: Option<Spanned<String>>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) {
        if let Some(value) = self.read(key, text, parse) {
            *target = value;
        }
    }

    /// As `set`, one by one.
    pub(super) fn list<T>(
        &mut self,
        target: &mut Vec<T>,
        key: &str,
        texts: Option<Spanned<Vec<Spanned<String>>>>,
        mut parse: impl FnMut(&str) -> Result<T, Fault>,
    ) {
        if let Some(texts) = texts {
            let values = texts.into_inner().into_iter();
            *target = values
                .filter_map(|text| self.read(key, Some(text), &mut parse))
                .collect();
        }
    }

    /// As `set`, within a range.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        target: &mut T,
        key: &str,
        number: Option<Spanned<i64>>,
        range: RangeInclusive<i64>,
    ) {
        let Some(number) = number else { return };
        let value = *number.get_ref();
        match T::try_from(value) {
            Ok(fitting) if range.contains(&value) => *target = fitting,
            _ => {
                let cure = format!("choose a number from {} to {}", range.start(), range.end());
                let fault = Fault::new("out of range", cure);
                self.refuse(key, number.span(), value.to_string(), fault);
            }
        }
    }

    /// Notes that a value is refused, and shows it.
    pub(super) fn refuse(&mut self, key: &str, span: Range<usize>, got: String, fault: Fault) {
        self.note(key, Some(span), Some(got), fault);
    }

    /// Notes what is wrong without showing a value.
    pub(super) fn fault(&mut self, key: &str, span: Option<Range<usize>>, fault: Fault) {
        self.note(key, span, None, fault);
    }

    fn note(&mut self, key: &str, span: Option<Range<usize>>, got: Option<String>, fault: Fault) {
        self.errors.push(ConfigError {
            file: self.name.to_owned(),
            position: span.map(|span| Position::of(self.text, span.start)),
            key: key.to_owned(),
            problem: fault.problem,
            got,
            cure: Some(fault.cure),
        });
    }
}

/// What only one table may have.
#[derive(Default)]
pub(super) struct Taken {
    addresses: HashSet<SocketAddr>,
    domains: HashSet<DomainPart>,
}

impl Taken {
    /// An address to listen at; port 0 is never the same twice.
    pub(super) fn address(&mut self, text: &str) -> Result<SocketAddr, Fault> {
        let address = value::socket_address(text)?;
        if address.port() == 0 || self.addresses.insert(address) {
            Ok(address)
        } else {
            Err(Fault::new("listened at twice", "choose another port"))
        }
    }

    pub(super) fn domain(&mut self, text: &str) -> Result<DomainPart, Fault> {
        let domain = value::domain(text)?;
        if self.domains.insert(domain.clone()) {
            Ok(domain)
        } else {
            Err(Fault::new(
                "a second host with this domain",
                "keep one [[host]] for each domain",
            ))
        }
    }
}
