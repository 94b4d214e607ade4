//! Reader of sections: turns the texts of a table into values, and notes what is wrong with them.
//!
//! One line reads a key: it names the key, where its value goes, and what it may be. Any other key of a section is
//! unknown. If a value is refused, its default stays, which does no harm: with an error noted, the result is never
//! used.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    net::SocketAddr,
    num::NonZeroU32,
    ops::{Range, RangeInclusive},
    path::Path,
};

use jid::DomainPart;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config,
    error::{self, ConfigError, ConfigErrors, Position},
    redact,
    secret::{self, Secret, SecretKind},
    value::{self, Fault},
};

/// The file, and the faults found in it so far.
pub(super) struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    /// The folder that relative paths start from.
    base: &'a Path,
    errors: Vec<ConfigError>,
    /// Settings that can be used, but are unwise.
    warnings: Vec<ConfigError>,
    /// Secrets that are written here, as warnings for the case that everybody may read the file.
    secrets: Vec<ConfigError>,
}

/// One table of the file.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// Its name in errors; empty for the file itself.
    name: &'static str,
    /// Where it begins.
    span: Range<usize>,
    /// The keys that have not been read yet.
    table: DeTable<'a>,
    /// The place of each key's value.
    spans: HashMap<String, Range<usize>>,
    /// The keys that `read` knows.
    known: Vec<&'static str>,
}

/// A text of the file.
pub(super) struct Text<'a> {
    /// Its key, with the section.
    pub(super) key: String,
    pub(super) span: Range<usize>,
    pub(super) text: Cow<'a, str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, name: &'a str, base: &'a Path) -> Self {
        Self {
            name,
            text,
            base,
            errors: Vec::new(),
            warnings: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// Reads the whole file with `read`.
    pub(super) fn file(
        mut self,
        read: impl FnOnce(&mut Section<'_, 'a>) -> Config,
    ) -> Result<Config, ConfigErrors> {
        let table = DeTable::parse(self.text)
            .map_err(|error| error::from_toml(self.name, self.text, &error))?;
        let mut config = Section::read_as(&mut self, "", table, read);
        config.warnings = self.warnings;
        config.secrets = self.secrets;
        if self.errors.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors::new(self.errors))
        }
    }

    /// Parses `text`; `None`, with a fault noted, if it is refused.
    fn parse<T>(
        &mut self,
        text: &Text<'_>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        parse(&text.text)
            .map_err(|fault| self.refuse(text, fault))
            .ok()
    }

    /// Notes that `text` is refused, and shows it unless it may be secret.
    fn refuse(&mut self, text: &Text<'_>, Fault { problem, cure }: Fault) {
        let got = (!redact::is_secret(&text.key))
            .then(|| format!("{:?}", redact::value(&text.key, &text.text)));
        let span = Some(text.span.clone());
        self.note(text.key.clone(), span, got, problem, Some(cure));
    }

    fn note(
        &mut self,
        key: String,
        span: Option<Range<usize>>,
        got: Option<String>,
        problem: String,
        cure: Option<String>,
    ) {
        let error = self.error(key, span, got, problem, cure);
        self.errors.push(error);
    }

    fn error(
        &self,
        key: String,
        span: Option<Range<usize>>,
        got: Option<String>,
        problem: String,
        cure: Option<String>,
    ) -> ConfigError {
        ConfigError {
            file: self.name.to_owned(),
            position: span.map(|span| Position::of(self.text, span.start)),
            key,
            problem,
            got,
            cure,
        }
    }
}

