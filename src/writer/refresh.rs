//! Refresh of one user: fetches, compares and writes.
//!
//! What contacts have on their lists is written first (`counterparts`), the user's own list after that. So as long as
//! something is left to do, the own list differs from that of the site, and the next refresh finds it, whatever has
//! ended this one. Both lists say besides that the pair is open, until each has been refreshed: so the next refresh of
//! either finds it, even if the site has changed its mind meanwhile. If many contacts are concerned, that is done for some
//! of them after the other.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use jid::BareJid;
use tokio::time::Instant;

use super::{
    WriteError,
    call::SiteList,
    counterparts::{Concerned, Counterpart, Outcome, Theirs},
    list::{Done, LARGE, Refresh},
    pairs::{Pair, Words},
};
use crate::{
    backend::{ContactSource, off_thread},
    roster::{
        Roster,
        plan::{Changes, Held, is_local},
    },
};

/// Most contacts whose own lists are looked at before what has come of it is written.
const MOST: usize = 100;
/// How often a refresh begins again because its list has been written by a later answer meanwhile.
const MOST_OVERTAKEN: usize = 20;

/// Contacts whose own lists have been looked at.
#[derive(Debug, Default)]
struct Settled {
    /// What the lists say of each other.
    pairs: HashMap<BareJid, (Arc<Pair>, Words)>,
    /// Those whose lists could not be written: they stay as they are on the user's list, or lose presence.
    failed: HashSet<BareJid>,
    /// Those who had asked the user for presence, and whose items are written: the user's have to be written anew.
    asked: HashSet<BareJid>,
    failure: Option<WriteError>,
    /// An item on one of their lists was written.
    has_written: bool,
}

impl<S: ContactSource + 'static> Refresh<'_, S> {
    /// Runs it, in the user's turn.
    pub(super) async fn run(mut self) -> Result<Done, WriteError> {
        let mut wanted = match self.put.take() {
            Some(put) => put,
            None => self.wanted(self.user, &self.own, self.since).await?,
        };
        let mut unequal = self.unequal(&wanted.roster).await;
        let mut settled = Settled::default();
        let mut counterparts: Vec<Counterpart> = Vec::new();
        let mut introduces = false;
        let mut overtaken = 0;
        loop {
            let in_server = Arc::clone(&wanted.list);
            let mut latest = in_server.lock().await;
            if *latest > wanted.number {
                overtaken += 1;
                if overtaken > MOST_OVERTAKEN {
                    return Err(WriteError::Overtaken);
                }
                // Nobody overtakes this one.
                self.since = Instant::now();
                wanted = self.wanted(self.user, &self.own, self.since).await?;
                // What was written on their lists is outdated even where nothing differs on this one.
                unequal.extend(settled.take_outdated(&wanted.roster));
            }
            let (mut changes, held) = self.compare(&wanted, &settled).await?;
            // Before anything is written.
            self.guard(&changes, &held, &wanted.roster)?;
            let next = self.next(&changes, &held, &unequal, &settled);
            let (is_first, is_last) = (counterparts.is_empty(), next.is_empty());
            let mut done = Ok(Done::Unchanged);
            if is_last || !is_first && !self.settings.writing.dry_run {
                let mut unsettled = self.unsettled(&changes, &held, &settled);
                // Presence is taken away from whoever it may be, also if the other list cannot be written for long.
                unsettled.retain(|jid| {
                    !(settled.failed.contains(jid) && changes.takes_away(jid, &held))
                });
                changes.leave_out(|jid| unsettled.contains(jid));
                done = self.write(self.user, &changes, &held).await;
                *latest = wanted.number;
                if done.is_ok() {
                    settled.asked.clear();
                }
            }
            drop((latest, held));
            if introduces && matches!(done, Ok(_) | Err(WriteError::Partly { .. })) {
                self.introduce(&counterparts, &changes, &wanted).await;
            }
            if is_last {
                return settled.outcome(done);
            }
            settled.has_written |= matches!(done?, Done::Written);
            counterparts = self.counterparts(next).await?;
            introduces = self.introduces().await;
            self.leave(&mut counterparts, &wanted, introduces).await;
            self.open(&mut counterparts, &wanted).await?;
            self.write_counterparts(&mut counterparts, &wanted).await;
            for counterpart in &counterparts {
                self.settle(&mut settled, counterpart, &wanted);
            }
        }
    }

