//! Deliveries: which stanzas the client is known to have (XEP-0124 "Acknowledgements"), and which it has to be sent
//! again.
//!
//! Two things are counted apart. *Confirmed* is what the client has by the rules of BOSH; the server is told of that.
//! *Taken* is what the page that asked has shown to have, where pages say who they are. A later page is sent what was
//! not taken, even if it counts as written.

use std::collections::VecDeque;

use crate::proto::{bosh::Rid, page::Page, stanza::Stanza};

/// Answers that are remembered one by one; beyond that, the oldest count as one.
const MAX_ANSWERS: usize = 64;
/// Most bytes of stanzas that are kept because pages have not taken them; those of the last answer are always kept.
const MAX_UNTAKEN: usize = 256 << 10;
/// How often a stanza is taken back. A user may leave several pages before any has shown what it has. But a client with
/// another name in each request would be sent the same for ever.
pub(super) const MAX_TIMES: u8 = 5;

/// How far delivery has come. Stanzas are counted in the order in which they were given to the session.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// Stanzas put into answers.
    written: u64,
    confirmed: u64,
    /// Answers that carried stanzas and are not confirmed.
    answers: VecDeque<Delivery>,
    /// Size of what pages have not taken, in bytes.
    size: usize,
    /// The stanzas that were taken back come first in what is pending: how often each of them was.
    again: VecDeque<u8>,
}

#[derive(Debug)]
struct Delivery {
    rid: Rid,
    /// How many stanzas had been put into answers after this one.
    written: u64,
    /// What it carried, until the page that asked for it has taken it.
    untaken: Option<Box<Untaken>>,
}

#[derive(Debug)]
struct Untaken {
    page: Page,
    /// The stanzas, each with how often it has been taken back.
    stanzas: VecDeque<(Stanza, u8)>,
    /// Their size, in bytes.
    size: usize,
}

impl Deliveries {
    /// The answer to `rid`, which `page` sent, carries `stanzas`.
    pub(super) fn answered(&mut self, rid: Rid, page: Option<Page>, stanzas: VecDeque<Stanza>) {
        if stanzas.is_empty() {
            return;
        }
        self.written = self.written.saturating_add(length(&stanzas));
        let known = self.again.len().min(stanzas.len());
        let times = self.again.drain(..known).chain(std::iter::repeat(0));
        let untaken = page.map(|page| {
            let size = stanzas.iter().map(Stanza::footprint).sum();
            let stanzas = stanzas.into_iter().zip(times).collect();
            Box::new(Untaken {
                page,
                stanzas,
                size,
            })
        });
        self.size = self.size.saturating_add(size(untaken.as_deref()));
        self.answers.push_back(Delivery {
            rid,
            written: self.written,
            untaken,
        });
        if self.answers.len() > MAX_ANSWERS {
            self.pop_front();
        }
        self.forget_surplus();
    }

    /// Forgets the oldest stanzas that pages have not taken, if they are too many: no other page is sent them.
    fn forget_surplus(&mut self) {
        let earlier = self.answers.len().saturating_sub(1);
        for answer in self.answers.iter_mut().take(earlier) {
            if self.size <= MAX_UNTAKEN {
                break;
            }
            let forgotten = answer.untaken.take();
            self.size = self.size.saturating_sub(size(forgotten.as_deref()));
        }
    }

    fn pop_front(&mut self) {
        let answer = self.answers.pop_front();
        let untaken = answer.and_then(|answer| answer.untaken);
        self.size = self.size.saturating_sub(size(untaken.as_deref()));
    }

    /// The client has the answers to `rid` and to all requests before it.
    pub(super) fn confirm(&mut self, rid: Rid) {
        while let Some(first) = self.answers.front()
            && first.rid <= rid
        {
            self.confirmed = first.written;
            self.pop_front();
        }
    }

    /// The page has the answers to `rid` and to all requests before it: no other page is sent what they carried.
    pub(super) fn taken(&mut self, rid: Rid) {
        let answers = self.answers.iter_mut();
        for answer in answers.take_while(|answer| answer.rid <= rid) {
            let taken = answer.untaken.take();
            self.size = self.size.saturating_sub(size(taken.as_deref()));
        }
    }

    /// Takes back the last answers that pages other than `page` have not taken, and gives their stanzas, in order: they
    /// are to be sent again. A stanza that has been taken back too often counts as taken.
    pub(super) fn take_back(&mut self, page: Option<Page>) -> VecDeque<Stanza> {
        let mut stanzas = VecDeque::new();
        let mut last = None;
        let is_lost = |answer: &mut Delivery| {
            let untaken = answer.untaken.as_ref();
            untaken.is_some_and(|untaken| Page::differ(Some(untaken.page), page))
        };
        while let Some(answer) = self.answers.pop_back_if(is_lost) {
            last.get_or_insert(answer.rid);
            self.size = self.size.saturating_sub(size(answer.untaken.as_deref()));
            let mut earlier = answer.untaken.map(|it| it.stanzas).unwrap_or_default();
            self.written = self.written.saturating_sub(length(&earlier));
            earlier.append(&mut stanzas);
            stanzas = earlier;
        }
        let is_settled = |(_, times): &mut (Stanza, u8)| *times >= MAX_TIMES;
        while stanzas.pop_front_if(is_settled).is_some() {
            self.settle(last);
        }
        let times = stanzas.iter().map(|(_, times)| times.saturating_add(1));
        self.again = times.chain(self.again.drain(..)).collect();
        stanzas.into_iter().map(|(stanza, _)| stanza).collect()
    }

    /// Counts one more stanza as written, by the answer to `rid`.
    fn settle(&mut self, rid: Option<Rid>) {
        self.written = self.written.saturating_add(1);
        match self.answers.back_mut() {
            Some(answer) if Some(answer.rid) == rid => answer.written = self.written,
            _ => self.answers.extend(rid.map(|rid| Delivery {
                rid,
                written: self.written,
                untaken: None,
            })),
        }
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

fn size(untaken: Option<&Untaken>) -> usize {
    untaken.map_or(0, |untaken| untaken.size)
}

fn length<T>(stanzas: &VecDeque<T>) -> u64 {
    u64::try_from(stanzas.len()).unwrap_or(u64::MAX)
}
