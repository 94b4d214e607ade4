//! Stanzas: complete top-level elements of an XMPP stream, each kept as the bytes that it came as.

mod child;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use memchr::memmem;

use self::child::find_attribute;
pub use self::child::{Child, Children};
pub use self::scan::{Body, scan_body, scan_stanza};
pub(super) use self::scan::{Inheritance, scan_document, scan_next_stanza};
use super::xml::{
    Attr, Element, Lexer, Limits, Ns, ScanError, Scope, Token, attribute_value, push_text, write,
};

/// A complete, namespace-closed element: its bytes, as [`Stanza::chunks`] gives them, mean the same
/// in any wrapper. Cloning shares the bytes. They are no part of anything larger, so that keeping a stanza keeps no
/// other memory.
#[derive(Clone)]
pub struct Stanza {
    /// The element as it came.
    bytes: Bytes,
    /// Where `insert` belongs in `bytes`.
    at: u32,
    /// The inherited declarations (or, in our own stanzas, a shared payload); often empty.
    insert: Bytes,
    head: Head,
}

/// A range of a stanza's bytes. It counts through `bytes`, then on through `insert`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: u32,
    /// One past the last byte.
    pub(super) end: u32,
}

/// What routing needs to know of a stanza.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// What it is.
    kind: Kind,
    /// Namespace of the element itself.
    ns: Ns,
    /// Local name of the element.
    pub(super) local: Span,
    /// Values of the attributes, as written.
    to: Option<Span>,
    from: Option<Span>,
    id: Option<Span>,
    /// Namespace and local name of the first child element.
    payload: Option<(Ns, Span)>,
    /// There are more child elements.
    has_more: bool,
}

impl Span {
    /// `length` bytes that end at `end` in the document, counted from `origin`, where the stanza begins. The scanner
    /// accepts no document of more than `u32::MAX` bytes.
    fn ending(end: usize, length: usize, origin: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at.saturating_sub(origin)).unwrap_or(u32::MAX);
        Self {
            start: narrow(end.saturating_sub(length)),
            end: narrow(end),
        }
    }
}

impl Head {
    const UNKNOWN: Self = Self {
        kind: Kind::Nonza,
        ns: Ns::Other,
        local: Span { start: 0, end: 0 },
        to: None,
        from: None,
        id: None,
        payload: None,
        has_more: false,
    };

    /// Reads a start tag.
    pub(super) fn read(root: &Element<'_>, attributes: &[Attr<'_>]) -> Self {
        let local = Span::ending(root.name_end, root.local.len(), root.at);
        let mut head = Self {
            ns: root.ns,
            local,
            ..Self::UNKNOWN
        };
        let mut kind = None;
        for attr in attributes.iter().filter(|attr| attr.prefix.is_empty()) {
            let end = attr.value_at.saturating_add(attr.value.len());
            let span = Some(Span::ending(end, attr.value.len(), root.at));
            match attr.local {
                b"to" => head.to = span,
                b"from" => head.from = span,
                b"id" => head.id = span,
                b"type" => kind = Some(attribute_value(attr.value)),
                _ => {}
            }
        }
        head.kind = Kind::of(root.ns, root.local, kind.as_deref());
        head
    }

    /// Takes note of `element` if it is a child of `root`.
    pub(super) fn see_child(&mut self, root: &Element<'_>, element: &Element<'_>) {
        if element.depth != root.depth.saturating_add(1) {
            return;
        }
        self.has_more = self.payload.is_some();
        if !self.has_more {
            let local = Span::ending(element.name_end, element.local.len(), root.at);
            self.payload = Some((element.ns, local));
        }
    }
}

/// What a top-level element is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `{jabber:client}iq`
    Iq(IqType),
    /// `{jabber:client}message`; true when its type is `error`
    Message(MessageType),
    /// `{jabber:client}presence`
    Presence(PresenceType),
    /// `stream:features`
    Features,
    /// `stream:error`
    StreamError,
    /// Anything else: SASL, stream management, …
    Nonza,
}

/// The `type` of an iq (RFC 6120 §8.2.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IqType {
    /// `get`
    Get,
    /// `set`
    Set,
    /// `result`
    Result,
    /// `error`
    Error,
    /// Missing or none of the four.
    Invalid,
}

