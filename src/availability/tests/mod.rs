//! Whatever happens, and however often the site's receiver fails: what it has heard is the truth.

mod queue;
mod several;
mod users;

use std::collections::BTreeSet;

use super::queue::{Event, Kind, Queue};
use crate::roster::Username;

/// A receiver that does what the documentation asks of it.
#[derive(Debug, Default)]
struct Receiver {
    last: u64,
    online: BTreeSet<Username>,
    /// Events that it has heard, or been told that it will not hear.
    accounted: u64,
    /// It has to ask who is available.
    must_ask: bool,
}

impl Receiver {
    /// Takes a batch, in which some events may be known already.
    fn take<'a>(&mut self, batch: impl Iterator<Item = &'a Event>) {
        for event in batch {
            if event.id <= self.last {
                continue;
            }
            // A batch whose answer did not come may have been heard, and be lost afterwards.
            self.accounted += match event.kind {
                Kind::Gap { lost } => lost.min(event.id - self.last),
                _ => 1,
            };
            self.last = event.id;
            match &event.kind {
                Kind::Reset => {
                    self.online.clear();
                    self.must_ask = false;
                }
                Kind::Online(user) => assert!(self.online.insert(user.clone()) || self.must_ask),
                Kind::Offline(user) => assert!(self.online.remove(user) || self.must_ask),
                Kind::Gap { .. } => self.must_ask = true,
            }
        }
    }

    /// Takes all that there is.
    fn take_all(&mut self, queue: &mut Queue) {
        while let Some(last) = queue.batch().last().map(|event| event.id) {
            self.take(queue.batch());
            queue.delivered(last);
        }
    }
}