    /// What is to be changed on the own list, and what the server has of it.
    async fn compare(
        &self,
        wanted: &SiteList,
        settled: &Settled,
    ) -> Result<(Changes, Held), WriteError> {
        let own = self.settings.writing.own;
        let mut held = self.settings.server.held(self.user, own).await?;
        held.asked.extend(settled.asked.iter().cloned());
        let roster = Arc::clone(&wanted.roster);
        let is_large = roster.len().max(held.roster.len()) > LARGE;
        let compared = off_thread(is_large, move || {
            (Changes::between(&held, &roster, own), held)
        });
        let (mut changes, held) = compared.await?;
        changes.agree(&wanted.roster, &settled.pairs, |(pair, words)| {
            pair.latest(*words).theirs.says
        });
        changes.agree_unseen(&held, |jid| {
            !settled.has(jid) && !self.call.names(jid) && self.is_one_sided(jid)
        });
        for contact in &mut changes.writes {
            self.settings.server.adapt(contact);
        }
        changes.leave_out_what_is_held(&held);
        let is_closed = |jid: &&BareJid| {
            settled.pairs.contains_key(*jid) || !is_local(jid, &self.rosters.domain)
        };
        changes.closed = held.open.iter().filter(is_closed).cloned().collect();
        Ok((changes, held))
    }

    /// Remembers who of the two does not list the other, so as not to ask again soon.
    fn remember(&self, contact: &BareJid, words: Words) {
        let Words { ours, theirs } = words;
        let one_sided = &self.rosters.one_sided;
        for (owner, says, other, answer) in [
            (&self.own, ours, contact, theirs),
            (contact, theirs, &self.own, ours),
        ] {
            if says.says.is_some() && answer.says.is_none() && answer.number > 0 {
                one_sided.remember(owner, other);
            } else {
                one_sided.forget(owner, other);
            }
        }
    }

    /// Whether this contact did not list the user a while ago.
    fn is_one_sided(&self, contact: &BareJid) -> bool {
        self.rosters.one_sided.knows(&self.own, contact)
    }

    /// The next contacts whose own lists have to be looked at.
    fn next(
        &self,
        changes: &Changes,
        held: &Held,
        unequal: &[BareJid],
        settled: &Settled,
    ) -> Vec<Concerned> {
        let concerned = changes.counterparts(held, &self.rosters.domain);
        let open = held.open.iter();
        let open = open.filter(|jid| is_local(jid, &self.rosters.domain));
        let concerned = concerned.chain(unequal).chain(open);
        let concerned = concerned.filter(|jid| !settled.has(jid));
        let mut next = HashSet::new();
        concerned
            .filter(|jid| next.insert(*jid))
            .take(MOST)
            .map(|jid| Concerned::of(held, jid))
            .collect()
    }

    /// Contacts that are left as they are: their own lists could not be written, or have not been looked at yet.
    fn unsettled(&self, changes: &Changes, held: &Held, settled: &Settled) -> HashSet<BareJid> {
        let concerned = changes.counterparts(held, &self.rosters.domain);
        let unsettled = concerned.filter(|jid| !settled.pairs.contains_key(*jid));
        unsettled.cloned().collect()
    }

    /// Remembers what has come of a contact's list.
    fn settle(&self, settled: &mut Settled, counterpart: &Counterpart, wanted: &SiteList) {
        let contact = counterpart.jid.to_string();
        let pair = Arc::clone(&counterpart.pair);
        let words = counterpart.words(wanted);
        self.remember(&counterpart.jid, pair.latest(words));
        settled.has_written |= counterpart.is_written();
        if counterpart.has_asked {
            settled.asked.insert(counterpart.jid.clone());
        }
        match (&counterpart.outcome, &counterpart.theirs) {
            // The own list differs, or says that the pair is open: this refresh is tried again.
            (Outcome::Failed(cause), _) => {
                let cause = Box::new(cause.clone());
                settled.failure = Some(WriteError::Without { contact, cause });
                settled.failed.insert(counterpart.jid.clone());
                return;
            }
            (_, Theirs::Held(_, cause)) => {
                if cause.may_pass() {
                    self.rosters.try_later(&counterpart.user);
                }
                let cause = Box::new(cause.clone());
                let failure = WriteError::Counterpart { contact, cause };
                settled.failure.get_or_insert(failure);
            }
            _ => {}
        }
        settled.pairs.insert(counterpart.jid.clone(), (pair, words));
    }
}

impl Settled {
    fn has(&self, contact: &BareJid) -> bool {
        self.pairs.contains_key(contact) || self.failed.contains(contact)
    }

    /// Contacts whose lists have been looked at, and whom the user's list has otherwise `now`: they are to be looked at again.
    fn take_outdated(&mut self, now: &Roster) -> Vec<BareJid> {
        let outdated = self.pairs.extract_if(|jid, (pair, words)| {
            let now = now.get(jid.as_str()).map(|contact| contact.subscription);
            pair.latest(*words).ours.says != now
        });
        outdated.map(|(jid, _)| jid).collect()
    }

    /// What has come of the refresh, whose last write has ended like this.
    fn outcome(self, done: Result<Done, WriteError>) -> Result<Done, WriteError> {
        match (self.failure, done?) {
            (Some(failure), _) => Err(failure),
            (None, Done::Unchanged) if self.has_written => Ok(Done::Written),
            (None, done) => Ok(done),
        }
    }
}
