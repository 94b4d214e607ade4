//! Refreshes of one request, all within its deadline.
//!
//! A caller may prefer to be answered at once (RFC 7240 §4.1): if it is the only worker of the backend, the gateway
//! cannot fetch the lists while it waits. An accepted refresh goes on without its caller. Whoever is not reached before
//! the deadline counts as an error, and is refreshed after it ([`jobs`](super::jobs)). When the gateway stops, refreshes
//! have its drain time to end; callers, or the log, are told of those that have not.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{TryFutureExt as _, future::Either};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use jid::{BareJid, DomainPart};
use smallvec::SmallVec;
use tokio::{
    join,
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    task::yield_now,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{
    Lists, Peer, Table,
    jobs::{Job, Running},
    others::{Others, refresh::Shared},
    respond::{self, Failed, Failure, Outcome, Summary},
};
use crate::{
    backend::ContactSource,
    metrics::{Limit, Metrics},
    net::{answer, body, drain},
    roster::{Username, address},
    writer::{self, Call as Notification},
};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A longer array waits for its turn, bytes.
const LONG: usize = 64 << 10;

/// Users who are looked up before other tasks have their turn.
const TURN: usize = 1000;

/// Bound on the bodies of all refreshes that are accepted and unfinished, bytes.
const ACCEPTED: usize = 4 << 20;

/// Least size that one of them counts for, bytes.
const SMALL: usize = 4 << 10;

/// Most users whom one line of the log names.
const MOST_LOGGED: usize = 50;

/// Most entries of `failed`.
const MOST_FAILED: usize = 1000;

/// A request, without the users that it names.
pub(super) struct Call<S> {
    pub(super) table: Arc<Table<S>>,
    /// The domain that the path names; configured, and with rosters.
    pub(super) path_domain: Option<DomainPart>,
    pub(super) host: Option<DomainPart>,
    /// Who calls, for the log.
    pub(super) caller: Option<Peer>,
    /// How long the request may take, and when that ends.
    pub(super) after: Duration,
    pub(super) deadline: Instant,
    pub(super) metrics: Arc<Metrics>,
    /// For long arrays.
    pub(super) turns: Arc<Turns>,
    /// The gateway waits for the call until it stops.
    pub(super) stop: drain::Watch,
    pub(super) answer: Answer,
    /// Whoever else has to do it.
    pub(super) others: Others,
}

/// When a caller wants to be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    AtOnce,
    WhenDone,
}

impl Answer {
    /// What the caller prefers.
    pub(super) fn preferred(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(PREFER).iter();
        let preferences = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b','));
        let mut names = preferences.filter_map(|it| it.split(|byte| b"=;".contains(byte)).next());
        if names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"respond-async")) {
            Self::AtOnce
        } else {
            Self::WhenDone
        }
    }
}

/// Turns for which long arrays wait: each array may take forty times its length in memory.
#[derive(Debug)]
pub(super) struct Turns {
    /// Until they are answered.
    all: Semaphore,
    /// Until it is known who of the users is there.
    looking: Semaphore,
    /// For those of other gateways.
    of_others: Semaphore,
    /// For what has been accepted, until it is done; in units of [`SMALL`].
    accepted: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            all: Semaphore::new(4),
            looking: Semaphore::new(2),
            of_others: Semaphore::new(4),
            accepted: Arc::new(Semaphore::new(ACCEPTED / SMALL)),
        }
    }
}

impl Turns {
    /// A turn of another gateway, if it asks much: users, or bytes.
    pub(super) async fn of_others(&self, size: usize) -> Option<SemaphorePermit<'_>> {
        if size <= TURN {
            return None;
        }
        // It is never closed.
        self.of_others.acquire().await.ok()
    }

    /// A place for names of so many bytes that are refreshed while nobody waits.
    pub(super) fn place(&self, size: usize) -> Option<OwnedSemaphorePermit> {
        let units = size.clamp(SMALL, ACCEPTED).div_ceil(SMALL);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let accepted = Arc::clone(&self.accepted);
        accepted.try_acquire_many_owned(units).ok()
    }
}

