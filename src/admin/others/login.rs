//! Logins: a token is good at the gateway that has made it, which any other asks.

use std::time::Duration;

use jid::DomainPart;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Others;
use crate::cluster::{NodeName, Question};

/// How long a server may wait to hear about a token.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the site may wait until all gateways let a user in.
const WELCOME: Duration = Duration::from_secs(1);

/// A token that a user wants to log in with.
#[derive(Deserialize, Serialize)]
pub(in crate::admin) struct Spend {
    pub(in crate::admin) user: String,
    pub(in crate::admin) domain: String,
    pub(in crate::admin) token: String,
}

/// An account that may log in again, as `session` calls it.
#[derive(Deserialize, Serialize)]
pub(in crate::admin) struct Welcome(pub(in crate::admin) String);

impl Others {
    /// Has the gateway that has made a token use it up.
    ///
    /// # Errors
    ///
    /// Why it is not good, or cannot be known to be.
    pub(in crate::admin) async fn spend(
        &self,
        node: &NodeName,
        user: &str,
        domain: &DomainPart,
        token: &str,
    ) -> Result<(), String> {
        let asked = Spend {
            user: user.to_owned(),
            domain: domain.to_string(),
            token: token.to_owned(),
        };
        let deadline = Instant::now() + PATIENCE;
        let answer = self.ask(node, Question::Spend, &asked, deadline).await;
        answer.unwrap_or_else(|failure| Err(failure.to_string()))
    }

    /// Has all others let an account in. Who is not reached lets it in some seconds later.
    pub(in crate::admin) async fn welcome(&self, account: &str) {
        let (asked, deadline) = (Welcome(account.to_owned()), Instant::now() + WELCOME);
        let _: super::Words<()> = self.ask_all(Question::LetIn, &asked, deadline).await;
    }
}
