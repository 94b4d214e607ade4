//! XML streams (RFC 6120 §4): where elements begin and end ([`split`]), our side of a stream to a server
//! ([`initiator`]), our side of one from a client over WebSocket ([`framing`]), and how streams end ([`error`]).

pub mod error;
pub mod framing;
pub mod initiator;
pub mod split;

use super::xml::Limits;

/// Longest element that a server may send, bytes. Servers accept stanzas of 256 or 512 KiB.
pub const MAX_ELEMENT: usize = 4 << 20;

/// Bounds on the inside of an element. Wider than those on what clients send: servers wrap stanzas
/// (carbons, archives), and one user's stanza must not end another user's session.
pub const LIMITS: Limits = Limits {
    depth: 256,
    attributes: 256,
    children: 65_536,
    inherited: 8 << 20,
};
