//! Logins: a token is good at the gateway that has made it, which any other asks.

use std::time::Duration;

use jid::DomainPart;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Others;
use crate::{
    admin::{refresh::Call, respond::Failure},
    cluster::{NodeName, Question},
    login::Verdict,
};

/// How long a server may wait to hear about a token.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the site may wait until all gateways let a user in.
const WELCOME: Duration = Duration::from_secs(1);

/// A token that a user wants to log in with.
#[derive(Deserialize, Serialize)]
pub(super) struct Spend {
    user: String,
    domain: String,
    token: String,
}

/// An account that may log in again, as `session` calls it.
#[derive(Deserialize, Serialize)]
pub(super) struct Welcome(pub(super) String);

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

impl<S> Call<S> {
    /// Uses up a token that was made here, for another gateway.
    pub(super) fn spend_own(&self, asked: &Spend) -> Result<(), String> {
        let verdict = self.spend(asked).map_err(|failure| failure.to_string())?;
        match verdict {
            Verdict::Good => Ok(()),
            Verdict::Bad(why) => Err(why.to_owned()),
            Verdict::Elsewhere(_) | Verdict::Unknown => Err("not made here".to_owned()),
        }
    }

    fn spend(&self, asked: &Spend) -> Result<Verdict, Failure> {
        let domain = crate::admin::domain(&asked.domain).ok_or(Failure::UnknownDomain)?;
        let login = self.table.served(&domain)?.login.as_ref();
        let login = login.ok_or(Failure::NoLogin)?;
        Ok(login.spend(&asked.user, &asked.token))
    }
}
