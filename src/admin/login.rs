//! Logins: the site's program gets a token for one of its users, whom it has let in.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use jid::DomainPart;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};
use tracing::{field::display, info, warn};

use super::{
    Peer, Served, Table,
    respond::{self, Failure, Outcome},
};
use crate::{
    login::{Issued, LONGEST, Login},
    metrics::Metrics,
    net::{answer, body},
    roster::Username,
};

/// How long a token is good for, if the caller does not say.
const USUAL_TTL: u64 = 60;

/// A user whom a request names.
pub(super) struct Account {
    pub(super) domain: DomainPart,
    pub(super) user: Username,
}

impl Account {
    /// Reads a localpart, which has to be written as servers write it: members of a site whose names differ in case alone, or
    /// look like addresses, must not get into each other's accounts. The domain is that of the path; without one, the one
    /// that the request is for by its `Host`; else the only one with a login, or the only one that there is.
    pub(super) fn read<S>(
        name: &str,
        of_path: Option<&DomainPart>,
        host: Option<&DomainPart>,
        table: &Table<S>,
    ) -> Result<Self, Failure> {
        let user = Username::prepare(name).ok_or(Failure::Username)?;
        if user.as_str() != name {
            let prepared = user.to_string();
            return Err(Failure::Unprepared { prepared });
        }
        let named = host.filter(|host| table.0.contains_key(*host));
        let domain = of_path.or(named).cloned();
        let domain = domain.or_else(|| only(table, |served| served.login.is_some()));
        let domain = domain.or_else(|| only(table, |_| true));
        let domain = domain.ok_or(Failure::WhichDomain)?;
        Ok(Self { domain, user })
    }
}

/// The only domain of this kind.
fn only<S>(table: &Table<S>, is_one: impl Fn(&Served<S>) -> bool) -> Option<DomainPart> {
    let mut found = table.0.iter().filter(|(_, served)| is_one(served));
    match (found.next(), found.next()) {
        (Some((domain, _)), None) => Some(domain.clone()),
        _ => None,
    }
}

/// The JSON object that a request has as its body.
pub(super) async fn read<T, B>(body: B, limit: usize, deadline: Instant) -> Result<T, Failure>
where
    T: DeserializeOwned,
    B: Body + Send,
    B::Data: Send,
{
    let body = timeout_at(deadline, body::read(body, limit)).await;
    let body = body.map_err(|_| Failure::SlowBody)?;
    let body = body.map_err(|error| match error {
        body::ReadError::TooLarge { limit } => Failure::TooLarge { limit },
        body::ReadError::Broken(_) => Failure::Object {
            problem: "it ended early".into(),
        },
    })?;
    if body.trim_ascii_start().first() == Some(&b'[') {
        // A struct can be read from an array, too.
        return Err(Failure::Object {
            problem: "an array".into(),
        });
    }
    serde_json::from_slice(&body).map_err(|error| Failure::Object {
        problem: error.to_string(),
    })
}

/// What a caller wants a token for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    username: String,
    /// Seconds.
    ttl: Option<u64>,
}

/// The answer: what Converse.js wants of its `credentials_url`, and more.
#[derive(Serialize)]
struct Credentials {
    #[serde(flatten)]
    outcome: Outcome,
    jid: String,
    password: String,
    expires: String,
}

impl Wanted {
    pub(super) fn name(&self) -> &str {
        &self.username
    }

    fn ttl(&self) -> Result<Duration, Failure> {
        let ttl = Duration::from_secs(self.ttl.unwrap_or(USUAL_TTL));
        match ttl.is_zero() || ttl > LONGEST {
            true => Err(Failure::Ttl),
            false => Ok(ttl),
        }
    }

    /// Makes the token.
    pub(super) fn issue(
        &self,
        account: &Account,
        login: &Login,
        caller: Option<&Peer>,
        metrics: &Metrics,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let Issued { token, expires } = issue(account, login, self.ttl()?)?;
        let Account { domain, user } = account;
        metrics.token_issued(domain.as_str());
        let caller = caller.map(|peer| display(peer.0.ip()));
        info!(caller, %user, %domain, "token issued");
        let credentials = Credentials {
            outcome: Outcome::saying("token issued"),
            jid: format!("{user}@{domain}"),
            password: token,
            expires: respond::date(expires),
        };
        Ok(answer::json(StatusCode::OK, &credentials))
    }
}

/// A token for `account`.
pub(super) fn issue(account: &Account, login: &Login, ttl: Duration) -> Result<Issued, Failure> {
    login.issue(&account.user, ttl).map_err(|error| {
        warn!(%error, "no randomness for a token");
        Failure::NoRandomness
    })
}
