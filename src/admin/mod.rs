//! Admin API: the site's backend says by it that rosters have changed, and people look by it into sessions, rosters and
//! health. It does not fetch rosters itself (see [`crate::backend`]).
//!
//! | request | what it does |
//! |---|---|
//! | `POST {path}/refresh`, `POST {path}/DOMAIN/refresh` | refreshes the users in a JSON array |
//! | `GET {path}/refresh/USER`, `GET {path}/DOMAIN/refresh/USER` | refreshes one user |
//! | `GET {path}/` | a page for people: how the gateway is doing |
//! | `GET {path}/status` | the same for programs |
//! | `GET {path}/sessions` | counts all sessions and lists the oldest, 100 of them |
//! | `DELETE {path}/sessions?user=USER` | ends the sessions of a user |
//! | `GET {path}/rosters/USER`, `GET {path}/DOMAIN/rosters/USER` | shows what is in memory |
//! | `PUT {path}/rosters/USER`, `PUT {path}/DOMAIN/rosters/USER` | takes the list from the body |
//! | `POST {path}/token`, `POST {path}/DOMAIN/token` | gives a token that the user may log in with |
//! | `POST {path}/prebind`, `POST {path}/DOMAIN/prebind` | begins a BOSH session for the user's page |
//! | `GET /xmpp_auth/…` | an XMPP server asks about a password or a user (`auth`) |
//! | `GET {path}/presence`, `GET {path}/DOMAIN/presence` | shows who is available |
//!
//! Sessions are listed by `?user=` (a localpart or a bare JID), `?limit=` (1 to 1000) and `?after=`
//! (the `next` of the answer before); for a roster, `?host=` can name the domain, too. Those that end are named by
//! `?user=` and perhaps `?resource=`; with `?again=true`, their clients are asked to log in again. Presence is that of
//! each `?user=`, and the answer is an object of these users alone; without any, of all who are available, by `?limit=`
//! and `?after=`. It takes `?host=` as well.
//!
//! | status | when |
//! |---|---|
//! | 200 | done; for an array, also if some of it failed |
//! | 202 | a refresh is accepted, and goes on: the request had `Prefer: respond-async` (RFC 7240) |
//! | 400 | the body is no JSON array of strings, or no contact list, a username or a parameter is none, all names of an |
//! | | array are none, or no domain can be told |
//! | 401 | a token is configured, and the request does not bear it |
//! | 403 | the server refuses to log the user in; or no token is configured, and the request is not plainly from a program on this machine |
//! | | (`local`), or with client certificates configured, shows none that counts |
//! | 404 | no such path, a domain without rosters or without a login, nothing is known of a roster, or the XMPP server that |
//! | | holds the lists has no such account |
//! | 405 | wrong method; `Allow` says which is right |
//! | 408 | the body did not come in time |
//! | 409 | the list in the XMPP server would lose more than `max_removals` allows |
//! | 413 | the body is too large |
//! | 415 | the body is compressed |
//! | 500 | all users of an array failed |
//! | 502 | the one user failed |
//! | 503 | too much has been accepted and is unfinished, or the gateway stops |
//!
//! Every answer is a JSON object with `status` (`ok`, `error` or `accepted`) and `message`. That of an array
//! also has `updated` and `errors`, which add up to its length, and if there were errors `failed`:
//! who, and why, at most the first 1,000; then `failed_omitted` is the number of those not listed.
//!
//! Users are localparts or bare JIDs. The domain is that of the path; without one, that of the bare
//! JID; else the one in `Host`, if it is configured; else the only one that has rosters. Users who
//! are offline count as updated; who is named twice is fetched once and counted twice.

mod access;
mod asked;
mod auth;
mod ending;
mod gateways;
mod hosts;
mod jobs;
mod local;
mod login;
mod others;
mod prebind;
mod prebind_error;
mod presence;
mod put;
mod refresh;
mod respond;
mod rosters;
mod sessions;
mod status;
mod target;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    convert::Infallible,
    future::{Future, ready},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use jid::DomainPart;
use tokio::time::Instant;
use tower::Service;

