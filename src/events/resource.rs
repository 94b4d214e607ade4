//! Resource of a session, as others see whether it is available.

use std::{fmt, sync::Arc};

use super::Availability;
use crate::{
    availability::stated::Stated,
    proto::stanza::{Kind, PresenceType, Stanza},
    roster::Username,
};

/// The resource of one session. When it is dropped, it is no longer available.
pub struct Resource {
    availability: Arc<Availability>,
    user: Username,
    number: u64,
    is_available: bool,
}

impl Resource {
    pub(super) fn new(availability: Arc<Availability>, user: Username, number: u64) -> Self {
        Self {
            availability,
            user,
            number,
            is_available: false,
        }
    }

    /// Takes note of what the client sends to the server: its presence to everybody says whether it is available.
    pub fn sends(&mut self, stanza: &Stanza) {
        let Kind::Presence(kind) = stanza.kind() else {
            return;
        };
        if stanza.to().is_some() {
            return;
        }
        match kind {
            PresenceType::Available => {
                let stated = Stated::of(stanza);
                self.is_available = true;
                self.availability.change(|state, moment| {
                    let users = &mut state.users;
                    users.available(&self.user, self.number, stated, moment);
                });
            }
            PresenceType::Unavailable => self.leave(),
            _ => {}
        }
    }

    /// The connection to the client has gone, or is there again.
    pub fn set_asleep(&self, is_asleep: bool) {
        self.availability.change(|state, _| {
            let users = &mut state.users;
            users.set_asleep(&self.user, self.number, is_asleep);
        });
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.is_available) {
            self.availability.change(|state, moment| {
                let users = &mut state.users;
                users.unavailable(&self.user, self.number, moment);
            });
        }
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
