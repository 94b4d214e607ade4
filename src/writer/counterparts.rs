//! Contacts whose own lists a refresh concerns: what these say of the user, and how that is written.

use std::sync::Arc;

use futures_util::future::try_join_all;
use http::StatusCode;
use jid::BareJid;
use tracing::{debug, info, warn};

use super::{
    WriteError,
    call::SiteList,
    list::{Done, Refresh},
};
use crate::{
    backend::{ContactSource, FetchError},
    roster::{
        Contact, Subscription, Username,
        plan::{self, Changes, Held},
    },
};

/// Most contacts of one user whose own lists are looked at: each costs a fetch.
const MOST: usize = 100;
/// Of them, how many are fetched at once.
const FETCHED_AT_ONCE: usize = 8;

/// A contact whose own list is concerned.
pub(super) struct Counterpart {
    pub(super) jid: BareJid,
    pub(super) user: Username,
    /// The list, as the site has it: empty if it cannot be fetched.
    list: SiteList,
    pub(super) theirs: Theirs,
    pub(super) outcome: Outcome,
    /// The contact lets itself be seen, and wants to.
    is_mutual: bool,
}

/// What the contact's list says of the user.
pub(super) enum Theirs {
    Listed(Option<Contact>),
    /// The list cannot be fetched. The server's item counts, so that nobody sees more than before. The contact's own
    /// refresh, which is tried later, finds the difference.
    Held(Option<Subscription>, WriteError),
}

/// What has become of the item on the contact's list.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is as it should be, or left to the contact's own refresh.
    Unchanged,
    Written,
    Failed(WriteError),
}

impl Theirs {
    pub(super) fn subscription(&self) -> Option<Subscription> {
        match self {
            Self::Listed(item) => item.as_ref().map(|item| item.subscription),
            Self::Held(subscription, _) => *subscription,
        }
    }
}

/// Which items of a pair a refresh has written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    pub(super) own: bool,
    pub(super) theirs: bool,
}

impl Counterpart {
    /// Whether the user, who has it as `ours`, sees it.
    fn is_seen(&self, ours: Option<&Contact>) -> bool {
        ours.is_some_and(|ours| plan::agreed(ours.subscription, self.theirs.subscription()).is_to())
    }