use self::{
    ending::Ending,
    gateways::Neighbours,
    hosts::Table,
    local::Name,
    login::Account,
    others::Others,
    presence::Question,
    refresh::{Answer, Call, Turns},
    respond::Failure,
    sessions::Filter,
    status::Asset,
    target::{Target, What, intent},
};
pub use self::{
    hosts::{Hosts, Lists, Served},
    local::{Foreign, Intent},
    others::events::elsewhere,
    prebind::Prebind,
};
use crate::{
    backend::{ContactSource, http::HttpSource},
    cluster::Cluster,
    config,
    login::Login,
    metrics::Limit,
    net::{answer, coding, drain, refusals::AccessRefusal},
    session::Registry,
};

/// Address of the connection's other end: the server puts it into each request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Address of the client, where it is known: the server puts it into each request's extensions. It says who asks, not
/// that he may: [`Peer`] has a say in that.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub Option<IpAddr>);

/// The host that a request is for (RFC 9112 §3.3), prepared, without the port.
fn host<B>(request: &Request<B>) -> Option<DomainPart> {
    let header = request.headers().get(header::HOST);
    let authority = match header.and_then(|host| host.to_str().ok()) {
        Some(host) => host.parse().ok()?,
        None => request.uri().authority()?.clone(),
    };
    domain(authority.host())
}

fn domain(name: &str) -> Option<DomainPart> {
    DomainPart::new(name).ok().map(Cow::into_owned)
}

/// The admin API as a service.
pub struct Admin<S = HttpSource> {
    config: Arc<config::Admin>,
    hosts: Hosts<S>,
    sessions: Arc<Registry>,
    turns: Arc<Turns>,
    /// Ends the calls when the gateway stops.
    stop: Arc<drain::Signal>,
    /// `None` if it begins no sessions.
    prebind: Option<Prebind>,
    others: Others,
}

impl<S> Admin<S> {
    /// Serves `config.path` and what is below it; `sessions` are those that are shown.
    pub fn new(config: &config::Admin, hosts: Hosts<S>, sessions: Arc<Registry>) -> Self {
        Self {
            config: Arc::new(config.clone()),
            hosts,
            sessions,
            turns: Arc::default(),
            stop: Arc::new(drain::channel().0),
            prebind: None,
            others: Others::default(),
        }
    }

    /// Ends its calls by this signal.
    pub fn stopped_by(self, stop: Arc<drain::Signal>) -> Self {
        Self { stop, ..self }
    }

    /// Asks other gateways, too.
    pub fn with_others(self, cluster: Option<Arc<Cluster>>) -> Self {
        Self {
            others: Others::new(cluster),
            ..self
        }
    }

    /// Begins sessions, too.
    pub fn with_prebind(self, prebind: Prebind) -> Self {
        Self {
            prebind: Some(prebind),
            ..self
        }
    }
}

impl<S> Admin<S> {
    /// Where it is served: here and below.
    pub fn path(&self) -> &str {
        &self.config.path
    }

    /// Whether servers ask at this path about passwords.
    pub fn serves_questions(&self, path: &str) -> bool {
        let is_asked = |it: &Served<S>| it.login.as_ref().is_some_and(Login::is_asked);
        auth::serves(path) && self.hosts.any(is_asked)
    }

    /// Whether a request plainly comes from a program on this machine; from a page there, if it only looks.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn check_local<B>(&self, request: &Request<B>, intent: Intent) -> Result<(), Foreign> {
        local::check(request, |domain| self.serves(domain), intent)
    }

    /// Checks the names by which a request calls the gateway, also of clients on other machines: none may be a name
    /// whose owner could let it lead here.
    ///
    /// # Errors
    ///
    /// When there is such a name.
    pub fn check_name<B>(&self, request: &Request<B>) -> Result<(), Foreign> {
        let is_domain = |domain: &_| self.serves(domain);
        let mut names = local::names(request.uri(), request.headers(), is_domain);
        if names.any(|name| name == Name::Foreign) {
            return Err(Foreign::Name);
        }
        Ok(())
    }

    fn refused<B>(&self, request: &Request<B>, refusal: AccessRefusal<'_>) {
        let client = request.extensions().get();
        let client = client.and_then(|Client(address)| *address);
        self.sessions.refusals.log(client, refusal);
    }

    fn serves(&self, domain: &DomainPart) -> bool {
        self.hosts.has(domain)
    }
}

