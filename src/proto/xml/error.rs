//! Errors of documents: where and why one was refused.

/// Why a document was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct ScanError {
    /// Offset into the document, bytes.
    pub at: usize,
    /// What is wrong.
    pub kind: ScanErrorKind,
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// Not UTF-8, or another encoding is declared.
    #[error("not utf-8")]
    Encoding,
    /// Nested too deep, too many attributes, or too many bytes to count.
    #[error("limit exceeded")]
    Limit,
    /// A prefix that is not declared, or a declaration that is not allowed.
    #[error("namespace not declared or reserved")]
    Namespace,
    /// Not well-formed, or character data where only elements may be.
    #[error("not well-formed")]
    NotWellFormed,
    /// A comment, a processing instruction or a DTD (RFC 6120 §11.1).
    #[error("markup that XMPP forbids")]
    Restricted,
    /// Legal, but hardly ever written: a name that only the fifth edition of XML 1.0 allows, or a namespace name
    /// with a reference to a character that needs none.
    #[error("unusual markup")]
    Unusual,
    /// The root element is not the one expected.
    #[error("unexpected root element")]
    WrongRoot,
}

impl ScanErrorKind {
    /// Whether the document is legal XML all the same, so that a server that passes it on has done nothing wrong.
    pub fn is_legal(self) -> bool {
        matches!(self, Self::Limit | Self::Unusual)
    }

    /// Which of two answers a client gets: `policy-violation` if true, otherwise `bad-request`.
    pub fn is_limit(self) -> bool {
        self == Self::Limit
    }

    pub(in crate::proto) fn at(self, at: usize) -> ScanError {
        ScanError { at, kind: self }
    }
}
