//! Prebind: the gateway logs a user in by BOSH, and the site's program hands the session to the user's page, which never
//! sees a password.
//!
//! Nothing is sent but the login: no presence, and no request for the contact list. The page does that.

mod exchange;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};
use tracing::{field::display, info};

use self::exchange::{Exchange, Opening};
use super::{
    Peer,
    login::{self, Account},
    prebind_error::PrebindError,
    respond::{Failure, Outcome},
};
use crate::{
    login::Login,
    metrics::Limit,
    net::answer,
    proto::{
        bosh::{Rid, terms::Policy},
        sasl::{Credentials, Login as Negotiation, Step},
        stanza::Stanza,
    },
    session::{Admission, Host, Origin, Protocol, Registry},
};

/// How long a token is good for that the gateway logs in with.
const TTL: Duration = Duration::from_secs(60);
/// Most logins under way at once.
const AT_ONCE: usize = 64;
/// Answers without anything new before a login is given up. Each takes as long as a request is held.
const MOST_EMPTY: usize = 8;
/// Longest resource, bytes (RFC 7622 §3.4).
const LONGEST_RESOURCE: usize = 1023;

/// What sessions need that the gateway begins for pages.
#[derive(Clone)]
pub struct Prebind {
    admission: Arc<Admission>,
    policy: Policy,
    turns: Arc<Semaphore>,
}

impl Prebind {
    /// Begins sessions as `admission` and the `policy` of BOSH allow.
    pub fn new(admission: Arc<Admission>, policy: Policy) -> Self {
        Self {
            admission,
            policy,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// Whom a caller wants a session for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    username: String,
    /// Otherwise a token is used.
    password: Option<String>,
    resource: Option<String>,
    /// The address of the user's browser.
    address: Option<IpAddr>,
}

/// The answer: what Converse.js wants of its `prebind_url`, and more.
#[derive(Serialize)]
struct Prebound {
    #[serde(flatten)]
    outcome: Outcome,
    jid: String,
    sid: String,
    /// That of the page's first request.
    rid: u64,
    /// Seconds until which the first request has to come.
    inactivity: u64,
}

/// A call for a session.
pub(super) struct Call<'a> {
    pub(super) prebind: &'a Prebind,
    pub(super) registry: &'a Arc<Registry>,
    pub(super) login: Option<&'a Login>,
    pub(super) caller: Option<&'a Peer>,
    pub(super) deadline: Instant,
    /// How long the request may take.
    pub(super) after: Duration,
}

impl Wanted {
    pub(super) fn name(&self) -> &str {
        &self.username
    }

    /// Begins the session.
    pub(super) async fn begin(
        self,
        account: &Account,
        call: Call<'_>,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let domain = account.domain.as_str();
        let host = call.prebind.admission.host_of(domain);
        let host = Arc::clone(host.ok_or(Failure::UnknownDomain)?);
        let address = self.address;
        let credentials = self.credentials(account, call.login, &host)?;
        let beginning = begin(credentials, &call, host, address);
        let begun = timeout_at(call.deadline, beginning).await;
        let metrics = &call.registry.metrics;
        let caller = call.caller.map(|peer| display(peer.0.ip()));
        let (jid, sid, rid) = match begun {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => {
                metrics.prebound(domain, error.as_str());
                info!(caller, user = %account.user, domain, %error, "no session for a page");
                return Err(error.into());
            }
            Err(_) => {
                metrics.prebound(domain, "timeout");
                return Err(Failure::Deadline { after: call.after });
            }
        };
        metrics.prebound(domain, "ok");
        info!(caller, jid, sid = sid.get(..8), "session begun for a page");
        let prebound = Prebound {
            outcome: Outcome::saying("session begun"),
            jid,
            sid,
            rid: rid.get(),
            inactivity: call.prebind.policy.inactivity.as_secs(),
        };
        Ok(answer::json(StatusCode::OK, &prebound))
    }

    fn credentials(
        self,
        account: &Account,
        login: Option<&Login>,
        host: &Host,
    ) -> Result<Credentials, Failure> {
        let is_long = |it: &String| it.is_empty() || it.len() > LONGEST_RESOURCE;
        if self.resource.as_ref().is_some_and(is_long) {
            return Err(Failure::Resource);
        }
        let is_token = self.password.is_none();
        let password = match (self.password, login) {
            (Some(password), _) => password,
            (None, Some(login)) => login::issue(account, login, TTL)?.token,
            (None, None) => return Err(Failure::NoPassword),
        };
        let nonce = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
        let (high, low) = nonce.map_err(|_| Failure::NoRandomness)?;
        Ok(Credentials {
            username: account.user.as_str().to_owned(),
            password,
            is_private: host.connector.is_private(),
            is_token,
            resource: self.resource,
            nonce: format!("{high:016x}{low:016x}"),
        })
    }
}

/// Logs in; gives the full JID, the sid, and the rid to go on with.
async fn begin(
    credentials: Credentials,
    call: &Call<'_>,
    host: Arc<Host>,
    address: Option<IpAddr>,
) -> Result<(String, String, Rid), PrebindError> {
    let turn = call.prebind.turns.try_acquire();
    let _turn = turn.map_err(|_| {
        call.registry.metrics.limit(Limit::Prebinds);
        PrebindError::Busy
    })?;
    let caller = call.caller.map(|Peer(address)| *address);
    let origin = Origin {
        address: address.map_or_else(
            || caller.unwrap_or_else(|| ([127, 0, 0, 1], 0).into()),
            |address| SocketAddr::new(address, 0),
        ),
        is_known: address.is_some(),
        secure: false,
        protocol: Protocol::Http11,
    };
    let (mut exchange, mut said) = Exchange::open(Opening {
        registry: call.registry,
        admission: &call.prebind.admission,
        policy: &call.prebind.policy,
        host: &host,
        origin,
    })
    .await?;
    let mut login = Negotiation::new(credentials);
    let mut empty = 0;
    loop {
        let mut next = None;
        for stanza in said {
            let step;
            (login, step) = handle(login, stanza).await?;
            // The server asks for one thing after the other.
            next = step.or(next);
        }
        said = match next {
            Some(Step::Send(stanza)) => exchange.send(Some(stanza)).await?,
            Some(Step::Restart) => exchange.restart().await?,
            Some(Step::Bound(jid)) => {
                let (sid, rid) = exchange.hand_over().await?;
                return Ok((jid, sid, rid));
            }
            None if empty == MOST_EMPTY => return Err(PrebindError::Silent),
            None => {
                empty += 1;
                exchange.send(None).await?
            }
        };
    }
}

/// Takes a stanza. The proof of a password takes some milliseconds, for which no other session waits.
async fn handle(
    mut login: Negotiation,
    stanza: Stanza,
) -> Result<(Negotiation, Option<Step>), PrebindError> {
    if stanza.local() != "challenge" {
        let step = login.handle(&stanza)?;
        return Ok((login, step));
    }
    let handled = spawn_blocking(move || {
        let step = login.handle(&stanza)?;
        Ok((login, step))
    });
    handled.await.unwrap_or(Err(PrebindError::Silent))
}
