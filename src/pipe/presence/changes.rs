//! Changes of who may see whom: by a new list, or by blocking. Decides who is told of whom; when, decide
//! [`crate::pipe::update`] and [`crate::pipe::blocking`].

use smallvec::SmallVec;

use super::{
    Effects, MAX_ADDRESSES, PresenceService, Resource, digest_of_address,
    stanzas::{gone, hide_from},
};
use crate::{
    pipe::{Effect, identity::Identity},
    roster::Contact,
};

impl PresenceService {
    /// A contact is about to be pushed as `after`. If the client may no longer see it, the client is told now that it
    /// has gone: some clients drop presence of people who are not on the list.
    pub fn before_push(
        &mut self,
        before: Option<&Contact>,
        after: Option<&Contact>,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let Some(before) = before else { return };
        if after.is_some_and(|after| after.sends_presence() || !before.sends_presence()) {
            return;
        }
        let bare = before.jid.as_str();
        let mut known = self.known.remove(bare).unwrap_or_default();
        for resource in &mut known {
            if resource.shown.take().is_some() {
                effects.push_back(Effect::ToClient(gone(&resource.full, identity)));
            }
        }
        if after.is_some() {
            self.known.insert(bare.into(), known);
        } else {
            known.iter().for_each(|resource| self.hide(&resource.full));
            if self.former.len() < MAX_ADDRESSES {
                self.former.insert(digest_of_address(bare));
            }
        }
    }

    /// A contact has been pushed as `after`. Tells the contact what has changed for it, and greets it if one of the
    /// two may now see the other.
    pub fn after_push(
        &mut self,
        before: Option<&Contact>,
        after: Option<&Contact>,
        effects: &mut Effects,
    ) {
        if self.available.is_none() {
            return;
        }
        let had = |may: fn(&Contact) -> bool| before.is_some_and(may);
        let (saw, was_seen) = (
            had(Contact::sends_presence),
            had(Contact::receives_presence),
        );
        let jid = before.map(|before| before.jid.as_str()).unwrap_or_default();
        let Some(after) = after else {
            if was_seen {
                hide_from(jid, effects);
            }
            return;
        };
        self.former.remove(&digest_of_address(after.jid.as_str()));
        if before.is_none() {
            self.introduce_all(after, effects);
        }
        if was_seen && !after.receives_presence() {
            hide_from(jid, effects);
        }
        let may_see = !saw && after.sends_presence();
        let may_be_seen = !was_seen && after.receives_presence();
        if may_see || may_be_seen {
            self.greet(after, effects);
        }
    }

    /// A contact, or one `resource` of it, is about to be blocked: each is told that the other has gone. The contact
    /// is told only with `is_told`: once the server knows of the block, it passes nothing on.
    pub fn block(
        &mut self,
        contact: &Contact,
        resource: Option<&str>,
        is_told: bool,
        identity: &Identity,
        effects: &mut Effects,
    ) {
        let bare = contact.jid.as_str();
        let full = resource.map(|resource| format!("{bare}/{resource}"));
        if is_told && self.available.is_some() && contact.receives_presence() {
            hide_from(full.as_deref().unwrap_or(bare), effects);
        }
        let known = self.known.remove(bare).unwrap_or_default();
        let is_meant = |one: &Resource| full.as_ref().is_none_or(|full| *one.full == **full);
        let (blocked, others): (SmallVec<[_; 1]>, SmallVec<[_; 1]>) =
            known.into_iter().partition(is_meant);
        for resource in blocked.iter().filter(|one| one.shown.is_some()) {
            effects.push_back(Effect::ToClient(gone(&resource.full, identity)));
        }
        if !others.is_empty() {
            self.known.insert(bare.into(), others);
        }
    }

    /// A contact is no longer blocked.
    pub fn unblock(&mut self, contact: &Contact, effects: &mut Effects) {
        self.greet(contact, effects);
    }
}