impl<S: ContactSource + 'static> Lists<S> {
    /// Whether there is anything to refresh. Where the server holds the lists, there always is.
    pub(super) fn is_lent(&self, user: &Username) -> bool {
        match self {
            Self::Gateway(rosters) => rosters.is_lent(user),
            Self::Server(_) => true,
        }
    }

    /// How many refreshes should be under way at once.
    pub(super) fn concurrency(&self) -> usize {
        match self {
            Self::Gateway(rosters) => rosters.options().concurrency,
            Self::Server(_) => writer::AT_ONCE,
        }
    }

    /// Refreshes a user, in the `call` that names the user; `None` if there is nothing to wait for.
    pub(super) fn begin_refresh(
        &self,
        user: &Username,
        call: &Arc<Notification>,
    ) -> Option<impl Future<Output = Result<(), Failure>> + Send + use<S>> {
        Some(match self {
            Self::Gateway(rosters) => Either::Left(rosters.begin_refresh(user)?.err_into()),
            Self::Server(rosters) => Either::Right(rosters.refresh(user, call).err_into()),
        })
    }

    /// Done when the user is refreshed.
    async fn refresh(&self, user: &Username) -> Result<(), Failure> {
        match self.begin_refresh(user, &Arc::default()) {
            Some(refreshing) => refreshing.await,
            None => Ok(()),
        }
    }
}

