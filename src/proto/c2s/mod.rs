//! The client side of an XMPP stream over TCP (RFC 6120 §4).

pub mod split;
pub mod stream;

use super::xml::Limits;

/// Longest element that a server may send, bytes. Servers accept stanzas of 256 or 512 KiB.
pub const MAX_ELEMENT: usize = 4 << 20;

/// Bounds on the inside of an element. Wider than those on what clients send: servers wrap stanzas
/// (carbons, archives), and nobody's stanza may end the session of another.
pub const LIMITS: Limits = Limits {
    depth: 256,
    attributes: 256,
    children: 65_536,
    inherited: 8 << 20,
};
