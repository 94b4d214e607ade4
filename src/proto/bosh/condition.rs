//! Terminal binding conditions (XEP-0124 "Terminal Binding Conditions").

use std::fmt;

/// Why a session ends, as the `condition` of `<body type='terminate'/>` says it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Condition {
    /// The format of an HTTP header or binding element is unacceptable.
    BadRequest,
    /// The domain in `to` is not served here.
    HostUnknown,
    /// `to` is missing or no domain.
    ImproperAddressing,
    /// An internal error keeps the gateway from serving the request.
    InternalServerError,
    /// The sid is unknown, the rid outside the window, or an old answer no longer kept.
    ItemNotFound,
    /// Another request of the same session ended it.
    OtherRequest,
    /// The client broke a limit.
    PolicyViolation,
    /// The XMPP server could not be reached, or was lost.
    RemoteConnectionFailed,
    /// The XMPP server ended the stream with an error, a copy of which is in the body.
    RemoteStreamError,
    /// The gateway is being shut down.
    SystemShutdown,
    /// Any other; the body says which.
    Undefined,
}

impl Condition {
    /// All conditions.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::HostUnknown,
        Self::ImproperAddressing,
        Self::InternalServerError,
        Self::ItemNotFound,
        Self::OtherRequest,
        Self::PolicyViolation,
        Self::RemoteConnectionFailed,
        Self::RemoteStreamError,
        Self::SystemShutdown,
        Self::Undefined,
    ];

    /// The condition with this name.
    pub fn named(name: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|condition| condition.as_str().as_bytes() == name)
    }

    /// The value of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::ItemNotFound => "item-not-found",
            Self::OtherRequest => "other-request",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::RemoteStreamError => "remote-stream-error",
            Self::SystemShutdown => "system-shutdown",
            Self::Undefined => "undefined-condition",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