/// The `type` of a message, as far as it matters here (RFC 6121 §5.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageType {
    /// `error`
    Error,
    /// Anything else.
    Other,
}

/// The `type` of a presence (RFC 6121 §4.7.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresenceType {
    /// No `type`.
    Available,
    /// `unavailable`
    Unavailable,
    /// `subscribe`
    Subscribe,
    /// `subscribed`
    Subscribed,
    /// `unsubscribe`
    Unsubscribe,
    /// `unsubscribed`
    Unsubscribed,
    /// `probe`
    Probe,
    /// `error`
    Error,
    /// None of these.
    Invalid,
}

impl Kind {
    fn of(ns: Ns, local: &[u8], kind: Option<&str>) -> Self {
        match (ns, local) {
            (Ns::Client, b"iq") => Self::Iq(match kind {
                Some("error") => IqType::Error,
                Some("get") => IqType::Get,
                Some("result") => IqType::Result,
                Some("set") => IqType::Set,
                _ => IqType::Invalid,
            }),
            (Ns::Client, b"message") => Self::Message(match kind {
                Some("error") => MessageType::Error,
                _ => MessageType::Other,
            }),
            (Ns::Client, b"presence") => Self::Presence(match kind {
                None => PresenceType::Available,
                Some("error") => PresenceType::Error,
                Some("probe") => PresenceType::Probe,
                Some("subscribe") => PresenceType::Subscribe,
                Some("subscribed") => PresenceType::Subscribed,
                Some("unavailable") => PresenceType::Unavailable,
                Some("unsubscribe") => PresenceType::Unsubscribe,
                Some("unsubscribed") => PresenceType::Unsubscribed,
                Some(_) => PresenceType::Invalid,
            }),
            (Ns::Streams, b"error") => Self::StreamError,
            (Ns::Streams, b"features") => Self::Features,
            _ => Self::Nonza,
        }
    }
}

impl PresenceType {
    /// True for the four types that manage subscriptions (RFC 6121 §3).
    pub fn is_subscription(self) -> bool {
        matches!(
            self,
            Self::Subscribe | Self::Subscribed | Self::Unsubscribe | Self::Unsubscribed
        )
    }
}

impl Stanza {
    pub(super) fn new(bytes: Bytes, at: u32, insert: Bytes, head: Head) -> Self {
        Self {
            bytes,
            at,
            insert,
            head,
        }
    }

    /// Reads a stanza from namespace-closed text. What has neither prefix nor namespace is taken as
    /// `jabber:client`.
    ///
    /// # Errors
    /// When the text is anything but one well-formed element, within the default [`Limits`].
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, ScanError> {
        scan_stanza(text.into(), &Scope::default(), &Limits::default())
    }

    /// A stanza of our own, with all namespaces declared in it. It must be well-formed, since only its start tag and
    /// its first child are looked at; debug builds check these.
    pub fn ours(bytes: impl Into<Bytes>) -> Self {
        Self::from_trusted(bytes.into(), 0, Bytes::new())
    }

    /// A stanza of our own, in two parts: `insert` belongs at offset `at` of `bytes`, and is shared, not copied.
    /// `bytes` must be well-formed, with all namespaces declared in it, since only its start tag and its first child
    /// are looked at; debug builds check these. `insert` must be elements, text, or (next to a name) attributes that
    /// fit there.
    pub fn from_trusted(bytes: Bytes, at: usize, insert: Bytes) -> Self {
        let head = Self::read_head(&bytes);
        debug_assert!(
            head.is_ok() && at <= bytes.len(),
            "our own stanza is wrong: {head:?}"
        );
        // In a release build, an unreadable stanza is passed on as an element of unknown kind.
        let head = head.unwrap_or(Head::UNKNOWN);
        let at = u32::try_from(at.min(bytes.len())).unwrap_or(u32::MAX);
        Self {
            bytes,
            at,
            insert,
            head,
        }
    }

