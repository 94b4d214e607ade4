//! A refresh's work on one list, whoever's it is: how it is fetched from the site, and written into the server within what
//! the configuration allows.

use std::{fmt, sync::Arc};

use jid::BareJid;
use tokio::time::Instant;
use tracing::info;

use super::{
    Call, ServerRosters, Settings, WriteError,
    call::{Answer, SiteList, Unfetched},
};
use crate::{
    backend::{ContactSource, FetchError, Fetched, off_thread},
    roster::{
        Roster, Username,
        plan::{Changes, Held},
    },
};

/// Longest list that is compared on a thread of the runtime.
pub(super) const LARGE: usize = 1000;
/// Most contacts that the log names.
const NAMED_IN_LOG: usize = 10;

/// A refresh that has begun.
pub(super) struct Refresh<'a, S> {
    pub(super) rosters: &'a Arc<ServerRosters<S>>,
    pub(super) settings: &'a Settings,
    pub(super) user: &'a Username,
    /// The same user.
    pub(super) own: BareJid,
    pub(super) call: &'a Call,
    /// When the latest notification came: what was fetched before does not count.
    pub(super) since: Instant,
    /// The list, if the site has put it; otherwise it is fetched.
    pub(super) put: Option<SiteList>,
}

/// What has come of a refresh.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    /// The list was as it should be.
    Unchanged,
    /// `dry_run`
    WouldWrite,
    Written,
}

/// Changes, as the log shows them.
struct Summary {
    added: usize,
    changed: usize,
    removed: usize,
    first: Vec<String>,
}

impl Done {
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::WouldWrite => "dry_run",
            Self::Written => "written",
        }
    }
}

impl Summary {
    fn of(changes: &Changes, held: &Held) -> Self {
        let added = changes.additions(held);
        let written = changes.writes.iter().map(|it| format!("+{}", it.jid));
        let removed = changes.removals.iter().map(|jid| format!("-{jid}"));
        Self {
            added,
            changed: changes.writes.len() - added,
            removed: changes.removals.len(),
            first: written.chain(removed).take(NAMED_IN_LOG).collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            changed,
            removed,
            first,
        } = self;
        write!(f, "{added} added, {changed} changed, {removed} removed")?;
        write!(f, ": {}", first.join(" "))?;
        if added + changed + removed > first.len() {
            f.write_str(" …")?;
        }
        Ok(())
    }
}

impl<S: ContactSource + 'static> Refresh<'_, S> {
    /// The list that the site wants `user` to have, as it has come after `since`.
    pub(super) async fn wanted(&self, user: &Username, jid: &BareJid, since: Instant) -> Answer {
        self.call.list(jid, since, self.fetched(user)).await
    }

    /// The same, fetched now.
    async fn fetched(&self, user: &Username) -> Answer {
        let list = self.rosters.site_list(user);
        match self.roster(user).await {
            Ok(roster) => Ok(SiteList { roster, ..list }),
            Err(error) => Err(Unfetched {
                list,
                error: error.into(),
            }),
        }
    }

    async fn roster(&self, user: &Username) -> Result<Arc<Roster>, FetchError> {
        match self.rosters.fetch(user).await? {
            Fetched::New { contacts, room, .. } => {
                let is_large = contacts.len() > LARGE;
                let roster = off_thread(is_large, || Roster::new(contacts)).await?;
                drop(room);
                Ok(Arc::new(roster))
            }
            // Nothing was known that could be unchanged: the source is wrong.
            Fetched::Unchanged => Err(FetchError::Abandoned),
        }
    }

    /// What the configuration allows of the changes that make of what is held what is `wanted`.
    pub(super) fn guard(
        &self,
        changes: &Changes,
        held: &Held,
        wanted: &Roster,
    ) -> Result<(), WriteError> {
        let percent = self.settings.writing.max_removals;
        match changes.removes_too_many(percent, held, wanted) {
            Some((removals, held)) => Err(WriteError::TooManyRemovals { removals, held }),
            None => Ok(()),
        }
    }

    /// Writes a list, unless it is a dry run. What may be removed is up to the [`guard`](Self::guard).
    pub(super) async fn write(
        &self,
        user: &Username,
        changes: &Changes,
        held: &Held,
    ) -> Result<Done, WriteError> {
        if changes.is_empty() && !changes.has_pairs() {
            return Ok(Done::Unchanged);
        }
        let is_same = changes.is_empty();
        let summary = Summary::of(changes, held);
        if self.settings.writing.dry_run && is_same {
            return Ok(Done::Unchanged);
        }
        if self.settings.writing.dry_run {
            info!(%user, changes = %summary, "contact list would be written");
            return Ok(Done::WouldWrite);
        }
        let mut written = 0;
        let server = &self.settings.server;
        let outcome = server.write(user, changes, held, self.settings, &mut written);
        let outcome = outcome.await;
        let counted = u64::try_from(written).unwrap_or(u64::MAX);
        self.rosters.metrics.contacts_written.inc_by(counted);
        match outcome {
            Ok(()) if is_same => Ok(Done::Unchanged),
            Ok(()) => {
                info!(%user, changes = %summary, "contact list written");
                Ok(Done::Written)
            }
            Err(cause) if written > 0 => Err(WriteError::Partly {
                written,
                all: changes.len(),
                cause: Box::new(cause),
            }),
            Err(error) => Err(error),
        }
    }
}
