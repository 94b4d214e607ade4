//! `[session]`: the bounds on every session, whatever its front.

use std::num::NonZeroU32;

use super::{
    reader::Section,
    value::{self, KIB, MIB, TIB},
};

/// `[session]`
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Most sessions at once.
    pub max_sessions: usize,
    /// Most sessions of one address at once.
    pub sessions_per_address: usize,
    /// Most bound sessions of one user at once.
    pub sessions_per_user: usize,
    /// Most sessions that one address may create in a minute.
    pub creations_per_address: NonZeroU32,
    /// Most unconfirmed stanzas of a session. With as many, its server is not read from, and a client that does not
    /// listen loses its session.
    pub max_unconfirmed: u32,
    /// Undelivered bytes of a session beyond which its server is not read from.
    pub max_pending: usize,
    /// The same for all sessions together.
    pub max_pending_total: usize,
    /// Requests of one session in a second, in the long run; those beyond wait.
    pub max_request_rate: NonZeroU32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            max_sessions: 50_000,
            sessions_per_address: 1000,
            sessions_per_user: 50,
            creations_per_address: NonZeroU32::MIN.saturating_add(119),
            max_unconfirmed: 400,
            max_pending: 1 << 20,
            max_pending_total: 256 << 20,
            max_request_rate: NonZeroU32::MIN.saturating_add(99),
        }
    }
}

impl Session {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        section.number(&mut it.max_sessions, "max_sessions", 1..=10_000_000);
        section.number(
            &mut it.sessions_per_address,
            "sessions_per_address",
            1..=10_000_000,
        );
        section.number(
            &mut it.sessions_per_user,
            "sessions_per_user",
            1..=10_000_000,
        );
        section.count(
            &mut it.creations_per_address,
            "creations_per_address",
            1_000_000,
        );
        section.number(&mut it.max_unconfirmed, "max_unconfirmed", 10..=100_000);
        section.set(
            &mut it.max_pending,
            "max_pending",
            value::size(64 * KIB..=64 * MIB),
        );
        section.set(
            &mut it.max_pending_total,
            "max_pending_total",
            value::size(MIB..=TIB),
        );
        section.count(&mut it.max_request_rate, "max_request_rate", 1_000_000);
        it
    }
}
