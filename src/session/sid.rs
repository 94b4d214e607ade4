//! Session id: the secret that names a session. A client shows nothing else to prove that the session is its own.

use std::{borrow::Borrow, fmt, sync::Arc};

/// A session id: 128 random bits (XEP-0124 "Session Creation Response").
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Sid(Arc<str>);

impl Sid {
    /// A new one.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes)).into()))
    }

    /// The id itself: a secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sid {
    /// As much as identifies it in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..8).unwrap_or_default())
    }
}

impl Borrow<str> for Sid {
    fn borrow(&self) -> &str {
        self.expose()
    }
}
