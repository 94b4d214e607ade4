//! Offer of a listener: what is served there.

/// What a listener offers.
#[derive(Clone, Copy)]
pub(super) enum Offer {
    Both,
    BoshOnly,
    AdminOnly,
    MonitoringOnly,
}
