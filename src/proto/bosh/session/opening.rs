//! Opening of a session: how far the answer to its creation request has come.

/// The answer to the creation request.
///
/// ```text
///             introduce            answered, or ended
///  Awaited --------------> Ready ---------------------> Given
///     |                                                   ^
///     +---------------------- ended ----------------------+
/// ```
#[derive(Debug, Default)]
pub(super) enum Opening {
    /// There is nothing to say yet: an answer to a creation has a session id, however little time the
    /// client gives it (XEP-0124 "Session Creation Response").
    #[default]
    Awaited,
    /// These attributes go with the first answer.
    Ready(String),
    /// The client has been told, or never will be.
    Given,
}

impl Opening {
    /// The session has a session id. `attributes` are written unless it is too late.
    pub(super) fn introduce(&mut self, attributes: impl FnOnce() -> String) {
        if !self.is_given() {
            *self = Self::Ready(attributes());
        }
    }

    /// Whether answers can be given.
    pub(super) fn is_introduced(&self) -> bool {
        !matches!(self, Self::Awaited)
    }

    /// Whether the client knows the session id, so that answers are nothing special any more.
    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given)
    }

    /// Takes the attributes for the answer that is being given now; most answers have none of these.
    pub(super) fn take(&mut self) -> String {
        match std::mem::replace(self, Self::Given) {
            Self::Ready(attributes) => attributes,
            Self::Awaited | Self::Given => String::new(),
        }
    }
}