impl<S: ContactSource + 'static> Call<S> {
    /// Refreshes one user.
    pub(super) async fn one(self, name: &str) -> Result<Response<Full<Bytes>>, Failure> {
        let default = self.default_domain([name])?;
        let (domain, user) = self.user(name, default.as_ref())?;
        let lists = self.table.rosters(&domain)?.clone();
        let accepted = self.accept(name.len())?;
        let mut shared = Shared::default();
        if matches!(lists, Lists::Gateway(_)) {
            shared.push(format!("{user}@{domain}"), SmallVec::from([0]));
        }
        let refreshing = async move {
            let (refreshed, words) = join!(
                self.in_time(lists.refresh(&user)),
                self.refresh_elsewhere(&shared)
            );
            let mut failures = [refreshed.and_then(|it| it).err()];
            shared.add(words, &mut failures);
            let [failure] = failures;
            let updated = usize::from(failure.is_none());
            self.metrics.refreshed(updated, 1 - updated);
            failure.map_or(Ok(()), Err)
        };
        let Some(accepted) = accepted else {
            refreshing.await?;
            return Ok(answer::json(StatusCode::OK, &Outcome::ok()));
        };
        let user = name.to_owned();
        tokio::spawn(async move {
            if let Err(error) = refreshing.await {
                warn!(user, %error, "accepted roster refresh failed");
            }
            drop(accepted);
        });
        Ok(respond::accepted())
    }

    /// Refreshes the users that the body names.
    pub(super) async fn many<B>(
        self,
        body: B,
        limit: usize,
    ) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let body = self.body(body, limit).await?;
        let accepted = self.accept(body.len())?;
        let turns = Arc::clone(&self.turns);
        // An accepted refresh must not wait for one whose caller waits: that caller may keep the backend busy.
        let _among_all = match accepted {
            Some(_) => None,
            None => self.turn(&turns.all, &body).await?,
        };
        let looking = self.turn(&turns.looking, &body).await?;
        let names: Vec<String> = serde_json::from_slice(&body).map_err(|error| {
            let problem = error.to_string();
            Failure::Body { problem }
        })?;
        let default = self.default_domain(names.iter().map(String::as_str))?;
        // Users who are not reached before the deadline keep this failure.
        let mut failures = vec![Some(Failure::Deadline { after: self.after }); names.len()];
        let (jobs, shared) = self.jobs(&names, default.as_ref(), &mut failures).await;
        let mut all = failures.iter();
        if !names.is_empty() && all.all(|it| matches!(it, Some(Failure::Username))) {
            return Err(Failure::Usernames);
        }
        let jobs = self.pass_over(jobs, &mut failures).await;
        // Backends may be slow: requests that name nobody who is online need not wait for them.
        drop(looking);
        let refreshing = async move {
            let (rest, words) = join!(
                self.run(jobs, &mut failures),
                self.refresh_elsewhere(&shared)
            );
            shared.add(words, &mut failures);
            self.count(&failures);
            (rest, failures)
        };
        let Some(accepted) = accepted else {
            let (rest, failures) = refreshing.await;
            if let Some(rest) = rest {
                rest.go_on(|size| turns.place(size));
            }
            return Ok(summary(names, failures));
        };
        tokio::spawn(async move {
            let (rest, failures) = refreshing.await;
            report(&names, &failures);
            drop(names);
            if let Some(rest) = rest {
                rest.go_on(|_| Some(accepted));
            }
        });
        Ok(respond::accepted())
    }

    /// A place among the accepted refreshes, if the caller prefers that.
    fn accept(&self, size: usize) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        if self.answer == Answer::WhenDone {
            return Ok(None);
        }
        let place = self.turns.place(size);
        place.map(Some).ok_or(Failure::TooManyAccepted)
    }

    fn count(&self, failures: &[Option<Failure>]) {
        let mut failed = failures.iter().flatten();
        if failed.any(|failure| matches!(failure, Failure::Deadline { .. })) {
            self.metrics.limit(Limit::AdminDeadline);
        }
        let failed = failures.iter().flatten().count();
        self.metrics.refreshed(failures.len() - failed, failed);
    }

    /// One of the turns, for a long array.
    async fn turn<'a>(
        &self,
        turns: &'a Semaphore,
        body: &[u8],
    ) -> Result<Option<SemaphorePermit<'a>>, Failure> {
        if body.len() <= LONG {
            return Ok(None);
        }
        // They are never closed.
        self.in_time(turns.acquire()).await.map(Result::ok)
    }

    /// What comes of `work`, unless the deadline or the end of the gateway comes first.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            done = timeout_at(self.deadline, work) => {
                done.map_err(|_| Failure::Deadline { after: self.after })
            }
            () = stop.stopped() => Err(Failure::Stopping),
        }
    }

    /// The body of a request.
    pub(super) async fn body<B: Body>(&self, body: B, limit: usize) -> Result<Bytes, Failure> {
        match self.in_time(body::read(body, limit)).await {
            Ok(body) => Ok(body?),
            Err(Failure::Deadline { .. }) => Err(Failure::SlowBody),
            Err(failure) => Err(failure),
        }
    }

    /// A turn among all, for a long body.
    pub(super) async fn long_turn(
        &self,
        body: &[u8],
    ) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        self.turn(&self.turns.all, body).await
    }

    /// The domain of names that have none; `None` if all have one.
    pub(super) fn default_domain<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<DomainPart>, Failure> {
        if names.into_iter().all(|name| name.contains('@')) {
            return Ok(None);
        }
        if let Some(domain) = &self.path_domain {
            return Ok(Some(domain.clone()));
        }
        let domain = self.table.default_domain(self.host.clone())?;
        self.table.rosters(&domain)?;
        Ok(Some(domain))
    }

    pub(super) fn user(
        &self,
        name: &str,
        default: Option<&DomainPart>,
    ) -> Result<(DomainPart, Username), Failure> {
        if !name.contains('@') {
            let user = Username::prepare(name).ok_or(Failure::Username)?;
            let domain = default.ok_or(Failure::WhichDomain)?;
            return Ok((domain.clone(), user));
        }
        let jid = address::prepare(name).ok_or(Failure::Username)?;
        let jid = BareJid::try_from(jid).map_err(|_| Failure::Username)?;
        let user = Username::from(jid.node().ok_or(Failure::Username)?);
        let domain = jid.domain().to_owned();
        match &self.path_domain {
            Some(other) if *other != domain => Err(Failure::OtherDomain),
            _ => Ok((domain, user)),
        }
    }

    /// One job for each user, in the order of the names, and what others have to be asked. Lets other tasks run meanwhile: there may be very many names.
    pub(super) async fn jobs(
        &self,
        names: &[String],
        default: Option<&DomainPart>,
        failures: &mut [Option<Failure>],
    ) -> (Vec<Job<S>>, Shared) {
        let mut jobs: Vec<Job<S>> = Vec::new();
        let mut known = HashMap::<(DomainPart, Username), usize>::new();
        for (entry, name) in names.iter().enumerate() {
            if entry % TURN == TURN - 1 {
                yield_now().await;
            }
            let user = self.user(name, default);
            let found = user.and_then(|(domain, user)| {
                let lists = self.table.rosters(&domain)?.clone();
                Ok((domain, user, lists))
            });
            let (domain, user, lists) = match found {
                Ok(found) => found,
                Err(failure) => {
                    failures[entry] = Some(failure);
                    continue;
                }
            };
            let job = *known.entry((domain, user.clone())).or_insert_with(|| {
                let entries = SmallVec::new();
                jobs.push(Job {
                    lists,
                    user,
                    entries,
                });
                jobs.len() - 1
            });
            jobs[job].entries.push(entry);
        }
        let mut shared = Shared::default();
        if self.others.may_exist() {
            for ((domain, user), job) in known {
                let job = &jobs[job];
                if matches!(job.lists, Lists::Gateway(_)) {
                    shared.push(format!("{user}@{domain}"), job.entries.clone());
                }
            }
        }
        (jobs, shared)
    }

    /// The jobs for which there is something to do. Most requests name only users who are offline.
    pub(super) async fn pass_over(
        &self,
        jobs: Vec<Job<S>>,
        failures: &mut [Option<Failure>],
    ) -> Vec<Job<S>> {
        let mut left = Vec::new();
        for (index, job) in jobs.into_iter().enumerate() {
            if index % TURN == TURN - 1 {
                yield_now().await;
            }
            if job.lists.is_lent(&job.user) {
                left.push(job);
            } else {
                job.entries
                    .into_iter()
                    .for_each(|entry| failures[entry] = None);
            }
        }
        left
    }

    /// Runs the jobs until the deadline, and returns those that are left, unless the gateway stops.
    pub(super) async fn run(
        &self,
        jobs: Vec<Job<S>>,
        failures: &mut [Option<Failure>],
    ) -> Option<Running<S>> {
        let call = notification(&jobs);
        let mut running = Running::new(jobs, call);
        loop {
            match self.in_time(running.next()).await {
                Ok(Some((entries, refreshed))) => {
                    let failure = refreshed.err();
                    for entry in entries {
                        failures[entry].clone_from(&failure);
                    }
                }
                Err(Failure::Stopping) => {
                    let is_left =
                        |it: &&mut Option<Failure>| matches!(it, Some(Failure::Deadline { .. }));
                    for failure in failures.iter_mut().filter(is_left) {
                        *failure = Some(Failure::Stopping);
                    }
                    return None;
                }
                Ok(None) | Err(_) => return Some(running),
            }
        }
    }
}

