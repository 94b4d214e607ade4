//! Unfinished input: what has come of requests and messages that are not complete, and the bound on all of it. Does not
//! know what it is.
//!
//! Such input stays in memory until the rest has come. Most of it is short and does not count. Longer input is charged
//! to its sender's address. Nothing waits: when all together exceed the bound, the oldest of the address with the most
//! bytes is given up. So input that never ends displaces its like, and nobody else's.

use std::{collections::HashMap, fmt, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::{quota::network_of, wake_flag::WakeFlag};

/// Size up to which input does not count, bytes.
pub const SHORT: usize = 4 << 10;
/// Bound on all longer input together, bytes.
const ALL: usize = 32 << 20;

/// The input that is being read.
#[derive(Debug, Default)]
pub struct Unfinished(Mutex<Table>);

/// Told that its input has been given up. To be quick: the lock on all input is held.
pub trait GiveUp: Send + Sync {
    /// Forgets what has come, if it can do so at once, and has its reader stop.
    fn give_up(&self);
}

impl GiveUp for WakeFlag {
    fn give_up(&self) {
        self.wake();
    }
}

#[derive(Debug, Default)]
struct Table {
    size: usize,
    by_sender: HashMap<Sender, OfSender>,
    next_id: u64,
}

/// Whose input is counted together. Without a known address, each counts alone.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Sender {
    Address(IpAddr),
    Unknown(u64),
}

/// The unfinished input of one sender.
#[derive(Debug, Default)]
struct OfSender {
    size: usize,
    /// The oldest comes first.
    inputs: Vec<Input>,
}

struct Input {
    id: u64,
    size: usize,
    reader: Arc<dyn GiveUp>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, size) = (self.id, self.size);
        f.debug_struct("Input")
            .field("id", &id)
            .field("size", &size)
            .finish_non_exhaustive()
    }
}

/// Entry of one input; dropping it removes the entry.
#[derive(Debug)]
pub struct Charge {
    unfinished: Arc<Unfinished>,
    sender: Sender,
    id: u64,
    size: usize,
}

impl Unfinished {
    /// Adds an entry for input of the client at `address`, if that is known, without bytes yet.
    pub fn track(self: &Arc<Self>, address: Option<IpAddr>, reader: Arc<dyn GiveUp>) -> Charge {
        let mut all = self.0.lock();
        let id = all.next_id;
        all.next_id = id.wrapping_add(1);
        let sender = address.map_or(Sender::Unknown(id), |it| Sender::Address(network_of(it)));
        let of_sender = all.by_sender.entry(sender).or_default();
        of_sender.inputs.push(Input {
            id,
            size: 0,
            reader,
        });
        drop(all);
        Charge {
            unfinished: Arc::clone(self),
            sender,
            id,
            size: 0,
        }
    }
}

impl Table {
    fn remove(&mut self, sender: Sender, id: u64) -> Option<Arc<dyn GiveUp>> {
        let of_sender = self.by_sender.get_mut(&sender)?;
        let index = of_sender.inputs.iter().position(|it| it.id == id)?;
        let input = of_sender.inputs.remove(index);
        of_sender.size = of_sender.size.saturating_sub(input.size);
        self.size = self.size.saturating_sub(input.size);
        if of_sender.inputs.is_empty() {
            self.by_sender.remove(&sender);
        }
        Some(input.reader)
    }

    /// Charges one input for `more` bytes. While the bound is exceeded, gives up the oldest input of the sender with
    /// the most bytes, which may be this one.
    fn grow(&mut self, sender: Sender, id: u64, more: usize) {
        let Some(of_sender) = self.by_sender.get_mut(&sender) else {
            return;
        };
        let Some(input) = of_sender.inputs.iter_mut().find(|it| it.id == id) else {
            return;
        };
        input.size = input.size.saturating_add(more);
        of_sender.size = of_sender.size.saturating_add(more);
        self.size = self.size.saturating_add(more);
        while self.size > ALL
            && let Some((&sender, largest)) = self.by_sender.iter().max_by_key(|(_, it)| it.size)
            && let Some(first) = largest.inputs.first().map(|it| it.id)
            && let Some(reader) = self.remove(sender, first)
        {
            reader.give_up();
        }
    }
}

impl Charge {
    /// Bytes that it is charged for.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Charges the input for `size` bytes in all, if that is more than before.
    pub fn grow_to(&mut self, size: usize) {
        let more = size.saturating_sub(self.size);
        if more > 0 {
            self.unfinished.0.lock().grow(self.sender, self.id, more);
            self.size = size;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.unfinished.0.lock().remove(self.sender, self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Reader(AtomicBool);

    impl GiveUp for Reader {
        fn give_up(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    impl Reader {
        fn has_given_up(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn the_oldest_input_of_whoever_has_most_is_given_up() {
        let unfinished = Arc::<Unfinished>::default();
        let readers: [Arc<Reader>; 4] = Default::default();
        let [greedy, its_second, modest, unknown] = &readers;
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let track = |address, reader: &Arc<Reader>| {
            unfinished.track(address, Arc::<Reader>::clone(reader) as Arc<dyn GiveUp>)
        };
        let mut first = track(address(1), greedy);
        let mut second = track(address(1), its_second);
        let mut other = track(address(2), modest);
        let mut nobodys = track(None, unknown);
        first.grow_to(ALL / 4);
        second.grow_to(ALL / 4);
        other.grow_to(ALL / 4);
        nobodys.grow_to(ALL / 4);
        assert!(!readers.iter().any(|reader| reader.has_given_up()));
        other.grow_to(ALL / 4 + 1);
        let given_up = readers.iter().map(|reader| reader.has_given_up());
        assert_eq!(given_up.collect::<Vec<_>>(), [true, false, false, false]);
        drop((first, second, other, nobodys));
        let table = unfinished.0.lock();
        assert!(table.size == 0 && table.by_sender.is_empty());
    }
}
