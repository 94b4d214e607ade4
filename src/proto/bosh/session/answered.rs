//! Answers that were given lately, kept for clients that have lost theirs (XEP-0124 "Broken Connections",
//! "Acknowledgements").

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::proto::{
    bosh::{
        Rid,
        body::{Document, Request},
    },
    page::Page,
};

/// Most answers, and most bytes of them, that are kept for a client that acknowledges and has not acknowledged them.
const MAX_ANSWERS: u64 = 16;
const MAX_SIZE: usize = 256 << 10;

/// What is remembered of a request, to compare with one that comes again with the same rid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) digest: u64,
    /// It carried nothing, so it only asked for an answer.
    pub(super) empty: bool,
    pub(super) page: Option<Page>,
}

impl Asked {
    /// Of no request that was ever made.
    pub(super) const NOTHING: Self = Self {
        digest: 0,
        empty: false,
        page: None,
    };

    pub(super) fn by(request: &Request) -> Self {
        let is_plain = !request.restart && !request.terminate && request.pause.is_none();
        Self {
            digest: request.digest,
            empty: is_plain && request.payload.is_empty(),
            page: request.page,
        }
    }
}

/// An answer that was given.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) rid: Rid,
    /// Of the request.
    pub(super) asked: Asked,
    pub(super) document: Document,
    pub(super) at: Instant,
}

/// An answer that the client should have had (XEP-0124 "Response Acknowledgements").
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) rid: Rid,
    pub(super) answered_at: Instant,
}

/// Answers in the order of their rids.
#[derive(Debug, Default)]
pub(super) struct AnswerCache {
    answers: VecDeque<Answered>,
    /// Sum of their sizes, bytes.
    size: usize,
    /// The latest answer that has been reported; each is reported once.
    reported: Option<Rid>,
    /// An answer that the client seems to lack, to be told with the next one.
    report: Option<Report>,
}

impl AnswerCache {
    pub(super) fn get(&self, rid: Rid) -> Option<&Answered> {
        self.answers.iter().find(|answered| answered.rid == rid)
    }

    pub(super) fn get_mut(&mut self, rid: Rid) -> Option<&mut Answered> {
        self.answers.iter_mut().find(|answered| answered.rid == rid)
    }

    /// Keeps another answer to `rid`.
    pub(super) fn replace(&mut self, rid: Rid, document: Document) {
        let size = document.size();
        if let Some(answered) = self.get_mut(rid) {
            let former = std::mem::replace(&mut answered.document, document);
            self.size = self.size.saturating_sub(former.size()).saturating_add(size);
        }
    }

    /// Keeps the last `window` answers at least, and more of them for a client that acknowledges.
    pub(super) fn push(&mut self, answer: Answered, window: u64, acks: bool) {
        self.size = self.size.saturating_add(answer.document.size());
        // Two are usual: no room for more.
        self.answers.reserve_exact(1);
        self.answers.push_back(answer);
        while self.answers.len() as u64 > window
            && (!acks || self.answers.len() as u64 > MAX_ANSWERS || self.size > MAX_SIZE)
        {
            self.pop();
        }
    }

    /// The client has the answers up to `rid`.
    pub(super) fn acknowledge(&mut self, rid: Rid) {
        while self.answers.front().is_some_and(|first| first.rid <= rid) {
            self.pop();
        }
    }

    /// Looks whether the client seems to lack the answer after the one to `ack`: one that was given more than `grace`
    /// ago and is still kept.
    pub(super) fn look_for_loss(&mut self, ack: Rid, grace: Duration, now: Instant) {
        let missing = self.get(ack.plus(1));
        let late = missing.filter(|it| now.saturating_duration_since(it.at) >= grace);
        self.report = late
            .filter(|it| self.reported < Some(it.rid))
            .map(|it| Report {
                rid: it.rid,
                answered_at: it.at,
            });
        self.reported = self.report.map(|it| it.rid).or(self.reported);
    }

    /// Whether the client seems to lack an answer and is to be told.
    pub(super) fn has_report(&self) -> bool {
        self.report.is_some()
    }

    /// Takes what the client is to be told of an answer that it seems to lack.
    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.report.take()
    }

    fn pop(&mut self) {
        if let Some(answered) = self.answers.pop_front() {
            self.size = self.size.saturating_sub(answered.document.size());
        }
    }
}
