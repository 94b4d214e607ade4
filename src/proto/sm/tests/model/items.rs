//! What the messages are, and in which order they have to come.
//!
//! Both sides number their messages. What the gateway makes of one depends on its number alone: nothing, the same, or
//! two stanzas, which somebody would miss or nobody would. So everybody knows which stanza has to come after which.

use std::collections::BTreeSet;

/// A stanza that the gateway makes of a message: the number of the message, and which of them.
pub(super) type Item = (u32, u8);

/// How many stanzas the gateway makes of a message.
pub(super) fn count(number: u32) -> u8 {
    match number % 7 {
        0 | 5 => 0,
        3 => 2,
        _ => 1,
    }
}

/// Whether the client hears of it when the message is lost with the server: nobody misses a presence.
pub(super) fn is_missed(number: u32) -> bool {
    number % 7 != 6
}

/// The stanzas that the gateway makes of a message.
pub(super) fn made_of(number: u32) -> impl Iterator<Item = Item> {
    (0..count(number)).map(move |part| (number, part))
}

/// Reads an id that [`text_of`] wrote.
pub(super) fn parse(id: &str) -> Item {
    let (number, part) = id.split_once('.').unwrap();
    (number.parse().unwrap(), part.parse().unwrap())
}

/// The id of a stanza.
pub(super) fn text_of((number, part): Item) -> String {
    format!("{number}.{part}")
}

/// One side's view of what has come.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The next in order.
    next: Item,
    /// The next that has never come.
    new: Item,
    /// A new session has begun: it may repeat what the one before brought.
    may_repeat: bool,
}

impl Order {
    pub(super) fn new() -> Self {
        let first = first_from(1);
        Self {
            next: first,
            new: first,
            may_repeat: false,
        }
    }

    /// A new session has begun.
    pub(super) fn begin(&mut self) {
        self.may_repeat = true;
    }

    /// An item has come. None may be missing but those `excused`.
    pub(super) fn take(&mut self, item: Item, excused: &BTreeSet<Item>, to: &str) {
        if self.may_repeat {
            self.next = item.min(self.new);
        }
        while self.next != item && excused.contains(&self.next) {
            self.advance();
        }
        assert_eq!(item, self.next, "to the {to}, in order and once");
        self.may_repeat = false;
        self.advance();
    }

    /// What is missing before this one does not matter.
    pub(super) fn skip_to(&mut self, item: Item) {
        while self.next < item {
            self.advance();
        }
    }

    fn advance(&mut self) {
        self.next = after(self.next);
        self.new = self.new.max(self.next);
    }

    /// Whether everything that was made of a message has come.
    pub(super) fn has(&self, number: u32) -> bool {
        made_of(number).all(|item| item < self.new)
    }

    /// Whether an item has come.
    pub(super) fn has_item(&self, item: Item) -> bool {
        item < self.new
    }

    /// What came since then is expected again, as by a page that remembers less than it was shown.
    pub(super) fn go_back(&mut self, earlier: &Self) {
        (self.next, self.may_repeat) = (earlier.next, earlier.may_repeat);
    }
}

/// The item after this one.
fn after((number, part): Item) -> Item {
    match part + 1 {
        next if next < count(number) => (number, next),
        _ => first_from(number + 1),
    }
}

/// The first item of this message or a later one.
fn first_from(number: u32) -> Item {
    let number = (number..).find(|number| count(*number) > 0);
    (number.unwrap(), 0)
}
