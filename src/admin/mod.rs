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
//! | `GET {path}/rosters/USER`, `GET {path}/DOMAIN/rosters/USER` | shows what is in memory |
//!
//! Sessions are listed by `?user=` (a localpart or a bare JID), `?limit=` (1 to 1000) and `?after=`
//! (the `next` of the answer before); for a roster, `?host=` can name the domain, too.
//!
//! | status | when |
//! |---|---|
//! | 200 | done; for an array, also if some of it failed |
//! | 202 | a refresh is accepted, and goes on: the request had `Prefer: respond-async` (RFC 7240) |
//! | 400 | the body is no JSON array of strings, a username or a parameter is none, all names of an |
//! | | array are none, or no domain can be told |
//! | 401 | a token is configured, and the request does not bear it |
//! | 403 | no token is configured, and the request is not plainly from a program on this machine |
//! | | (`local`), or with client certificates configured, shows none that counts |
//! | 404 | no such path, a domain without rosters, or nothing is known of a roster |
//! | 405 | wrong method; `Allow` says which is right |
//! | 408 | the body did not come in time |
//! | 413 | the body is too large |
//! | 415 | the body is compressed |
//! | 500 | all users of an array failed |
//! | 502 | the one user failed |
//! | 503 | too much has been accepted and is unfinished |
//!
//! Every answer is a JSON object with `status` (`ok`, `error` or `accepted`) and `message`. That of an array
//! also has `updated` and `errors`, which add up to its length, and if there were errors `failed`:
//! who, and why, at most the first 1,000; then `failed_omitted` is the number of those not listed.
//!
//! Users are localparts or bare JIDs. The domain is that of the path; without one, that of the bare
//! JID; else the one in `Host`, if it is configured; else the only one that has rosters. Users who
//! are offline count as updated; who is named twice is fetched once and counted twice.

use std::{
    borrow::Cow,
    collections::HashMap,
    convert::Infallible,
    fmt,
    future::{Future, ready},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use jid::DomainPart;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tower::Service;

use self::{
    local::Name,
    refresh::{Answer, Call, Turns},
    respond::Failure,
    sessions::Filter,
    status::Asset,
};
use crate::{
    backend::{ContactSource, http::HttpSource, refresh::Rosters},
    config,
    metrics::Limit,
    net::{answer, coding},
    session::Registry,
};

mod access;
mod local;
pub use local::{Foreign, Intent};
mod refresh;
mod respond;
mod rosters;
mod sessions;
mod status;
#[cfg(test)]
mod tests;

/// Address of the connection's other end: the server puts it into each request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The configured domains and their rosters, shared; can be replaced while requests are served.
pub struct Hosts<S = HttpSource>(Arc<ArcSwap<Table<S>>>);

struct Table<S>(HashMap<DomainPart, Option<Arc<Rosters<S>>>>);

impl<S> Hosts<S> {
    /// All configured domains; `None` for those without a roster URL.
    pub fn new(hosts: impl IntoIterator<Item = (DomainPart, Option<Arc<Rosters<S>>>)>) -> Self {
        let table = Table(hosts.into_iter().collect());
        Self(Arc::new(ArcSwap::from_pointee(table)))
    }

    /// Serves these from now on. Requests under way keep what they began with.
    pub fn replace(&self, hosts: impl IntoIterator<Item = (DomainPart, Option<Arc<Rosters<S>>>)>) {
        self.0.store(Arc::new(Table(hosts.into_iter().collect())));
    }

    /// The rosters of a domain, if it is configured and has any.
    pub fn get(&self, domain: &DomainPart) -> Option<Arc<Rosters<S>>> {
        self.0.load().0.get(domain).cloned().flatten()
    }
}

impl<S> Clone for Hosts<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> fmt::Debug for Hosts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.load().0.keys()).finish()
    }
}

impl<S> Table<S> {
    fn rosters(&self, domain: &DomainPart) -> Result<&Arc<Rosters<S>>, Failure> {
        match self.0.get(domain) {
            Some(Some(rosters)) => Ok(rosters),
            Some(None) => Err(Failure::NoRosters),
            None => Err(Failure::UnknownDomain),
        }
    }

    /// The domain of users that are named without one, by the host that the request is for.
    fn default_domain(&self, host: Option<DomainPart>) -> Result<DomainPart, Failure> {
        if let Some(domain) = host
            && self.0.contains_key(&domain)
        {
            return Ok(domain);
        }
        let mut with_rosters = self.0.iter().filter(|(_, rosters)| rosters.is_some());
        match (with_rosters.next(), with_rosters.next()) {
            (Some((domain, _)), None) => Ok(domain.clone()),
            _ => Err(Failure::WhichDomain),
        }
    }
}

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
#[derive(Debug)]
pub struct Admin<S = HttpSource> {
    config: Arc<config::Admin>,
    hosts: Hosts<S>,
    sessions: Arc<Registry>,
    turns: Arc<Turns>,
}

