//! `[monitoring]`: where the gateway tells how it is, and what `/readyz` means.

use std::net::SocketAddr;

use super::reader::{Section, Taken};

/// `[monitoring]`
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Monitoring {
    /// The address where metrics and health are served to anybody; `None`: they are served where the admin API is, to
    /// this machine alone.
    pub listen: Option<SocketAddr>,
    /// Whether the gateway is ready only while an XMPP server can be reached.
    pub ready_needs_server: bool,
}

impl Monitoring {
    pub(super) fn read(section: &mut Section<'_, '_>, taken: &mut Taken) -> Self {
        let mut it = Self {
            listen: section.read("listen", |text| taken.address(text)),
            ..Self::default()
        };
        section.flag(&mut it.ready_needs_server, "ready_needs_server");
        it
    }
}
