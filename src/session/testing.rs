//! Sessions for tests: nothing but a mailbox.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Command, Entry, Front, Origin, Protocol, Record};
use crate::clock::now;

/// A session of nobody, and its mailbox.
pub(super) fn session() -> (Entry, mpsc::Receiver<Box<Command>>) {
    let (mailbox, receiver) = mpsc::channel(1);
    let origin = Origin {
        address: ([127, 0, 0, 1], 1).into(),
        is_known: true,
        secure: false,
        protocol: Protocol::Http11,
    };
    let record = Record::new(1, "example.org", Front::Bosh, origin, now());
    let entry = Entry {
        mailbox,
        secure: origin.secure,
        record: Arc::new(record),
    };
    (entry, receiver)
}
