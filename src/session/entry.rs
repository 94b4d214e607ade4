//! Entry: what the registries have of a session.

use std::sync::Arc;

use super::{Mailbox, Record};

/// Where a session is, and how it came about.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The way to it.
    pub mailbox: Mailbox,
    /// It was created over an encrypted connection.
    pub secure: bool,
    /// What is known of it.
    pub record: Arc<Record>,
}
