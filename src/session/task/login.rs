//! Logins that the server refuses: the log says whose and from where (`net::refusals`).

use super::Task;
use crate::{
    net::refusals::AccessRefusal,
    proto::{login, stanza::Stanza},
};

/// Most that is kept of a name, bytes.
const LONGEST: usize = 256;

impl Task {
    /// Keeps the name under which the client wants to log in.
    pub(super) fn note_login(&mut self, stanza: &Stanza) {
        if self.pipe.identity().is_none()
            && let Some(mut name) = login::name(stanza)
        {
            name.truncate(name.floor_char_boundary(LONGEST));
            self.login = Some(name.into());
        }
    }

    /// Logs that the server has refused the login.
    pub(super) fn note_refusal(&self, element: &Stanza) {
        if self.pipe.identity().is_some() || !login::is_refused(element) {
            return;
        }
        let refusal = AccessRefusal::Password {
            front: self.record.front().as_str(),
            domain: &self.host.domain,
            user: self.login.as_deref(),
        };
        let refusals = self.registration.refusals();
        refusals.log(self.record.origin().client(), refusal);
    }
}
