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
    /// The session id is not known yet. No answer can be given without it, even if the client wants one sooner
    /// (XEP-0124 "Session Creation Response").
    #[default]
    Awaited,
    /// These attributes go with the first answer.
    Ready(String),
    /// The client has the session id, or will never get it.
    Given,
}

impl Opening {
    /// The session id is known. The first answer gets these `attributes`, unless it has been given.
    pub(super) fn introduce(&mut self, attributes: impl FnOnce() -> String) {
        if !self.is_given() {
            *self = Self::Ready(attributes());
        }
    }

    /// Whether answers can be given.
    pub(super) fn is_introduced(&self) -> bool {
        !matches!(self, Self::Awaited)
    }

    /// Whether the creation request has been answered.
    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given)
    }

    /// Takes the attributes for the answer that is being given now; only the first has any.
    pub(super) fn take(&mut self) -> String {
        match std::mem::replace(self, Self::Given) {
            Self::Ready(attributes) => attributes,
            Self::Awaited | Self::Given => String::new(),
        }
    }
}
