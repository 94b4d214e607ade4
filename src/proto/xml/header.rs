//! The header of a stream: a start tag that stays open, and what it declares.

use bytes::Bytes;
use smallvec::SmallVec;

use super::error::{ScanError, ScanErrorKind};
use super::limits::Limits;
use super::lint;
use super::name::Ns;
use super::scope::Scope;
use super::tag::Attribute;
use super::token::{Lexer, Token};

/// Reads a stream header, `<stream:stream …>` (RFC 6120 §4.7), which is an open tag and perhaps
/// an XML declaration before it. Returns what it declares and its attributes.
///
/// # Errors
/// When the header is not well-formed, is anything but the start tag of
/// `{http://etherx.jabber.org/streams}stream`, or goes on after it.
pub fn scan_header(header: &[u8]) -> Result<(Scope, SmallVec<[Attribute; 8]>), ScanError> {
    let header = Bytes::copy_from_slice(header);
    let outside = Scope::default();
    let limits = Limits::default();
    let mut lexer = Lexer::new(&header, &outside, &limits)?;
    lexer.allow_declaration();
    let Token::Start(root) = lexer.next_element()? else {
        return Err(ScanErrorKind::NotWellFormed.at(header.len()));
    };
    if (root.ns, root.local) != (Ns::Streams, b"stream") || root.empty {
        return Err(ScanErrorKind::WrongRoot.at(root.at));
    }
    let after = header.get(root.tag_end..).unwrap_or_default();
    if !after.iter().all(|&byte| lint::is_white(byte)) {
        return Err(ScanErrorKind::NotWellFormed.at(root.tag_end));
    }
    let scope = outside.within(&header, &lexer.attributes);
    Ok((scope, Attribute::collect(&header, &lexer.attributes)))
}
