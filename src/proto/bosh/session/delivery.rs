//! Which stanzas the client is known to have (XEP-0124 "Acknowledgements").

use std::collections::VecDeque;

use crate::proto::{
    bosh::{Rid, body::Page},
    stanza::Stanza,
};

/// Answers remembered one by one; beyond that, the oldest count as one.
const MAX_ANSWERS: usize = 64;
/// What it may take to keep what pages have not shown to have, bytes; the last answer is kept in any case.
const MAX_UNTAKEN: usize = 256 << 10;
/// How often a stanza is taken back. Somebody may walk on before a page has shown what it has, but a name that is
/// another in each request is none of a page.
pub(super) const TIMES: u8 = 5;

/// How far delivery has come. Stanzas are counted in the order in which they were given to the session.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// Stanzas put into answers.
    written: u64,
    confirmed: u64,
    /// Answers that carried stanzas and are not confirmed.
    answers: VecDeque<Delivery>,
    /// What it takes to keep what pages have not shown to have, bytes.
    size: usize,
    /// How often the stanzas that are given next have been taken back, as far as they have been.
    again: VecDeque<u8>,
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
    /// With how often each has been taken back.
    stanzas: VecDeque<(Stanza, u8)>,
    /// What it takes to keep them, bytes.
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

    /// Lets the oldest of what pages have not shown to have count as given, where it is too much.
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

    /// The page has the answers to `rid` and to all requests before it: nothing of them is given again.
    pub(super) fn taken(&mut self, rid: Rid) {
        let answers = self.answers.iter_mut();
        for answer in answers.take_while(|answer| answer.rid <= rid) {
            let taken = answer.untaken.take();
            self.size = self.size.saturating_sub(size(taken.as_deref()));
        }
    }

    /// Takes back the last answers that other pages than `page` have not shown to have: their stanzas, in order,
    /// count as not yet given. What has been taken back too often counts as given.
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
        let is_settled = |(_, times): &mut (Stanza, u8)| *times >= TIMES;
        while stanzas.pop_front_if(is_settled).is_some() {
            self.settle(last);
        }
        let times = stanzas.iter().map(|(_, times)| times.saturating_add(1));
        self.again = times.chain(self.again.drain(..)).collect();
        stanzas.into_iter().map(|(stanza, _)| stanza).collect()
    }

    /// Lets one stanza more count as given, by the answer to `rid`.
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