/// The users whose lists the server holds.
fn notification<S: ContactSource + 'static>(jobs: &[Job<S>]) -> Arc<Notification> {
    let jids = jobs.iter().filter_map(|job| match &job.lists {
        Lists::Gateway(_) => None,
        Lists::Server(rosters) => rosters.jid(&job.user),
    });
    Notification::naming(jids)
}

impl<E> From<body::ReadError<E>> for Failure {
    fn from(error: body::ReadError<E>) -> Self {
        match error {
            body::ReadError::TooLarge { limit } => Self::TooLarge { limit },
            body::ReadError::Broken(_) => Self::Body {
                problem: "it ended early".into(),
            },
        }
    }
}

/// Logs the outcome of an accepted refresh: its caller does not hear it.
fn report(names: &[String], failures: &[Option<Failure>]) {
    let failed = names.iter().zip(failures);
    let failed: Vec<_> = failed
        .filter_map(|(name, failure)| Some((name.as_str(), failure.as_ref()?)))
        .collect();
    let (updated, errors) = (names.len() - failed.len(), failed.len());
    let Some((_, error)) = failed.first() else {
        info!(updated, errors, "rosters refreshed");
        return;
    };
    let users: Vec<_> = failed
        .iter()
        .map(|(name, _)| *name)
        .take(MOST_LOGGED)
        .collect();
    let users = users.join(" ");
    warn!(updated, errors, users, %error, "accepted roster refresh failed");
}

fn summary(names: Vec<String>, failures: Vec<Option<Failure>>) -> Response<Full<Bytes>> {
    let total = names.len();
    let mut errors = 0;
    let mut failed = Vec::new();
    for (username, failure) in names.into_iter().zip(failures) {
        let Some(failure) = failure else { continue };
        errors += 1;
        if failed.len() < MOST_FAILED {
            let reason = failure.to_string();
            failed.push(Failed { username, reason });
        }
    }
    let updated = total - errors;
    info!(updated, errors, "rosters refreshed");
    let (status, outcome) = if errors > 0 && updated == 0 {
        let outcome = Outcome::error("roster update failed");
        (StatusCode::INTERNAL_SERVER_ERROR, outcome)
    } else {
        (StatusCode::OK, Outcome::ok())
    };
    let failed_omitted = errors - failed.len();
    let summary = Summary {
        outcome,
        updated,
        errors,
        failed,
        failed_omitted,
    };
    answer::json(status, &summary)
}
