//! Lists that the site brings without being asked: published as the answer to a refresh would be.

use std::{sync::Arc, time::Duration};

use super::{Rosters, task::LARGE};
use crate::{
    backend::{ContactSource, FetchError, off_thread},
    clock::since_1970,
    roster::{
        Contact, Roster, Username,
        left_out::LeftOut,
        snapshot::{Entry, Validators},
    },
};

impl<S: ContactSource + 'static> Rosters<S> {
    /// What time it is for a list of `user` that the site brings now: later than that of any before.
    pub fn time_of(&self, user: &Username) -> Duration {
        let known = self.snapshot.get(user);
        let earliest = known.map_or(Duration::ZERO, |it| it.put + Duration::from_micros(1));
        since_1970().max(earliest)
    }

    /// The site says what the list of `user` is, at the [time](Self::time_of) `as_of`. It counts as the latest answer until the next
    /// fetch that begins; of a user who is offline, it is the fallback of the next login. The sessions of the user are
    /// woken. If one is known that was put later, as two gateways were called at once, that stays.
    ///
    /// # Errors
    ///
    /// [`FetchError::Abandoned`]: the gateway stops.
    pub async fn put(
        self: &Arc<Self>,
        user: &Username,
        contacts: Vec<Contact>,
        left_out: LeftOut,
        as_of: Duration,
    ) -> Result<(), FetchError> {
        self.source.note_left_out(user, &left_out);
        self.metrics.left_out(left_out.count());
        let is_large = contacts.len() > LARGE;
        let roster = off_thread(is_large, || Arc::new(Roster::new(contacts))).await?;
        let mut users = self.users(user);
        if self.snapshot.get(user).is_some_and(|it| it.put > as_of) {
            return Ok(());
        }
        let mut wake_flags = Vec::new();
        if let Some(known) = users.get_mut(user) {
            wake_flags.clone_from(&known.wake_flags);
            if let Some(fetch) = known.fetch.as_mut().filter(|fetch| fetch.begun) {
                fetch.overtaken = true;
                fetch.outdated = false;
            }
        }
        let entry = Entry {
            roster,
            left_out,
            // Nothing that a request could be conditional on.
            validators: Validators::default(),
            fetched: since_1970(),
            put: as_of,
            fresh: !wake_flags.is_empty(),
        };
        self.snapshot.publish(user.clone(), entry);
        drop(users);
        for wake_flag in wake_flags {
            wake_flag.wake();
        }
        Ok(())
    }
}
