//! Contacts whose own lists a refresh concerns: what these say of the user, and how that is written.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, future::ready, stream};
use http::StatusCode;
use jid::BareJid;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    WriteError,
    call::{SiteList, Unfetched},
    list::{Done, Refresh},
    pairs::{Pair, Word, Words},
    turns::Latest,
};
use crate::{
    backend::{ContactSource, FetchError},
    roster::{
        Contact, Roster, Subscription, Username,
        plan::{self, Changes, Held, is_local},
    },
};

/// Most lists of contacts that a refresh fetches at once.
const FETCHED_AT_ONCE: usize = 8;

/// A contact whose own list has to be looked at.
pub(super) struct Concerned {
    jid: BareJid,
    /// What the user's list in the server says.
    held: Option<Subscription>,
    is_asked: bool,
}

impl Concerned {
    pub(super) fn of(held: &Held, jid: &BareJid) -> Self {
        let item = held.roster.get(jid.as_str());
        Self {
            jid: jid.clone(),
            held: item.map(|item| item.subscription),
            is_asked: held.asked.contains(jid),
        }
    }
}

/// A contact whose own list is concerned.
pub(super) struct Counterpart {
    pub(super) jid: BareJid,
    pub(super) user: Username,
    pub(super) pair: Arc<Pair>,
    /// The list, as the site has it: empty if it cannot be fetched.
    list: SiteList,
    pub(super) theirs: Theirs,
    pub(super) outcome: Outcome,
    /// What the user's list in the server says.
    held: Option<Subscription>,
    /// The user has asked the contact for presence, or the other way round.
    is_asked: bool,
    /// The contact has asked, and the item that says so is written.
    pub(super) has_asked: bool,
    /// The item on this list is left to the contact's own refresh.
    is_left: bool,
    /// What is written on this list is half of it.
    is_half: bool,
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
pub(super) struct Written {
    pub(super) own: bool,
    pub(super) theirs: bool,
}

impl Counterpart {
    /// Whether the user, who has it as `ours`, sees it.
    fn is_seen(&self, ours: Option<&Contact>) -> bool {
        ours.is_some_and(|ours| plan::agreed(ours.subscription, self.theirs.subscription()).is_to())
    }

    /// What both lists say of each other, as far as this refresh knows; `wanted` is the user's.
    pub(super) fn words(&self, wanted: &SiteList) -> Words {
        let ours = wanted.roster.get(self.jid.as_str());
        let number = match &self.theirs {
            Theirs::Listed(_) => self.list.number,
            Theirs::Held(..) => 0,
        };
        Words {
            ours: Word {
                number: wanted.number,
                says: ours.map(|ours| ours.subscription),
            },
            theirs: Word {
                number,
                says: self.theirs.subscription(),
            },
        }
    }

    /// Whether an item on this list, or of the pair, was written by a later answer than the one that is known here.
    fn is_overtaken(&self, latest: Latest) -> bool {
        let known = self.pair.latest(Words::default());
        known.theirs.number.max(latest) > self.list.number
    }

