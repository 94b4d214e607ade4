//! End of a user's sessions, on every front, because the site wants it: the user has logged out there, or is banned.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use jid::{BareJid, DomainPart, ResourcePart};
use tokio::{
    join,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tracing::{field::display, info};

use super::{
    Table,
    others::end::Ending as Named,
    refresh::Call,
    respond::{Ended, Failure, Outcome},
};
use crate::{
    net::answer,
    roster::address,
    session::{Command, Record, Registry, State, account, ended_by_site},
};

/// Which sessions are to end.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Ending {
    /// A localpart or a bare JID, as the caller wrote it.
    user: String,
    /// Prepared.
    resource: Option<String>,
    /// Their clients should log in again.
    again: bool,
}

impl Ending {
    /// Reads the query of a request.
    pub(super) fn parse(query: &str) -> Result<Self, Failure> {
        let mut user = None;
        let mut ending = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let fault = |expected| Failure::Parameter {
                name: name.clone().into_owned(),
                expected,
            };
            match &*name {
                "user" if user.is_none() => user = Some(value.into_owned()),
                "resource" if ending.resource.is_none() => {
                    let resource = ResourcePart::new(&value);
                    let resource = resource.map_err(|_| fault("not a resource"))?;
                    ending.resource = Some(resource.to_string());
                }
                "again" => {
                    let again = value.parse();
                    ending.again = again.map_err(|_| fault("true or false"))?;
                }
                "user" | "resource" => return Err(fault("more than once")),
                _ => return Err(fault("no such parameter: user, resource or again")),
            }
        }
        ending.user = user.ok_or_else(|| Failure::Parameter {
            name: "user".into(),
            expected: "it is missing: a localpart or a bare JID",
        })?;
        Ok(ending)
    }
}

fn wants(ending: &Named, record: &Record) -> bool {
    let is_there = matches!(record.state(), State::Bound | State::Asleep);
    let is_there = is_there && record.domain() == ending.domain;
    let Some(jid) = record.jid().filter(|_| is_there) else {
        return false;
    };
    let (its_bare, its_resource) = jid.split_once('/').unwrap_or((jid, ""));
    let resource = ending.resource.as_deref();
    its_bare == ending.jid && resource.is_none_or(|resource| resource == its_resource)
}

/// Longest localpart (RFC 7622 §3.3), bytes.
const LONGEST: usize = 1023;

/// The domain and the bare JID that a caller means. The server decides which names there are; so one that cannot be
/// prepared, or that servers do not agree on, is taken as it is written: it must not end the sessions of another.
fn account_of<S>(
    name: &str,
    table: &Table<S>,
    host: Option<DomainPart>,
) -> Result<(DomainPart, String), Failure> {
    let (name, domain) = match name.rsplit_once('@') {
        Some((name, domain)) => {
            let domain = DomainPart::new(domain).map_err(|_| Failure::Username)?;
            if !table.0.contains_key(&*domain) {
                return Err(Failure::UnknownDomain);
            }
            (name, domain.into_owned())
        }
        None => (name, table.any_default_domain(host)?),
    };
    let bare = match address::prepare_node(name) {
        Some(local) => BareJid::from_parts(Some(&local), &domain).to_string(),
        None if name.is_ascii() || name.len() > LONGEST || name.contains(['@', '/']) => {
            return Err(Failure::Username);
        }
        None => format!("{name}@{domain}"),
    };
    Ok((domain, bare))
}

impl<S> Call<S> {
    /// Ends sessions. Done when each has been told; sessions that do not listen may take a little longer.
    pub(super) async fn end_sessions(
        self,
        registry: &Registry,
        ending: &Ending,
    ) -> Result<Response<Full<Bytes>>, Failure> {
        let (domain, jid) = account_of(&ending.user, &self.table, self.host.clone())?;
        let ending = Named {
            domain: domain.to_string(),
            jid,
            resource: ending.resource.clone(),
            again: ending.again,
        };
        let (ended, words) = join!(self.end(registry, &ending), self.end_elsewhere(&ending));
        let ended = ended? + words.said.iter().map(|(_, ended)| ended).sum::<usize>();
        let Named {
            jid,
            resource,
            again,
            ..
        } = &ending;
        let caller = self.caller.map(|peer| display(peer.0.ip()));
        info!(
            caller,
            jid, resource, again, ended, "sessions ended by the site"
        );
        if let Some(failure) = words.failures.into_iter().next() {
            return Err(failure);
        }
        let ended = Ended {
            outcome: Outcome::saying(format!("sessions ended: {ended}")),
            ended,
        };
        Ok(answer::json(StatusCode::OK, &ended))
    }

    /// Ends those that are here, and says how many they are.
    pub(super) async fn end(&self, registry: &Registry, ending: &Named) -> Result<usize, Failure> {
        let (domain, jid) = (ending.domain.as_str(), ending.jid.as_str());
        if ending.resource.is_none() && !ending.again {
            let account = account(domain, jid);
            let now = Instant::now().into_std();
            // Before those that are bound are looked up: a session that is bound in between finds this.
            registry.shut_out.shut(account, registry.number(), now);
            // After 20 s they would be good again.
            let served = self.table.0.values();
            let mut logins = served.filter_map(|it| it.login.as_ref());
            if let Some(login) = logins.find(|login| login.domain() == domain) {
                login.revoke(jid);
            }
        }
        let mailboxes = registry.mailboxes(|record| wants(ending, record));
        let ended = mailboxes.len();
        let again = ending.again;
        let mut telling: JoinSet<_> = mailboxes
            .into_iter()
            .map(|mailbox| async move {
                let end = Command::End(ended_by_site(again));
                // A session whose mailbox is closed has ended by itself.
                let _ = mailbox.send(Box::new(end)).await;
            })
            .collect();
        let told = timeout_at(self.deadline, async {
            while telling.join_next().await.is_some() {}
        });
        let after = self.after;
        told.await.map_err(|_| Failure::Deadline { after })?;
        registry.metrics.ended_by_site(ended);
        Ok(ended)
    }
}