    fn read_head(bytes: &Bytes) -> Result<Head, ScanError> {
        let outside = Scope::default();
        let mut lexer = Lexer::again(bytes, &outside);
        let Token::Start(root) = lexer.next_element()? else {
            return Err(super::xml::ScanErrorKind::NotWellFormed.at(0));
        };
        let mut head = Head::read(&root, &lexer.attributes);
        if let Token::Start(element) = lexer.next_element()? {
            head.see_child(&root, &element);
        }
        Ok(head)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.head.kind
    }

    /// Whether it is a stanza (RFC 6120 §8), not another element of the stream.
    pub fn is_stanza(&self) -> bool {
        matches!(
            self.head.kind,
            Kind::Iq(_) | Kind::Message(_) | Kind::Presence(_)
        )
    }

    /// Namespace of the element itself.
    pub fn ns(&self) -> Ns {
        self.head.ns
    }

    /// Local name of the element itself.
    pub fn local(&self) -> &str {
        std::str::from_utf8(self.slice(self.head.local)).unwrap_or_default()
    }

    /// `to`, references resolved.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.head.to.map(|span| attribute_value(self.slice(span)))
    }

    /// `from`, references resolved.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.head.from.map(|span| attribute_value(self.slice(span)))
    }

    /// `id`, references resolved.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.head.id.map(|span| attribute_value(self.slice(span)))
    }

    /// The value of another attribute without a prefix, references resolved. Reads the start tag again, so it is for
    /// rare needs only.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let is_it = |attr: &Attr<'_>| attr.is(name.as_bytes());
        find_attribute(&self.bytes, &Scope::default(), is_it)
    }

    /// The language that it declares for itself (`xml:lang`), as written. For rare needs, too.
    pub fn lang(&self) -> Option<Cow<'_, str>> {
        find_attribute(&self.bytes, &Scope::default(), |attr| attr.is_lang())
    }

    /// Namespace and local name of the first child element.
    pub fn payload(&self) -> Option<(Ns, &str)> {
        let (ns, local) = self.head.payload?;
        Some((
            ns,
            std::str::from_utf8(self.slice(local)).unwrap_or_default(),
        ))
    }

    /// Whether an element of `ns` is directly in a stanza that came from outside.
    pub fn has_child(&self, ns: Ns) -> bool {
        match self.head.payload {
            Some((first, _)) if first == ns => true,
            Some(_) if self.head.has_more && self.may_have(ns) => {
                self.children().any(|child| child.ns == ns)
            }
            _ => false,
        }
    }

    /// Whether a stanza that came from outside has a single child element.
    pub fn has_only_child(&self) -> bool {
        self.head.payload.is_some() && !self.head.has_more
    }

    /// The pieces whose concatenation is the stanza: one, or three, none of them empty.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> + use<> {
        let pieces = if self.insert.is_empty() {
            [self.bytes.clone(), Bytes::new(), Bytes::new()]
        } else {
            let mut before = self.bytes.clone();
            let after = before.split_off(self.offset());
            [before, self.insert.clone(), after]
        };
        pieces.into_iter().filter(|piece| !piece.is_empty())
    }

    /// Sum of the lengths of [`Self::chunks`], bytes.
    pub fn size(&self) -> usize {
        self.bytes.len().saturating_add(self.insert.len())
    }

    /// Memory that it takes, bytes: more than its size, which matters where many small ones are kept.
    pub fn footprint(&self) -> usize {
        self.size().saturating_add(size_of::<Self>())
    }

    /// The stanza in one piece: a copy, unless it is in one piece anyway.
    pub fn to_bytes(&self) -> Bytes {
        if self.insert.is_empty() {
            return self.bytes.clone();
        }
        let mut whole = Vec::with_capacity(self.size());
        self.chunks()
            .for_each(|piece| whole.extend_from_slice(&piece));
        whole.into()
    }

    /// The same stanza addressed to `to`; the original must have no `to`. Shares its bytes, unless
    /// it has a shared payload.
    pub fn addressed(&self, to: &str) -> Self {
        debug_assert!(self.head.to.is_none(), "stanza is addressed already");
        let mut insert = Vec::with_capacity(self.insert.len().saturating_add(to.len()));
        let at_name = self.insert.is_empty() || self.at == self.head.local.end;
        if at_name {
            insert.extend_from_slice(&self.insert);
        }
        write::attribute(&mut insert, "to", to);
        if !at_name {
            let name_end = usize::try_from(self.head.local.end).unwrap_or(usize::MAX);
            return Self::from_trusted(self.to_bytes(), name_end, insert.into()).in_one_piece();
        }
        let end = self
            .bytes
            .len()
            .saturating_add(insert.len())
            .saturating_sub(1);
        let length = insert
            .len()
            .saturating_sub(self.insert.len())
            .saturating_sub(" to=''".len());
        let head = Head {
            to: Some(Span::ending(end, length, 0)),
            ..self.head.clone()
        };
        Self {
            bytes: self.bytes.clone(),
            at: head.local.end,
            insert: insert.into(),
            head,
        }
    }

    /// The same stanza with another `id`.
    pub fn with_id(&self, id: &str) -> Self {
        let whole = self.in_one_piece();
        let place = whole.head.id;
        whole.with("id", place, id)
    }

    /// The same stanza from another sender.
    pub fn with_from(&self, from: &str) -> Self {
        let whole = self.in_one_piece();
        let place = whole.head.from;
        whole.with("from", place, from)
    }

    /// A stanza in one piece with another value of an attribute, whose value is at `place` now.
    fn with(&self, name: &str, place: Option<Span>, value: &str) -> Self {
        let place = place.and_then(|span| {
            let start = usize::try_from(span.start).ok()?;
            Some(start..usize::try_from(span.end).ok()?)
        });
        let mut text = Vec::with_capacity(value.len());
        let place = if let Some(place) = place {
            write::attribute_into(&mut text, value);
            place
        } else {
            write::attribute(&mut text, name, value);
            let name_end = usize::try_from(self.head.local.end).unwrap_or(usize::MAX);
            name_end..name_end
        };
        let (before, after) = (self.bytes.get(..place.start), self.bytes.get(place.end..));
        let bytes = [before.unwrap_or_default(), &text, after.unwrap_or_default()];
        Self::ours(bytes.concat())
    }

    fn in_one_piece(&self) -> Self {
        Self::ours(self.to_bytes())
    }

    /// False if no element in it can be of `ns`, because nothing declares that. Much cheaper than looking at them.
    pub fn may_have(&self, ns: Ns) -> bool {
        // `jabber:client` is what an undeclared namespace means.
        let (Some(uri), true) = (ns.uri(), ns != Ns::Client) else {
            return true;
        };
        let has = |bytes: &Bytes| memmem::find(bytes, uri.as_bytes()).is_some();
        self.chunks().any(|piece| has(&piece))
    }

    /// The character data directly in the element, references resolved.
    pub fn text(&self) -> String {
        let whole = self.to_bytes();
        let mut text = Cow::Borrowed("");
        let scope = Scope::default();
        let mut lexer = Lexer::again(&whole, &scope);
        loop {
            match lexer.next() {
                Ok(Token::Text { depth: 1, form, .. }) => push_text(&mut text, form),
                Ok(Token::End { .. } | Token::Start(_) | Token::Text { .. }) => {}
                Ok(Token::Eof) | Err(_) => return text.into_owned(),
            }
        }
    }

    /// The direct child elements, in order. Walks the bytes, so it is for small stanzas and rare needs.
    pub fn children(&self) -> Children {
        Children::of(self.to_bytes(), &Scope::default())
    }

    fn offset(&self) -> usize {
        usize::try_from(self.at)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len())
    }

    fn slice(&self, span: Span) -> &[u8] {
        let range = |from: usize| {
            let narrow = |at: u32| Some(usize::try_from(at).ok()?.saturating_sub(from));
            Some(narrow(span.start)?..narrow(span.end)?)
        };
        let here = range(0).and_then(|range| self.bytes.get(range));
        here.or_else(|| range(self.bytes.len()).and_then(|range| self.insert.get(range)))
            .unwrap_or_default()
    }
}

impl fmt::Debug for Stanza {
    /// Tells its kind and nothing of its content, which is the user's alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stanza")
            .field("kind", &self.head.kind)
            .field("ns", &self.head.ns)
            .field("local", &self.local())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