impl<S> Clone for Admin<S> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            hosts: self.hosts.clone(),
            sessions: Arc::clone(&self.sessions),
            turns: Arc::clone(&self.turns),
            stop: Arc::clone(&self.stop),
            prebind: self.prebind.clone(),
            others: self.others.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Admin<S>
where
    S: ContactSource + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if auth::serves(request.uri().path()) {
            return Box::pin(self.clone().answer_question(request));
        }
        let path = request.uri().path().strip_prefix(&*self.config.path);
        let intent = intent(request.method(), path);
        let granted = access::check(&self.config, &request, |it| self.serves(it), intent);
        // The page that asks for the token may be had without it.
        if granted.is_ok() || self.config.token.is_some() {
            let is_read = answer::is_read(request.method());
            if is_read && path == Some("") {
                return Box::pin(ready(Ok(status::add_slash(&self.config.path))));
            }
            if let Some(asset) = path.and_then(Asset::at).filter(|_| is_read) {
                return Box::pin(ready(Ok(asset.response())));
            }
        }
        if let Err(failure) = granted {
            // The page asks before it knows whether there is a token.
            if path != Some("/status") || request.headers().contains_key(header::AUTHORIZATION) {
                let why = failure.to_string();
                self.refused(&request, AccessRefusal::Admin { why: &why });
            }
            return Box::pin(ready(Ok(respond::failure(&failure))));
        }
        let admin = self.clone();
        let metrics = Arc::clone(&self.sessions.metrics);
        Box::pin(async move {
            let reply = admin.answer(request).await;
            Ok(reply.unwrap_or_else(|failure| {
                match failure {
                    Failure::TooLarge { .. } => metrics.limit(Limit::AdminBody),
                    Failure::TooManyAccepted => metrics.limit(Limit::UnfinishedRefreshes),
                    Failure::SlowBody | Failure::Deadline { .. } => {
                        metrics.limit(Limit::AdminDeadline)
                    }
                    _ => {}
                }
                respond::failure(&failure)
            }))
        })
    }
}

