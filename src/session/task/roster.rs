//! The contact list of a session: fetched when its client asks for it.

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

type Needing = Pin<Box<dyn Future<Output = Result<Arc<Roster>, FetchError>> + Send>>;

/// A share in a contact list, and the fetch that the session waits for.
pub(super) struct RosterNeed {
    lease: Arc<Lease<Replaceable>>,
    needing: Option<Needing>,
    /// The client has been told that there is none, or an old one.
    is_late: bool,
}

impl RosterNeed {
    /// Fetches it while the client waits.
    fn ask(&mut self) {
        self.is_late = false;
        self.needing = Some(Box::pin(Arc::clone(&self.lease).need_patiently()));
    }

    /// Goes on trying: the client does not ask again.
    fn keep_asking(&mut self) {
        self.is_late = true;
        let roster = Arc::clone(&self.lease).need_at_last();
        self.needing = Some(Box::pin(roster.map(Ok)));
    }

    /// The outcome of a fetch that was waited for.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Roster>, FetchError>> {
        match &mut self.needing {
            Some(needing) => needing.as_mut().poll(cx),
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
        let need = self.roster.get_or_insert_with(|| RosterNeed {
            lease: Arc::new(rosters.join(owner.clone(), Arc::clone(&self.wake_flag))),
            needing: None,
            is_late: false,
        });
        if let Some(roster) = need.lease.current() {
            self.pipe.roster_ready(&roster);
        } else if need.needing.is_none() || need.is_late {
            need.ask();
        }
    }
    /// The fetch that was waited for has ended.
    pub(super) fn roster_fetched(&mut self, result: Result<Arc<Roster>, FetchError>) {
        if let Some(need) = &mut self.roster {
            need.needing = None;
            if need.lease.current().is_none() {
                need.keep_asking();
            }
        }
        match result {
            Ok(roster) => self.pipe.roster_ready(&roster),
            Err(_) => self.pipe.roster_failed(),
        }
    }

    /// The list may have changed.
    pub(super) fn roster_changed(&mut self) {
        if let Some(roster) = self.roster.as_ref().and_then(|need| need.lease.current()) {
            self.pipe.roster_ready(&roster);
        }
    }
}
