//! Unconfirmed messages: those that a client has been given and has not confirmed, and how much room they take.

use std::collections::VecDeque;

use crate::proto::handover::Unconfirmed;

/// The messages, in the order in which the client was given them.
#[derive(Debug, Default)]
pub(super) struct KeptMessages {
    messages: VecDeque<Kept>,
    /// The size of all messages that have ever been kept, bytes, modulo the size of the number.
    total: usize,
}

#[derive(Debug)]
struct Kept {
    message: Unconfirmed,
    /// [`KeptMessages::total`] before this one was added.
    before: usize,
}

impl KeptMessages {
    /// Keeps a message that the client was given after all others.
    pub(super) fn push(&mut self, message: Unconfirmed) {
        let before = self.total;
        self.total = before.wrapping_add(message.stanza.footprint());
        self.messages.push_back(Kept { message, before });
    }

    /// The client has the first `confirmed` stanzas.
    pub(super) fn confirm(&mut self, confirmed: u64) {
        while let Some(first) = self.messages.front()
            && first.message.given <= confirmed
        {
            self.messages.pop_front();
        }
        if self.messages.is_empty() {
            // Most sessions are idle most of the time, and then take no room for that.
            self.messages = VecDeque::new();
        }
    }

    /// Size of those among the first `written` stanzas, in bytes.
    ///
    /// Every poll of the session asks for this, so it is a difference of two running totals. A sum could not be kept
    /// up to date: `written` goes back when the client is sent something again.
    pub(super) fn size(&self, written: u64) -> usize {
        let (Some(first), Some(last)) = (self.messages.front(), self.messages.back()) else {
            return 0;
        };
        let is_sent = |kept: &Kept| kept.message.given <= written;
        let end = match is_sent(last) {
            // As it mostly is: nothing is searched for.
            true => self.total,
            false => self
                .messages
                .get(self.messages.partition_point(is_sent))
                .map_or(self.total, |it| it.before),
        };
        end.wrapping_sub(first.before)
    }

    /// Takes them all.
    pub(super) fn take(&mut self) -> VecDeque<Unconfirmed> {
        let messages = std::mem::take(&mut self.messages);
        messages.into_iter().map(|kept| kept.message).collect()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests")]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::proto::stanza::Stanza;

    fn message(given: u64, length: usize) -> Unconfirmed {
        let text = format!("<message><body>{}</body></message>", "x".repeat(length));
        Unconfirmed {
            given,
            stanza: Stanza::parse(text).unwrap(),
            received: Instant::now(),
            noted: None,
        }
    }

    /// What happens to the messages.
    #[derive(Clone, Debug)]
    enum Step {
        /// A message of this length comes, after so many other stanzas.
        Push(u64, usize),
        Confirm(u64),
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0..3_u64, 0..100_usize).prop_map(|(others, length)| Step::Push(others, length)),
            4 => (0..60_u64).prop_map(Step::Confirm),
            1 => Just(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn the_size_is_the_sum_of_what_was_sent(
            steps in prop::collection::vec(step(), 0..40),
            start in prop_oneof![Just(0_usize), Just(usize::MAX - 1000)],
        ) {
            let mut kept = KeptMessages { total: start, ..KeptMessages::default() };
            let mut model = VecDeque::<Unconfirmed>::new();
            let mut given = 0;
            for step in steps {
                match step {
                    Step::Push(others, length) => {
                        given += others + 1;
                        let message = message(given, length);
                        model.push_back(message.clone());
                        kept.push(message);
                    }
                    Step::Confirm(confirmed) => {
                        model.retain(|message| message.given > confirmed);
                        kept.confirm(confirmed);
                    }
                    Step::Take => {
                        let taken = kept.take().into_iter().map(|it| it.given);
                        let all = std::mem::take(&mut model).into_iter().map(|it| it.given);
                        prop_assert!(taken.eq(all));
                    }
                }
                for written in 0..=given {
                    let sent = model.iter().filter(|message| message.given <= written);
                    let sum: usize = sent.map(|message| message.stanza.footprint()).sum();
                    prop_assert_eq!(kept.size(written), sum);
                }
            }
        }
    }
}
