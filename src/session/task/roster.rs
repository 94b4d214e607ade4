//! Roster of a session: fetched when its client asks for it, and again until a fetch succeeds.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;

use super::Task;
use crate::{
    backend::{FetchError, http::Replaceable, refresh::Lease},
    pipe::identity::Identity,
    roster::Roster,
};

type Fetch = Pin<Box<dyn Future<Output = Result<Arc<Roster>, FetchError>> + Send>>;

/// The session's lease of a roster, and the fetch that it waits for.
pub(super) struct LeasedRoster {
    lease: Arc<Lease<Replaceable>>,
    fetch: Option<Fetch>,
    /// The client has been told that there is no roster, or has been given an old one.
    is_late: bool,
}

impl LeasedRoster {
    /// Fetches the roster while the client waits.
    fn fetch(&mut self) {
        self.is_late = false;
        self.fetch = Some(Box::pin(Arc::clone(&self.lease).need_patiently()));
    }

    /// Goes on fetching after a failure: the client does not ask again.
    fn keep_fetching(&mut self) {
        self.is_late = true;
        let roster = Arc::clone(&self.lease).need_at_last();
        self.fetch = Some(Box::pin(roster.map(Ok)));
    }

    /// The outcome of the fetch.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Roster>, FetchError>> {
        match &mut self.fetch {
            Some(fetch) => fetch.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Task {
    /// The client asks for its list.
    pub(super) fn need_roster(&mut self) {
        let Some(Ok(owner)) = self.pipe.identity().map(Identity::owner) else {
            return;
        };
        let Some(rosters) = &self.host.rosters else {
            return;
        };
        let leased = self.roster.get_or_insert_with(|| LeasedRoster {
            lease: Arc::new(rosters.join(owner.clone(), Arc::clone(&self.wake_flag))),
            fetch: None,
            is_late: false,
        });
        if let Some(roster) = leased.lease.current() {
            self.pipe.roster_ready(&roster);
        } else if leased.fetch.is_none() || leased.is_late {
            leased.fetch();
        }
    }

    /// The fetch has ended.
    pub(super) fn roster_fetched(&mut self, result: Result<Arc<Roster>, FetchError>) {
        if let Some(leased) = &mut self.roster {
            leased.fetch = None;
            if leased.lease.current().is_none() {
                leased.keep_fetching();
            }
        }
        match result {
            Ok(roster) => self.pipe.roster_ready(&roster),
            Err(_) => self.pipe.roster_failed(),
        }
    }

    /// The list may have changed.
    pub(super) fn roster_changed(&mut self) {
        let leased = self.roster.as_ref();
        if let Some(roster) = leased.and_then(|leased| leased.lease.current()) {
            self.pipe.roster_ready(&roster);
        }
    }
}
