//! Refresh of one user: fetches, compares and writes.
//!
//! What contacts have on their lists is written first (`counterparts`), the user's own list after that. So as long as
//! something is left to do, the own list differs from that of the site, and the next refresh finds it, whatever has
//! ended this one.

use std::{collections::HashSet, sync::Arc};

use jid::BareJid;
use tokio::sync::MutexGuard;

use super::{
    WriteError,
    call::SiteList,
    counterparts::{Counterpart, Outcome, Theirs},
    list::{Done, LARGE, Refresh},
    turns::Latest,
};
use crate::{
    backend::{ContactSource, FetchError, off_thread},
    roster::plan::{Changes, Held},
};

/// How often a list is fetched again because another refresh has had a later answer.
const ATTEMPTS: usize = 3;

impl<S: ContactSource + 'static> Refresh<'_, S> {
    /// Runs it, in the user's turn.
    pub(super) async fn run(self) -> Result<Done, WriteError> {
        if self.put.is_some() {
            // A list that is outdated is that of before a later answer, which counts.
            return Ok(self.attempt().await?.unwrap_or(Done::Unchanged));
        }
        for _ in 0..ATTEMPTS {
            if let Some(done) = self.attempt().await? {
                return Ok(done);
            }
        }
        Err(FetchError::Abandoned.into())
    }

    /// `None` if the answer of the site is outdated before it is written.
    async fn attempt(&self) -> Result<Option<Done>, WriteError> {
        let wanted = match &self.put {
            Some(put) => put.clone(),
            None => self.wanted(self.user).await?,
        };
        let Some(mut latest) = current(&wanted).await else {
            return Ok(None);
        };
        let (mut changes, mut held) = self.compare(&wanted).await?;
        let mut counterparts = self.counterparts(&changes, &held).await?;
        let introduces = !counterparts.is_empty() && self.introduces().await;
        let own_done = if counterparts.is_empty() {
            self.write(self.user, &changes, &held).await
        } else {
            // Before anything is written.
            self.guard(&changes, &held)?;
            let concerned = self.concerned(&changes, &held);
            drop((latest, held));
            self.write_counterparts(&mut counterparts, &wanted, introduces)
                .await;
            let Some(again) = current(&wanted).await else {
                return Ok(None);
            };
            latest = again;
            (changes, held) = self.compare(&wanted).await?;
            self.settle(&mut changes, &held, &counterparts, &concerned);
            self.write(self.user, &changes, &held).await
        };
        *latest = wanted.number;
        drop((latest, held));
        if introduces && matches!(own_done, Ok(_) | Err(WriteError::Partly { .. })) {
            self.introduce(&counterparts, &changes, &wanted).await;
        }
        let has_written = counterparts.iter().any(Counterpart::is_written);
        self.outcome(counterparts)?;
        let done = own_done?;
        Ok(Some(match done {
            Done::Unchanged if has_written => Done::Written,
            done => done,
        }))
    }

    /// What is to be changed on the own list, and what the server has of it.
    async fn compare(&self, wanted: &SiteList) -> Result<(Changes, Held), WriteError> {
        let own = self.settings.writing.own;
        let held = self.settings.server.held(self.user, own).await?;
        let wanted = Arc::clone(&wanted.roster);
        let is_large = wanted.len().max(held.roster.len()) > LARGE;
        let compared = off_thread(is_large, move || {
            (Changes::between(&held, &wanted, own), held)
        });
        let (mut changes, held) = compared.await?;
        for contact in &mut changes.writes {
            self.settings.server.adapt(contact);
        }
        changes.leave_out_what_is_held(&held);
        Ok((changes, held))
    }

    fn concerned(&self, changes: &Changes, held: &Held) -> HashSet<BareJid> {
        let concerned = changes.counterparts(held, &self.rosters.domain);
        concerned.cloned().collect()
    }

    /// Makes the changes of the own list agree with the lists of the contacts, as they have been written.
    fn settle(
        &self,
        changes: &mut Changes,
        held: &Held,
        counterparts: &[Counterpart],
        concerned: &HashSet<BareJid>,
    ) {
        for counterpart in counterparts {
            changes.agree(&counterpart.jid, counterpart.theirs.subscription());
        }
        changes.leave_out_what_is_held(held);
        let of_failed = counterparts.iter().filter(|it| it.has_failed());
        let mut kept: HashSet<_> = of_failed.map(|it| it.jid.clone()).collect();
        // Somebody has changed the list meanwhile.
        let now = self.concerned(changes, held);
        let new: Vec<_> = now.difference(concerned).cloned().collect();
        if !new.is_empty() {
            self.rosters.try_later(self.user);
        }
        kept.extend(new);
        changes.leave_out(|jid| kept.contains(jid));
    }

    /// What has come of the contacts' lists.
    fn outcome(&self, counterparts: Vec<Counterpart>) -> Result<(), WriteError> {
        let mut failure = None;
        for counterpart in counterparts {
            let contact = counterpart.jid.to_string();
            match (counterpart.outcome, counterpart.theirs) {
                // The own list differs: this refresh is tried again.
                (Outcome::Failed(cause), _) => {
                    let cause = Box::new(cause);
                    failure = Some(WriteError::Without { contact, cause });
                }
                (_, Theirs::Held(_, cause)) => {
                    if cause.may_pass() {
                        self.rosters.try_later(&counterpart.user);
                    }
                    let cause = Box::new(cause);
                    failure = failure.or(Some(WriteError::Counterpart { contact, cause }));
                }
                _ => {}
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The list in the server, unless it was written by a later answer of the site.
async fn current(wanted: &SiteList) -> Option<MutexGuard<'_, Latest>> {
    let latest = wanted.list.lock().await;
    (*latest <= wanted.number).then_some(latest)
}