impl<'r, 'a> Section<'r, 'a> {
    /// Reads `table` with `read`, and notes the keys that `read` does not know.
    fn read_as<T>(
        reader: &'r mut Reader<'a>,
        name: &'static str,
        table: Spanned<DeTable<'a>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let span = table.span();
        let table = table.into_inner();
        let spans = table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), value.span()))
            .collect();
        let mut section = Self {
            reader,
            name,
            span,
            table,
            spans,
            known: Vec::new(),
        };
        let value = read(&mut section);
        section.refuse_the_rest();
        value
    }

    /// Reads the table `name` of the file; without one, as if it were empty.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_, 'a>) -> T,
    ) -> T {
        let table = match self.take(name).map(|value| (value.span(), value)) {
            None => Spanned::new(0..0, DeTable::new()),
            Some((span, value)) => match value.into_inner() {
                DeValue::Table(table) => Spanned::new(span, table),
                other => {
                    self.mistyped(name, span.clone(), &other, "a table");
                    Spanned::new(span, DeTable::new())
                }
            },
        };
        Section::read_as(self.reader, name, table, read)
    }

    /// Reads each table of the array `name`, and leaves out those of which `read` makes `None`.
    pub(super) fn sections<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Section<'_, 'a>) -> Option<T>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for item in self.array(name).unwrap_or_default() {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => {
                    let table = Spanned::new(span, table);
                    all.extend(Section::read_as(self.reader, name, table, &mut read));
                }
                other => self.mistyped(name, span, &other, "a table for each"),
            }
        }
        all
    }

    /// The folder that relative paths start from.
    pub(super) fn base(&self) -> &'a Path {
        self.reader.base
    }

    /// `key` with the name of the section.
    pub(super) fn path(&self, key: &str) -> String {
        match self.name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        }
    }

    /// Whether the section has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.spans.contains_key(key)
    }

    /// Whether `key` is an empty list, or absent.
    pub(super) fn has_none(&self, key: &str) -> bool {
        let value = self.table.get(key).map(Spanned::get_ref);
        value.is_none_or(|value| matches!(value, DeValue::Array(items) if items.is_empty()))
    }

    /// Parses the value of `key`, if it is there, into `target`.
    pub(super) fn set<T>(
        &mut self,
        target: &mut T,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) {
        if let Some(value) = self.read(key, parse) {
            *target = value;
        }
    }

    /// The parsed value of `key`; `None` if it is absent or refused.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let text = self.text(key)?;
        self.parse(&text, parse)
    }

    /// As [`Self::read`], a URL that may hold user and password.
    pub(super) fn read_url<T, C>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<(T, Option<C>), Fault>,
    ) -> Option<(T, Option<C>)> {
        let text = self.text(key)?;
        let found = self.parse(&text, parse)?;
        if found.1.is_some() {
            self.note_secret(&text);
        }
        Some(found)
    }

    /// As [`Self::read`], and notes an error if `key` is missing.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.demand(key);
        self.read(key, parse)
    }

    /// Notes an error if `key` is missing.
    pub(super) fn demand(&mut self, key: &str) {
        if !self.has(key) {
            let (path, span) = (self.path(key), Some(self.span.clone()));
            let (problem, cure) = ("missing".to_owned(), error::example(self.name, key));
            self.reader.note(path, span, None, problem, cure);
        }
    }

    /// As [`Self::set`], for one of a few words.
    pub(super) fn choose<T: Copy>(
        &mut self,
        target: &mut T,
        key: &'static str,
        choices: &[(&str, T)],
    ) {
        self.set(target, key, |text| value::choice(text, choices));
    }

    /// As [`Self::set`], for a list, whose items are parsed one by one. Returns how many are written; `None` without a
    /// list.
    pub(super) fn list<T, L: FromIterator<T>>(
        &mut self,
        target: &mut L,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, Fault>,
    ) -> Option<usize> {
        let items = self.array(key)?;
        let written = items.len();
        let texts: Vec<_> = items
            .into_iter()
            .filter_map(|item| self.as_text(key, item))
            .collect();
        *target = texts
            .iter()
            .filter_map(|text| self.parse(text, &mut parse))
            .collect();
        Some(written)
    }

    /// As [`Self::set`], for a number within a range.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        target: &mut T,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) {
        let Some(value) = self.take(key) else { return };
        let span = value.span();
        let number = match value.into_inner() {
            DeValue::Integer(number) => number,
            other => return self.mistyped(key, span, &other, "a number"),
        };
        let value = i64::from_str_radix(number.as_str(), number.radix());
        let fitting = value.ok().filter(|value| range.contains(value));
        match fitting.and_then(|value| T::try_from(value).ok()) {
            Some(value) => *target = value,
            None => {
                let cure = format!("choose a number from {} to {}", range.start(), range.end());
                let (path, got) = (self.path(key), Some(number.to_string()));
                let problem = "out of range".to_owned();
                self.reader.note(path, Some(span), got, problem, Some(cure));
            }
        }
    }

    /// As [`Self::number`], from 1 on.
    pub(super) fn count(&mut self, target: &mut NonZeroU32, key: &'static str, most: u32) {
        let mut number = target.get();
        self.number(&mut number, key, 1..=most.into());
        *target = NonZeroU32::new(number).unwrap_or(*target);
    }

    /// As [`Self::set`], for `true` or `false`.
    pub(super) fn flag(&mut self, target: &mut bool, key: &'static str) {
        let Some(value) = self.take(key) else { return };
        let span = value.span();
        match value.into_inner() {
            DeValue::Boolean(value) => *target = value,
            other => self.mistyped(key, span, &other, "true or false"),
        }
    }

    /// Reads a secret that is written here, or in a file of its own.
    pub(super) fn secret(
        &mut self,
        [key, file_key]: [&'static str; 2],
        kind: &SecretKind,
    ) -> Option<Secret> {
        if self.has(key) && self.has(file_key) {
            self.beside(file_key, &self.path(key));
        }
        let (inline, file) = (self.text(key), self.text(file_key));
        match inline {
            Some(inline) => {
                let secret = self.parse(&inline, kind.read)?;
                self.note_secret(&inline);
                Some(secret)
            }
            None => self.secret_file(&file?, kind),
        }
    }

    /// Says that something about these keys, which can be used, had better be otherwise.
    pub(super) fn warn(&mut self, key: &str, fault: Fault) {
        let problem = format!("warning: {}", fault.problem);
        let warning = self
            .reader
            .error(key.to_owned(), None, None, problem, Some(fault.cure));
        self.reader.warnings.push(warning);
    }

    fn secret_file(&mut self, file: &Text<'_>, kind: &SecretKind) -> Option<Secret> {
        let secret = self.parse(file, secret::file(self.base(), kind))?;
        self.check_readers(file, &self.base().join(&*file.text));
        Some(secret)
    }

    /// Warns if every user of this machine may read or change the secret in the file at `path`, which `text` names.
    pub(super) fn check_readers(&mut self, text: &Text<'_>, path: &Path) {
        if secret::is_open_to_all(path) {
            let warning = self.open_to_all(text);
            self.reader.warnings.push(warning);
        }
    }

    /// This text is a secret, or has one in it.
    fn note_secret(&mut self, text: &Text<'_>) {
        let warning = self.open_to_all(text);
        self.reader.secrets.push(warning);
    }

    fn open_to_all(&self, text: &Text<'_>) -> ConfigError {
        let (key, span) = (text.key.clone(), Some(text.span.clone()));
        let problem = "warning: every user of this machine may read or change this file".to_owned();
        let cure = Some("take that right away with chmod o-rw".to_owned());
        self.reader.error(key, span, None, problem, cure)
    }

    /// The value of `key`, if it is there and a text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Text<'a>> {
        let value = self.take(key)?;
        self.as_text(key, value)
    }

    /// Parses `text`; `None`, with a fault noted, if it is refused.
    pub(super) fn parse<T>(
        &mut self,
        text: &Text<'_>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        self.reader.parse(text, parse)
    }

    /// Notes that `text` is refused, and shows it unless it may be secret.
    pub(super) fn refuse(&mut self, text: &Text<'_>, fault: Fault) {
        self.reader.refuse(text, fault);
    }

    /// Notes a fault of `key` without showing its value.
    pub(super) fn fault(&mut self, key: &str, Fault { problem, cure }: Fault) {
        let span = self.spans.get(key).cloned();
        let path = self.path(key);
        self.reader.note(path, span, None, problem, Some(cure));
    }

    /// Notes that only one of two keys can be set: `key` of this section, and `other`.
    pub(super) fn beside(&mut self, key: &str, other: &str) {
        let problem = format!("set beside {other}");
        self.fault(key, Fault::new(problem, "keep one of the two"));
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn array(&mut self, key: &'static str) -> Option<Vec<Spanned<DeValue<'a>>>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(items) => Some(items.into_iter().collect()),
            other => {
                self.mistyped(key, span, &other, "a list");
                None
            }
        }
    }

    fn as_text(&mut self, key: &str, value: Spanned<DeValue<'a>>) -> Option<Text<'a>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Some(Text {
                key: self.path(key),
                span,
                text,
            }),
            other => {
                self.mistyped(key, span, &other, "a string");
                None
            }
        }
    }

    /// Notes that the value of `key` is not of the kind that is expected.
    fn mistyped(&mut self, key: &str, span: Range<usize>, got: &DeValue<'_>, expected: &str) {
        let path = self.path(key);
        let got = (!redact::is_secret(&path)).then(|| described(&path, got));
        let cure = match (expected, self.name) {
            ("a list" | "a table for each", "") => Some(format!("write [[{key}]]")),
            ("a table", "") => Some(format!("write [{key}]")),
            _ => error::example(self.name, key),
        };
        let problem = format!("expected {expected}");
        self.reader.note(path, Some(span), got, problem, cure);
    }

    /// Notes the keys that are left, which are unknown.
    fn refuse_the_rest(self) {
        for key in self.table.keys() {
            let span = Some(key.span());
            let (path, key) = (self.path(key.get_ref()), key.get_ref());
            let (problem, cure) = match error::moved(&path) {
                Some(new) => ("moved", format!("it is now {new}")),
                None => ("unknown key", error::nearest(key, &self.known)),
            };
            self.reader
                .note(path, span, None, problem.to_owned(), Some(cure));
        }
    }
}

/// How an error shows a value of an unexpected kind.
fn described(path: &str, value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("string {:?}", redact::value(path, text)),
        DeValue::Integer(number) => format!("integer {number}"),
        DeValue::Float(number) => format!("floating point {number}"),
        DeValue::Boolean(value) => format!("boolean {value}"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Values that only one table may have.
#[derive(Default)]
pub(super) struct Taken {
    addresses: HashSet<SocketAddr>,
    domains: HashSet<DomainPart>,
}

impl Taken {
    /// An address to listen at. Port 0 may be written twice, as the system chooses another port each time.
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