    pub(super) fn is_written(&self) -> bool {
        matches!(self.outcome, Outcome::Written)
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

impl<S: ContactSource + 'static> Refresh<'_, S> {
    /// Contacts on the list whom the call names as well, and whose lists allow less than both lists of the server say:
    /// nothing differs on the user's own list, but these are fetched anyway. And those who have gone by an earlier list.
    pub(super) async fn unequal(&self, wanted: &Roster) -> Vec<BareJid> {
        let mut named = Vec::new();
        for contact in wanted.contacts() {
            if is_local(&contact.jid, &self.rosters.domain) && self.call.names(&contact.jid) {
                named.push((contact.jid.clone(), contact.subscription));
            }
        }
        let unequal = stream::iter(named).map(|(jid, ours)| self.is_unequal(jid, ours));
        let unequal = unequal.buffered(FETCHED_AT_ONCE);
        let mut unequal: Vec<_> = unequal.filter_map(ready).collect().await;
        let misled = self.call.misled_by(&self.own).into_iter();
        unequal.extend(misled.filter(|jid| is_local(jid, &self.rosters.domain)));
        unequal
    }

    /// The contact, if its list allows less than `ours`.
    async fn is_unequal(&self, jid: BareJid, ours: Subscription) -> Option<BareJid> {
        let user = Username::from(jid.node()?);
        if !self.call.has_room() {
            return None;
        }
        let list = self.wanted(&user, &jid, self.since).await.ok()?;
        let theirs = list.roster.get(self.own.as_str());
        let theirs = theirs.map(|theirs| theirs.subscription);
        (plan::agreed(ours, theirs) != ours).then_some(jid)
    }

    /// These contacts, with what their own lists say of the user.
    pub(super) async fn counterparts(
        &self,
        contacts: Vec<Concerned>,
    ) -> Result<Vec<Counterpart>, WriteError> {
        let counterparts = stream::iter(contacts).map(|it| self.counterpart(it));
        let counterparts = counterparts.buffered(FETCHED_AT_ONCE);
        let counterparts: Vec<_> = counterparts.try_collect().await?;
        Ok(counterparts.into_iter().flatten().collect())
    }

    async fn counterpart(&self, contact: Concerned) -> Result<Option<Counterpart>, WriteError> {
        let Concerned {
            jid,
            held,
            is_asked,
        } = contact;
        let Some(user) = jid.node().map(Username::from) else {
            return Ok(None);
        };
        let pair = Arc::new(self.rosters.pairs.pair(&self.own, &jid));
        let (list, theirs) = self.theirs(&user, &jid, self.since).await?;
        Ok(Some(Counterpart {
            jid,
            user,
            pair,
            list,
            theirs,
            outcome: Outcome::Unchanged,
            held,
            is_asked,
            has_asked: false,
            is_left: false,
            is_half: false,
            is_mutual: false,
        }))
    }

    /// What the contact's list says of the user, as it has come after `since`.
    async fn theirs(
        &self,
        contact: &Username,
        jid: &BareJid,
        since: Instant,
    ) -> Result<(SiteList, Theirs), WriteError> {
        let Unfetched { list, error } = match self.wanted(contact, jid, since).await {
            Ok(list) => {
                let theirs = list.roster.get(self.own.as_str()).cloned();
                return Ok((list, Theirs::Listed(theirs)));
            }
            Err(unfetched) => unfetched,
        };
        // The site has no such user, who then lists nobody.
        if let WriteError::Fetch(FetchError::Status { status }) = &error
            && *status == StatusCode::NOT_FOUND
        {
            return Ok((list, Theirs::Listed(None)));
        }
        let settings = self.settings;
        let subscription = match settings.server.held(contact, settings.writing.own).await {
            Ok(held) => {
                let item = held.roster.get(self.own.as_str());
                item.map(|item| item.subscription)
            }
            Err(WriteError::NoSuchUser) => None,
            Err(error) => return Err(error),
        };
        Ok((list, Theirs::Held(subscription, error)))
    }

    /// Whether there is somebody to show presence to. If that cannot be known, the lists matter more.
    pub(super) async fn introduces(&self) -> bool {
        let server = &self.settings.server;
        !self.settings.writing.dry_run
            && matches!(server.wants_introductions(self.user).await, Ok(true))
    }

    /// Finds out whose items are left to them. [Introductions](Self::introduce) are left to nobody.
    pub(super) async fn leave(
        &self,
        counterparts: &mut [Counterpart],
        wanted: &SiteList,
        introduces: bool,
    ) {
        for counterpart in counterparts {
            let ours = wanted.roster.get(counterpart.jid.as_str());
            let introduces = introduces && counterpart.is_seen(ours);
            if introduces || !self.is_left_to_contact(counterpart, ours) {
                continue;
            }
            let list = Arc::clone(&counterpart.list.list);
            let mut latest = list.lock().await;
            counterpart.is_left = !counterpart.is_overtaken(*latest);
            if counterpart.is_left {
                // A refresh of the contact may be running for another call, by what was said before.
                *latest = counterpart.list.number;
                counterpart.pair.told(counterpart.words(wanted));
            }
        }
    }

    /// Notes on the user's list whose items of the user are about to be written before the user's own of them.
    pub(super) async fn open(
        &self,
        counterparts: &mut [Counterpart],
        wanted: &SiteList,
    ) -> Result<(), WriteError> {
        if self.settings.writing.dry_run {
            return Ok(());
        }
        let mut opened = Vec::new();
        for counterpart in counterparts {
            let ours = wanted.roster.get(counterpart.jid.as_str());
            let theirs = counterpart.theirs.subscription();
            let after = ours.map(|ours| plan::agreed(ours.subscription, theirs));
            if after != counterpart.held && !counterpart.is_left {
                counterpart.is_half = true;
                opened.push(counterpart.jid.clone());
            }
        }
        if opened.is_empty() {
            return Ok(());
        }
        let _latest = wanted.list.lock().await;
        let (server, own) = (&self.settings.server, self.settings.writing.own);
        server.open(self.user, opened, own).await
    }

    /// Writes the items that the contacts have of the user.
    pub(super) async fn write_counterparts(
        &self,
        counterparts: &mut [Counterpart],
        wanted: &SiteList,
    ) {
        for counterpart in counterparts {
            let written = if counterpart.is_left {
                self.leave_to_contact(counterpart).await
            } else {
                self.write_counterpart(counterpart, wanted).await
            };
            counterpart.outcome = match written {
                Ok(Done::Written) => Outcome::Written,
                Ok(Done::Unchanged | Done::WouldWrite) => Outcome::Unchanged,
                // There is nobody who could see, or be seen.
                Err(WriteError::NoSuchUser) => {
                    debug!(user = %self.user, contact = %counterpart.jid, "contact has no account");
                    counterpart.theirs = Theirs::Listed(None);
                    Outcome::Unchanged
                }
                Err(error) => Outcome::Failed(error),
            };
        }
    }

    async fn write_counterpart(
        &self,
        counterpart: &mut Counterpart,
        wanted: &SiteList,
    ) -> Result<Done, WriteError> {
        let server = &self.settings.server;
        let is_asked = counterpart.is_asked;
        let in_server = Arc::clone(&counterpart.list.list);
        let mut latest = in_server.lock().await;
        if counterpart.is_overtaken(*latest) {
            let Counterpart { jid, user, .. } = &*counterpart;
            let theirs = self.theirs(user, jid, Instant::now());
            (counterpart.list, counterpart.theirs) = theirs.await?;
        }
        let whose = self.settings.writing.own;
        let mut held = server.held(&counterpart.user, whose).await?;
        let has_asked = held.asked.contains(&self.own);
        if is_asked {
            held.asked.insert(self.own.clone());
        }
        let item = held.roster.get(self.own.as_str());
        let words = counterpart.pair.told(counterpart.words(wanted));
        let wanted = match &mut counterpart.theirs {
            Theirs::Listed(theirs) => theirs.clone(),
            Theirs::Held(subscription, _) => {
                *subscription = item.map(|item| item.subscription);
                item.cloned()
            }
        };
        let ours = words.ours.says;
        let wanted = wanted.map(|mut wanted| {
            wanted.subscription = plan::agreed(wanted.subscription, ours);
            server.adapt(&mut wanted);
            wanted
        });
        counterpart.is_mutual = wanted.as_ref().is_some_and(Contact::receives_presence);
        let mut changes = Changes::of_contact(&held, &self.own, wanted, whose);
        if !changes.removals.is_empty() {
            self.guard_counterpart(counterpart, &mut changes, &held);
        }
        counterpart.has_asked = has_asked && !changes.is_empty();
        if counterpart.is_half && !changes.is_empty() {
            changes.opened.push(self.own.clone());
        }
        *latest = counterpart.list.number;
        self.write(&counterpart.user, &changes, &held).await
    }

    /// A list that would lose too much by its own refresh does not lose it by those of its contacts, one after the other.
    fn guard_counterpart(&self, counterpart: &Counterpart, changes: &mut Changes, held: &Held) {
        let whose = self.settings.writing.own;
        let wanted = &counterpart.list.roster;
        let all = Changes::between(held, wanted, whose);
        if let Err(error) = self.guard(&all, held, wanted) {
            warn!(user = %counterpart.user, contact = %self.own, %error, "contact kept without presence");
            changes.keep(&self.own, held);
        }
    }

    /// The contact's own refresh writes the item, if there is such an account.
    async fn leave_to_contact(&self, counterpart: &Counterpart) -> Result<Done, WriteError> {
        let check = self.settings.server.has_account(&counterpart.user);
        match self.call.has_account(&counterpart.jid, check).await? {
            true => Ok(Done::Unchanged),
            false => Err(WriteError::NoSuchUser),
        }
    }

    /// Whether the contact's own refresh, by the same call, writes the item as it has to be: both list each other, and the
    /// contact's list is heeded as it is; or neither does, and nothing keeps the item from being removed.
    fn is_left_to_contact(&self, counterpart: &Counterpart, ours: Option<&Contact>) -> bool {
        let is_heeded = match (&counterpart.theirs, ours) {
            (Theirs::Listed(Some(theirs)), Some(ours)) => {
                let agreed = plan::agreed(theirs.subscription, Some(ours.subscription));
                agreed == theirs.subscription
            }
            // It may refuse to remove so much, and then the item must not be left with presence.
            (Theirs::Listed(None), None) => self.settings.writing.max_removals >= 100,
            _ => false,
        };
        // Their own refresh may have begun already, by what was said before.
        let misled = self.call.has_misled(&self.own, &counterpart.jid)
            || self.rosters.one_sided.knows(&counterpart.jid, &self.own);
        let shares = counterpart.list.is_shared && self.call.is_left_to(&counterpart.jid);
        is_heeded && shares && !misled && !counterpart.is_asked
    }

    /// Lets those of whom both items are there see what the other publishes, if this refresh has written the later one.
    pub(super) async fn introduce(
        &self,
        counterparts: &[Counterpart],
        changes: &Changes,
        wanted: &SiteList,
    ) {
        for counterpart in counterparts
            .iter()
            .filter(|it| it.is_mutual && !it.has_failed())
        {
            let contact = &counterpart.jid;
            if !counterpart.is_seen(wanted.roster.get(contact.as_str())) {
                continue;
            }
            let written = Written {
                own: changes.concerns(contact),
                theirs: counterpart.is_written(),
            };
            let server = &self.settings.server;
            if let Err(error) = server.introduce(&self.own, contact, written).await {
                warn!(user = %self.user, %contact, %error, "contacts see each other's avatars later");
            }
        }
    }
}
