//! Web pages that use the session one after the other.
//!
//! Who leaves a page does not hang up: browsers keep pages asleep, with their requests, to show them again
//! (back/forward cache), and some proxies do not tell of a client that is gone. What is answered to such a
//! page is seen by nobody, and the next page, which has read sid and rid where the one before has left them,
//! goes on as if it had been. It looks the same as a page that has got its answer. So this rests on pages that
//! say who they are ([`Page`]).

use super::{BEHIND, Release, Session, Slot};
use crate::proto::bosh::{
    answered::Asked,
    body::{Document, Page, Request},
};

impl Session {
    /// `page` is there now. What others were sent and have not shown to have is sent again; what they wait for, they
    /// wait for in vain.
    pub(super) fn turn_to(&mut self, page: Option<Page>) {
        self.page = page.or(self.page);
        self.pending.put_back(self.deliveries.take_back(page));
        for held in &mut self.held {
            if Page::differ(held.asked.page, page) {
                held.release = Release::NowEmpty;
            }
        }
    }

    /// Whether a request is one by which a page that was asleep, while another went on, comes up to the present.
    pub(super) fn catches_up(&self, request: &Request) -> bool {
        let is_other = Page::differ(self.page, request.page) && !self.keys.is_used();
        is_other && request.rid <= self.last && self.last < request.rid.plus(BEHIND)
    }

    /// Whether a page that catches up has not come as far before.
    pub(super) fn is_progress(&self, request: &Request) -> bool {
        let last = self.behind.filter(|(_, asked)| asked.page == request.page);
        last.is_none_or(|(rid, _)| rid < request.rid)
    }

    /// Answers a page that catches up, with nothing: whatever its request has been answered with was for another.
    pub(super) fn lead_on(&mut self, request: Request, slot: Slot) {
        self.idle_since = None;
        self.responses.push_back((slot, Document::empty()));
        if self.is_progress(&request) {
            self.behind = Some((request.rid, Asked::by(&request)));
            self.queue_events(request.payload);
        }
    }

    /// Takes note of what the page of a request has, so that no other page is sent it again: all that it asked for
    /// before, if it asks for nothing else and nothing else is on its way; or what it could not have made this
    /// request without.
    pub(super) fn note_taken(&mut self, request: &Request, asks: bool) {
        if request.page.is_none() {
            return;
        }
        let distance = match asks && self.held.is_empty() {
            true => 1,
            false => self.window(request),
        };
        self.deliveries.taken(request.rid.minus(distance));
    }
}
