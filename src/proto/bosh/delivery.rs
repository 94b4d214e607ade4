//! Which stanzas the client is known to have (XEP-0124 "Acknowledgements").

use std::collections::VecDeque;

use super::{Rid, body::Page};
use crate::proto::stanza::Stanza;

/// Answers remembered one by one; beyond that, the oldest count as one.
const MAX_ANSWERS: usize = 64;

/// How far delivery has come. Stanzas are counted in the order in which they were given to the session.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// Stanzas put into answers.
    written: u64,
    confirmed: u64,
    /// Answers that carried stanzas and are not confirmed.
    answers: VecDeque<Delivery>,
}

#[derive(Debug)]
struct Delivery {
    rid: Rid,
    /// How many stanzas had been put into answers after this one.
    written: u64,
    /// What it carried, until the page that asked for it has shown that it has it.
    untaken: Option<Box<Untaken>>,
}

#[derive(Debug)]
struct Untaken {
    page: Page,
    stanzas: VecDeque<Stanza>,
}

impl Deliveries {
    /// The answer to `rid`, which `page` sent, carries `stanzas`.
    pub(super) fn answered(&mut self, rid: Rid, page: Option<Page>, stanzas: VecDeque<Stanza>) {
        if stanzas.is_empty() {
            return;
        }
        self.written = self.written.saturating_add(length(&stanzas));
        self.answers.push_back(Delivery {
            rid,
            written: self.written,
            untaken: page.map(|page| Box::new(Untaken { page, stanzas })),
        });
        if self.answers.len() > MAX_ANSWERS {
            self.answers.pop_front();
        }
    }

    /// The client has the answers to `rid` and to all requests before it.
    pub(super) fn confirm(&mut self, rid: Rid) {
        while let Some(first) = self.answers.front()
            && first.rid <= rid
        {
            self.confirmed = first.written;
            self.answers.pop_front();
        }
    }

    /// The page has the answers to `rid` and to all requests before it: nothing of them is given again.
    pub(super) fn taken(&mut self, rid: Rid) {
        let answers = self.answers.iter_mut();
        for answer in answers.take_while(|answer| answer.rid <= rid) {
            answer.untaken = None;
        }
    }

    /// Takes back the last answers that other pages than `page` have not shown to have: their stanzas, in order,
    /// count as not yet given.
    pub(super) fn take_back(&mut self, page: Option<Page>) -> VecDeque<Stanza> {
        let mut stanzas = VecDeque::new();
        let is_lost = |answer: &mut Delivery| {
            let untaken = answer.untaken.as_ref();
            untaken.is_some_and(|untaken| Page::differ(Some(untaken.page), page))
        };
        while let Some(answer) = self.answers.pop_back_if(is_lost) {
            let mut earlier = answer.untaken.map(|it| it.stanzas).unwrap_or_default();
            self.written = self.written.saturating_sub(length(&earlier));
            earlier.append(&mut stanzas);
            stanzas = earlier;
        }
        stanzas
    }

    /// How many stanzas have been put into answers.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// How many stanzas the client is known to have.
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }
}

fn length(stanzas: &VecDeque<Stanza>) -> u64 {
    u64::try_from(stanzas.len()).unwrap_or(u64::MAX)
}