impl<S> Admin<S> {
    /// Serves `config.path` and what is below it; `sessions` are those that are shown.
    pub fn new(config: &config::Admin, hosts: Hosts<S>, sessions: Arc<Registry>) -> Self {
        Self {
            config: Arc::new(config.clone()),
            hosts,
            sessions,
            turns: Arc::default(),
        }
    }
}

impl<S> Admin<S> {
    /// Where it is served: here and below.
    pub fn path(&self) -> &str {
        &self.config.path
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

    fn serves(&self, domain: &DomainPart) -> bool {
        self.hosts.0.load().0.contains_key(domain)
    }
}

impl<S> Clone for Admin<S> {
    fn clone(&self) -> Self {
        Self {
            config: Arc::clone(&self.config),
            hosts: self.hosts.clone(),
            sessions: Arc::clone(&self.sessions),
            turns: Arc::clone(&self.turns),
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

/// Whether a request to `path` only reads. A refresh does not, even if it is a `GET`.
fn intent(method: &Method, path: Option<&str>) -> Intent {
    let target = path.and_then(Target::parse).map(|target| target.what);
    let is_refresh = matches!(target, Some(What::Refresh(_) | What::RefreshMany));
    if is_refresh || !answer::is_read(method) {
        Intent::Change
    } else {
        Intent::Read
    }
}

/// What a path names.
struct Target {
    domain: Option<String>,
    what: What,
}

enum What {
    /// The users are in the body.
    RefreshMany,
    Refresh(String),
    Roster(String),
    Sessions,
    Status,
    /// Nothing but the page.
    Asset,
}

impl Target {
    /// Reads what follows `config.path`.
    fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        // Bytes that are no UTF-8 make a username that nobody has, not another path.
        let decoded = |segment| percent_decode_str(segment).decode_utf8_lossy();
        let segments: Vec<_> = path.split('/').map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        let (domain, what) = match segments[..] {
            ["sessions"] => (None, What::Sessions),
            ["status"] => (None, What::Status),
            ["" | "status.js" | "status.css"] => (None, What::Asset),
            ["refresh"] => (None, What::RefreshMany),
            ["refresh", user] if !user.is_empty() => (None, What::Refresh(user.into())),
            ["rosters", user] if !user.is_empty() => (None, What::Roster(user.into())),
            [domain, "refresh"] => (Some(domain), What::RefreshMany),
            [domain, "refresh", user] if !user.is_empty() => {
                (Some(domain), What::Refresh(user.into()))
            }
            [domain, "rosters", user] if !user.is_empty() => {
                (Some(domain), What::Roster(user.into()))
            }
            _ => return None,
        };
        Some(Self {
            domain: domain.map(String::from),
            what,
        })
    }

    /// The one method that goes with it.
    fn method(&self) -> Method {
        match self.what {
            What::RefreshMany => Method::POST,
            What::Refresh(_) | What::Roster(_) | What::Sessions | What::Status | What::Asset => {
                Method::GET
            }
        }
    }

    /// Takes the domain from the query, if it is there.
    fn read_query(&mut self, query: &str) -> Result<(), Failure> {
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let fault = |expected| Failure::Parameter {
                name: name.clone().into_owned(),
                expected,
            };
            match (&*name, &self.domain) {
                ("host", None) => self.domain = Some(value.into_owned()),
                ("host", Some(_)) => return Err(fault("the domain is named already")),
                _ => return Err(fault("no such parameter: host")),
            }
        }
        Ok(())
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
        let allowed = target.method();
        let is_allowed = *request.method() == allowed;
        let query = uri.query().unwrap_or_default();
        if is_allowed && matches!(target.what, What::Roster(_)) {
            target.read_query(query)?;
        }
        let table = self.hosts.0.load_full();
        let path_domain = match &target.domain {
            Some(name) => {
                let domain = domain(name).ok_or(Failure::UnknownDomain)?;
                table.rosters(&domain)?;
                Some(domain)
            }
            None => None,
        };
        if !is_allowed {
            return Err(Failure::Method { allowed });
        }
        let call = Call {
            table,
            path_domain,
            host: host(&request),
            after: self.config.deadline,
            deadline: Instant::now() + self.config.deadline,
            metrics: Arc::clone(&self.sessions.metrics),
            turns: Arc::clone(&self.turns),
            answer: Answer::preferred(request.headers()),
        };
        match target.what {
            What::RefreshMany if coding::is_coded(request.headers()) => Err(Failure::Coded),
            What::RefreshMany => call.many(request.into_body(), self.config.max_body).await,
            What::Refresh(user) => call.one(&user).await,
            What::Roster(user) => call.show(&user),
            What::Status => Ok(status::status(&self.sessions, &call.table)),
            What::Asset => Err(Failure::NotFound),
            What::Sessions => Ok(sessions::list(&self.sessions, &Filter::parse(query)?)),
        }
    }
}