    pub(super) fn is_written(&self) -> bool {
        matches!(self.outcome, Outcome::Written)
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl<S: ContactSource + 'static> Refresh<'_, S> {
    /// The contacts whose own lists are concerned, with what these say of the user.
    pub(super) async fn counterparts(
        &self,
        changes: &Changes,
        held: &Held,
    ) -> Result<Vec<Counterpart>, WriteError> {
        let domain = &self.rosters.domain;
        let mut all = changes.counterparts(held, domain);
        let mut concerned = all.by_ref().take(MOST).peekable();
        let mut counterparts = Vec::new();
        while concerned.peek().is_some() {
            let some = concerned.by_ref().take(FETCHED_AT_ONCE);
            counterparts.extend(try_join_all(some.map(|jid| self.counterpart(jid))).await?);
        }
        let more = all.count();
        if more > 0 {
            info!(user = %self.user, more, "many contacts change: the lists of some are left to their own refreshes");
        }
        Ok(counterparts.into_iter().flatten().collect())
    }

    async fn counterpart(&self, jid: &BareJid) -> Result<Option<Counterpart>, WriteError> {
        let (Some(node), Some(own)) = (jid.node(), self.rosters.jid(self.user)) else {
            return Ok(None);
        };
        let user = Username::from(node);
        let known = self.call.list(jid);
        let (list, theirs) = self.theirs(&user, jid, &own, known).await?;
        Ok(Some(Counterpart {
            jid: jid.clone(),
            user,
            list,
            theirs,
            outcome: Outcome::Unchanged,
            is_mutual: false,
        }))
    }

    /// What the contact's list says of the user: the list that is `known`, or as it is fetched now.
    async fn theirs(
        &self,
        contact: &Username,
        jid: &BareJid,
        own: &BareJid,
        known: Option<SiteList>,
    ) -> Result<(SiteList, Theirs), WriteError> {
        let unknown = self.rosters.site_list(contact);
        let fetched = match known {
            Some(list) => Ok(list),
            None => self.wanted(contact).await,
        };
        let error = match fetched {
            Ok(list) => {
                let theirs = list.roster.get(own.as_str()).cloned();
                return Ok((list, Theirs::Listed(theirs)));
            }
            // The site has no such user, who then lists nobody.
            Err(WriteError::Fetch(FetchError::Status { status }))
                if status == StatusCode::NOT_FOUND =>
            {
                self.call.keep(jid, &unknown);
                return Ok((unknown, Theirs::Listed(None)));
            }
            Err(error) => error,
        };
        let settings = self.settings;
        match settings.server.held(contact, settings.writing.own).await {
            Ok(held) => {
                let item = held.roster.get(own.as_str());
                let subscription = item.map(|item| item.subscription);
                Ok((unknown, Theirs::Held(subscription, error)))
            }
            Err(WriteError::NoSuchUser) => Ok((unknown, Theirs::Held(None, error))),
            Err(error) => Err(error),
        }
    }

    /// Whether there is somebody to show presence to. If that cannot be known, the lists matter more.
    pub(super) async fn introduces(&self) -> bool {
        let server = &self.settings.server;
        !self.settings.writing.dry_run
            && matches!(server.wants_introductions(self.user).await, Ok(true))
    }

    /// Writes the items that the contacts have of the user. `introduces` says that this one will [introduce](Self::introduce)
    /// them, so that none is left to others.
    pub(super) async fn write_counterparts(
        &self,
        counterparts: &mut [Counterpart],
        wanted: &SiteList,
        introduces: bool,
    ) {
        for counterpart in counterparts {
            let ours = wanted.roster.get(counterpart.jid.as_str());
            let introduces = introduces && counterpart.is_seen(ours);
            if !introduces && self.is_left_to_contact(counterpart, ours) {
                continue;
            }
            counterpart.outcome = match self.write_counterpart(counterpart, ours).await {
                Ok(Done::Written) => Outcome::Written,
                Ok(Done::Unchanged | Done::WouldWrite) => Outcome::Unchanged,
                // The list names somebody who has no account.
                Err(WriteError::NoSuchUser) => {
                    debug!(user = %self.user, contact = %counterpart.jid, "contact has no account");
                    Outcome::Unchanged
                }
                Err(error) => Outcome::Failed(error),
            };
        }
    }

    async fn write_counterpart(
        &self,
        counterpart: &mut Counterpart,
        ours: Option<&Contact>,
    ) -> Result<Done, WriteError> {
        let (Some(own), server) = (self.rosters.jid(self.user), &self.settings.server) else {
            return Ok(Done::Unchanged);
        };
        let Counterpart {
            jid,
            user,
            list,
            theirs,
            ..
        } = counterpart;
        let in_server = Arc::clone(&list.list);
        let mut latest = in_server.lock().await;
        if *latest > list.number {
            (*list, *theirs) = self.theirs(user, jid, &own, None).await?;
        }
        let whose = self.settings.writing.own;
        let held = server.held(user, whose).await?;
        let item = held.roster.get(own.as_str());
        if let Theirs::Held(subscription, _) = theirs {
            *subscription = item.map(|item| item.subscription);
        }
        let wanted = match theirs {
            Theirs::Listed(theirs) => theirs.clone(),
            Theirs::Held(..) => item.cloned(),
        };
        let wanted = wanted.map(|mut wanted| {
            let ours = ours.map(|ours| ours.subscription);
            wanted.subscription = plan::agreed(wanted.subscription, ours);
            server.adapt(&mut wanted);
            wanted
        });
        counterpart.is_mutual = wanted.as_ref().is_some_and(Contact::receives_presence);
        let changes = Changes::of_contact(&held, &own, wanted, whose);
        *latest = counterpart.list.number;
        self.write(&counterpart.user, &changes, &held).await
    }

    /// Whether the contact's own refresh, by the same call, writes the item as it has to be: both list each other, and the
    /// contact's list is heeded as it is.
    fn is_left_to_contact(&self, counterpart: &Counterpart, ours: Option<&Contact>) -> bool {
        let (Theirs::Listed(Some(theirs)), Some(ours)) = (&counterpart.theirs, ours) else {
            return false;
        };
        let agreed = plan::agreed(theirs.subscription, Some(ours.subscription));
        agreed == theirs.subscription && self.call.is_left_to(&counterpart.jid)
    }

    /// Lets those of whom both items are there see what the other publishes, if this refresh has written the later one.
    pub(super) async fn introduce(
        &self,
        counterparts: &[Counterpart],
        changes: &Changes,
        wanted: &SiteList,
    ) {
        let Some(own) = self.rosters.jid(self.user) else {
            return;
        };
        for counterpart in counterparts
            .iter()
            .filter(|it| it.is_mutual && !it.has_failed())
        {
            let contact = &counterpart.jid;
            if !counterpart.is_seen(wanted.roster.get(contact.as_str())) {
                continue;
            }
            let written = Pair {
                own: changes.concerns(contact),
                theirs: counterpart.is_written(),
            };
            let server = &self.settings.server;
            if let Err(error) = server.introduce(&own, contact, written).await {
                warn!(user = %self.user, %contact, %error, "contacts see each other's avatars later");
            }
        }
    }
}
