//! Logins of an account whose sessions the site has just ended (`session::shut_out`).

use std::time::Instant;

use tracing::info;

use super::Task;
use crate::{
    proto::{login, stanza::Stanza},
    roster::Username,
    session::{account, shut_out},
};

impl Task {
    /// Whether this session must not be one of `account`.
    pub(super) fn is_shut_out(&self, account: &str, now: Instant) -> bool {
        let number = self.record.number();
        self.registration.shut_out().is_shut(account, number, now)
    }

    /// Answers the login of somebody who is shut out as the server would answer a wrong password: clients come again
    /// after errors of any other kind. A client that says no name here is ended when the server has bound it.
    pub(super) fn refuse_login(&mut self, stanza: &Stanza, now: Instant) -> bool {
        if self.registration.shut_out().is_empty() || self.pipe.identity().is_some() {
            return false;
        }
        let Some(name) = login::name(stanza) else {
            return false;
        };
        let Some(user) = Username::prepare(login::localpart(&name)) else {
            return false;
        };
        let jid = format!("{user}@{}", self.host.domain);
        if !self.is_shut_out(&account(&self.host.domain, &jid), now) {
            return false;
        }
        let sid = self.registration.sid();
        info!(
            ?sid,
            jid, "login refused: the site has ended the sessions of this user"
        );
        self.client.send(login::refused(shut_out::TEXT), now);
        true
    }
}
