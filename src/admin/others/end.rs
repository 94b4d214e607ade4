//! End of a user's sessions at other gateways.

use serde::{Deserialize, Serialize};

/// Which sessions are to end, of an account that is known by its domain and bare JID.
#[derive(Debug, Deserialize, Serialize)]
pub(in crate::admin) struct Ending {
    pub(in crate::admin) domain: String,
    pub(in crate::admin) jid: String,
    /// Prepared.
    pub(in crate::admin) resource: Option<String>,
    /// Their clients should log in again.
    pub(in crate::admin) again: bool,
}