impl<S: ContactSource + 'static> Admin<S> {
    async fn answer<B>(self, request: Request<B>) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        let uri = request.uri();
        let path = uri.path().strip_prefix(&*self.config.path);
        let mut target = path.and_then(Target::parse).ok_or(Failure::NotFound)?;
        let allowed = target.allowed();
        let is_allowed = target.allows(request.method());
        let query = uri.query().unwrap_or_default();
        if is_allowed && matches!(target.what, What::Roster(_)) {
            target.read_query(query)?;
        }
        let question = match target.what {
            What::Presence if is_allowed => {
                let question = Question::parse(query)?;
                target.name_domain(question.host())?;
                Some(question)
            }
            _ => None,
        };
        let table = self.hosts.table();
        let path_domain = match &target.domain {
            Some(name) => {
                let domain = domain(name).ok_or(Failure::UnknownDomain)?;
                match target.what {
                    What::Token | What::Prebind | What::Presence => {
                        table.served(&domain).map(|_| ())?;
                    }
                    _ => table.rosters(&domain).map(|_| ())?,
                }
                Some(domain)
            }
            None => None,
        };
        if !is_allowed {
            return Err(Failure::Method { allowed });
        }
        if matches!(target.what, What::Token | What::Prebind) {
            return self.log_in(target.what, request, &table, path_domain).await;
        }
        let call = Call {
            table,
            path_domain,
            host: host(&request),
            caller: request.extensions().get::<Peer>().copied(),
            after: self.config.deadline,
            deadline: Instant::now() + self.config.deadline,
            metrics: Arc::clone(&self.sessions.metrics),
            turns: Arc::clone(&self.turns),
            stop: self.stop.watch(),
            answer: Answer::preferred(request.headers()),
            others: self.others.clone(),
        };
        match target.what {
            What::RefreshMany if coding::is_coded(request.headers()) => Err(Failure::Coded),
            What::RefreshMany => call.many(request.into_body(), self.config.max_body).await,
            What::Refresh(user) => call.one(&user).await,
            What::Roster(_)
                if *request.method() == Method::PUT && coding::is_coded(request.headers()) =>
            {
                Err(Failure::Coded)
            }
            What::Roster(user) if *request.method() == Method::PUT => {
                let limit = self.config.max_body;
                call.put(&user, request.into_body(), limit).await
            }
            What::Roster(user) => call.show(&user).await,
            What::Presence => call.presence(question.unwrap_or_default()).await,
            What::Status => {
                let others = Neighbours {
                    words: call.shares().await,
                    known: call.others.known(),
                };
                Ok(status::status(&self.sessions, &call.table, &others))
            }
            What::Asset | What::Token | What::Prebind => Err(Failure::NotFound),
            What::Sessions if *request.method() == Method::DELETE => {
                call.end_sessions(&self.sessions, &Ending::parse(query)?)
                    .await
            }
            What::Sessions => {
                let filter = Filter::parse(query)?;
                Ok(call.sessions(&self.sessions, &filter).await)
            }
        }
    }

    /// The site has a user log in whose sessions it may just have ended.
    async fn let_in(&self, account: &Account) {
        let domain = account.domain.as_str();
        let jid = format!("{}@{domain}", account.user);
        let account = crate::session::account(domain, &jid);
        self.sessions.shut_out.lift(&account);
        self.others.welcome(&account).await;
    }

    /// Answers a request for a token or a session.
    async fn log_in<B>(
        self,
        what: What,
        request: Request<B>,
        table: &Table<S>,
        path_domain: Option<DomainPart>,
    ) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        if coding::is_coded(request.headers()) {
            return Err(Failure::Coded);
        }
        let after = self.config.deadline;
        let (limit, deadline) = (self.config.max_body, Instant::now() + after);
        let host = host(&request);
        let caller = request.extensions().get().copied();
        let account = |name: &str| {
            let account = Account::read(name, path_domain.as_ref(), host.as_ref(), table)?;
            let login = table.served(&account.domain)?.login.as_ref();
            Ok::<_, Failure>((account, login))
        };
        if matches!(what, What::Token) {
            let wanted: login::Wanted = login::read(request.into_body(), limit, deadline).await?;
            let (account, login) = account(wanted.name())?;
            let login = login.ok_or(Failure::NoLogin)?;
            self.let_in(&account).await;
            let metrics = &self.sessions.metrics;
            return wanted.issue(&account, login, caller.as_ref(), metrics);
        }
        let prebind = self.prebind.as_ref().ok_or(Failure::NotFound)?;
        let wanted: prebind::Wanted = login::read(request.into_body(), limit, deadline).await?;
        let (account, login) = account(wanted.name())?;
        self.let_in(&account).await;
        let call = prebind::Call {
            prebind,
            registry: &self.sessions,
            login,
            caller: caller.as_ref(),
            deadline,
            after,
        };
        wanted.begin(&account, call).await
    }
}

impl<S> Admin<S> {
    /// Answers what a server asks.
    async fn answer_question<B>(
        self,
        request: Request<B>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let granted = auth::check(&self.config, &request, |it| self.serves(it));
        if let Err(failure) = &granted {
            let why = failure.to_string();
            self.refused(&request, AccessRefusal::Question { why: &why });
        }
        let (head, _) = request.into_parts();
        let query = head.uri.query().unwrap_or_default();
        let answer = match granted {
            Ok(()) => {
                let (table, metrics) = (self.hosts.table(), &self.sessions.metrics);
                let asker = auth::Asker {
                    table: &table,
                    metrics,
                    others: &self.others,
                };
                auth::answer(&head.method, head.uri.path(), query, asker).await
            }
            Err(failure) => Err(failure),
        };
        Ok(answer.unwrap_or_else(|failure| respond::failure(&failure)))
    }
}
