//! Writer of contact lists: puts the lists of a host into its XMPP server, where all clients find them, those that do not
//! come by the gateway, too (`rosters = "server"`). It knows nothing of sessions and stanzas.
//!
//! A refresh fetches the list from the site, whether or not its user is online, compares it with what the server holds,
//! and writes the difference ([`crate::roster::plan`]). Nothing is kept: the server's list is the truth, so it does not
//! matter who has changed it, or whether the last refresh was cut short.
//!
//! ```text
//!   refresh(john) -> site: john's list -> server: john's list -> changes -> site: lists of the contacts concerned
//!       -> server: write their items of john, then john's items -> probes
//! ```
//!
//! Both owners' items are there before a probe. The user's own list comes last, so that it differs from the site's as long
//! as something is left to do. One refresh of a user runs at a time; those that come meanwhile share the next, so that each
//! notification is answered by a fetch that began after it. What fails is tried again (`retries`), and told to
//! whoever notified.
//!
//! `prosody` and `ejabberd` are the servers, `api` is what they have in common.

mod api;
mod call;
mod counterparts;
mod ejabberd;
mod error;
mod list;
#[cfg(test)]
mod model;
mod one_sided;
mod pace;
mod pairs;
mod prosody;
mod refresh;
mod retries;
mod turns;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jid::{BareJid, DomainPart};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::warn;

pub use self::{call::Call, error::WriteError};
use self::{
    call::SiteList,
    counterparts::Written,
    ejabberd::Ejabberd,
    list::{Done, Refresh},
    one_sided::OneSided,
    pace::Pace,
    pairs::Pairs,
    prosody::Prosody,
    retries::{Concerned, Pushed, Retries},
    turns::{Turn, Turns},
};
use crate::{
    backend::{
        ContactSource, FetchError, Fetched,
        failures::{Failure, Failures},
        off_thread,
    },
    clock::since_1970,
    config::{WriterEndpoint, WriterKind, Writing},
    metrics::{self, health::Dependency, recent::Recent},
    roster::{
        Contact, Roster, Username,
        left_out::LeftOut,
        plan::{Changes, Held, Own},
    },
};

/// Most refreshes that run at once: each has two lists in memory.
pub const AT_ONCE: usize = 8;
/// Most logins whose refreshes are under way or wait for their turn; others are dealt with as what has failed.
const LOGINS: usize = 1000;

/// Most users whom one line of the log names.
const MOST_NAMED: usize = 50;
/// Most users whose latest list from the site is remembered, as far as people look into it.
const MOST_SEEN: usize = 1000;

/// List that has come from the site, for people who look into it. The list itself is in the server.
#[derive(Clone, Debug)]
pub struct Seen {
    user: Username,
    /// When it came, as time since 1970 (UTC).
    pub at: Duration,
    /// How many contacts it had.
    pub contacts: usize,
    /// The first entries that could not be used, and how many there were.
    pub left_out: LeftOut,
}

/// The lists of one host that its server holds.
#[derive(Debug)]
pub struct ServerRosters<S> {
    source: S,
    domain: DomainPart,
    settings: ArcSwap<Settings>,
    turns: Turns,
    pairs: Pairs,
    one_sided: OneSided,
    /// How many lists were asked for.
    fetches: AtomicU64,
    retries: Retries,
    at_once: Semaphore,
    logins: Semaphore,
    failures: Failures<WriteError>,
    /// The site's latest lists, one for each user.
    seen: Recent<Seen>,
    metrics: metrics::Domain,
}

/// What a reload of the configuration replaces.
#[derive(Debug)]
pub struct Settings {
    server: Server,
    pace: Pace,
    writing: Writing,
}

impl Settings {
    /// Settings for the server of `domain`.
    pub fn new(endpoint: &WriterEndpoint, writing: Writing, domain: &DomainPart) -> Self {
        let server = match endpoint.kind {
            WriterKind::Prosody => Server::Prosody(Prosody::new(endpoint, domain, AT_ONCE)),
            WriterKind::Ejabberd => {
                Server::Ejabberd(Ejabberd::new(endpoint, domain.clone(), AT_ONCE))
            }
        };
        Self {
            server,
            pace: Pace::new(writing.rate),
            writing,
        }
    }

    /// How many contacts the server has on the list of `user`, for whoever tries these settings.
    ///
    /// # Errors
    ///
    /// The server does not let its lists be read.
    pub async fn try_out(&self, user: &Username) -> Result<usize, WriteError> {
        let held = self.server.held(user, self.writing.own).await?;
        Ok(held.roster.len())
    }
}

/// An XMPP server that holds lists.
#[derive(Debug)]
enum Server {
    Prosody(Prosody),
    Ejabberd(Ejabberd),
    #[cfg(test)]
    Played(model::Played),
}

impl Server {
    async fn held(&self, user: &Username, own: Own) -> Result<Held, WriteError> {
        match self {
            Self::Prosody(server) => server.held(user).await,
            Self::Ejabberd(server) => server.held(user, own).await,
            #[cfg(test)]
            Self::Played(server) => server.held(user).await,
        }
    }

    /// The contact as this server can hold it.
    fn adapt(&self, contact: &mut Contact) {
        if let Self::Ejabberd(_) = self {
            Ejabberd::adapt(contact);
        }
    }

    /// Makes `changes` to what is `held`; counts them in `written`.
    async fn write(
        &self,
        user: &Username,
        changes: &Changes,
        held: &Held,
        settings: &Settings,
        written: &mut usize,
    ) -> Result<(), WriteError> {
        let pace = &settings.pace;
        match self {
            Self::Prosody(server) => server.write(user, changes, pace, written).await,
            Self::Ejabberd(server) => {
                let own = settings.writing.own;
                server.write(user, changes, held, own, pace, written).await
            }
            #[cfg(test)]
            Self::Played(server) => {
                server.write(user, changes).await;
                Ok(())
            }
        }
    }

    /// Says on the list of `user` that the pairs with these contacts are open ([`Held::open`]).
    async fn open(
        &self,
        user: &Username,
        contacts: Vec<BareJid>,
        own: Own,
    ) -> Result<(), WriteError> {
        match self {
            Self::Prosody(server) => server.open(user, contacts).await,
            Self::Ejabberd(server) => server.open(user, contacts, own).await,
            #[cfg(test)]
            Self::Played(_) => Ok(()),
        }
    }

    /// Whether there is such an account.
    async fn has_account(&self, user: &Username) -> Result<bool, WriteError> {
        if let Self::Ejabberd(server) = self {
            return server.has(user).await;
        }
        match self.held(user, Own::All).await {
            Ok(_) => Ok(true),
            Err(WriteError::NoSuchUser) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether `user` has to be introduced to new contacts ([`Self::introduce`]).
    async fn wants_introductions(&self, user: &Username) -> Result<bool, WriteError> {
        match self {
            Self::Ejabberd(server) => server.is_online(user.as_str()).await,
            _ => Ok(false),
        }
    }

    /// Lets two users who are contacts now see what the other publishes, if the later item is among those that the
    /// caller has written; otherwise, whoever wrote that does this.
    async fn introduce(
        &self,
        owner: &BareJid,
        contact: &BareJid,
        written: Written,
    ) -> Result<(), WriteError> {
        let Self::Ejabberd(server) = self else {
            return Ok(());
        };
        let is_own_later = server.is_later(owner, contact).unwrap_or(written.own);
        match is_own_later {
            true if written.own => server.introduce(owner, contact).await,
            false if written.theirs => server.introduce(contact, owner).await,
            _ => Ok(()),
        }
    }
}

impl<S: ContactSource + 'static> ServerRosters<S> {
    /// The lists of `domain`, which come from `source`. Outcomes are counted in `metrics`.
    pub fn new(
        source: S,
        domain: DomainPart,
        settings: Settings,
        metrics: metrics::Domain,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            domain,
            settings: ArcSwap::from_pointee(settings),
            turns: Turns::default(),
            pairs: Pairs::default(),
            one_sided: OneSided::default(),
            fetches: AtomicU64::default(),
            retries: Retries::new(metrics.unwritten.clone()),
            at_once: Semaphore::new(AT_ONCE),
            logins: Semaphore::new(LOGINS),
            failures: Failures::default(),
            seen: Recent::new(MOST_SEEN),
            metrics,
        })
    }

    /// Where contacts come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The bare JID of a user.
    pub fn jid(&self, user: &Username) -> Option<BareJid> {
        let node = jid::NodePart::new(user.as_str()).ok()?;
        Some(BareJid::from_parts(Some(&node), &self.domain))
    }

    /// Writes by `settings` from now on. Refreshes under way keep those that they began with.
    pub fn replace(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// The latest refresh of a user that failed; a later one may have succeeded.
    pub fn last_failure(&self, user: &Username) -> Option<Failure<WriteError>> {
        self.failures.last_of(user)
    }

    /// The latest list of a user that has come from the site, if it is among the latest of all.
    pub fn last_seen(&self, user: &Username) -> Option<Seen> {
        self.seen.last(|seen| seen.user == *user)
    }

    /// The site says by `call` that the list of `user` has changed. Done when the server has the list. Goes on if the future is dropped. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The list could not be written, or not all of it. It is tried again, if that can help.
    pub fn refresh(
        self: &Arc<Self>,
        user: &Username,
        call: &Arc<Call>,
    ) -> impl Future<Output = Result<(), WriteError>> + Send + use<S> {
        let rosters = Arc::clone(self);
        let call = Arc::clone(call);
        let outcome = self.turns.join(user, call.began(), |turn| {
            let user = user.clone();
            async move {
                let _place = rosters.at_once.acquire().await;
                let turn = turn.begin().await;
                let pushes = rosters.retries.pushes();
                rosters.run(&user, &call, &turn, None, pushes).await
            }
        });
        outcome.result()
    }

    /// The site says what the list of `user` is. Done when the server has it. Goes on if the future is dropped. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// The list could not be written, or not all of it. It is tried again by a fetch, if that can help.
    pub fn put(
        self: &Arc<Self>,
        user: &Username,
        contacts: Vec<Contact>,
        left_out: &LeftOut,
    ) -> impl Future<Output = Result<(), WriteError>> + Send + use<S> {
        self.source.note_left_out(user, left_out);
        self.metrics.left_out(left_out.count());
        // From now on, it is later than what was fetched before.
        let list = self.site_list(user);
        let pushes = self.retries.pushes();
        let call = Call::default();
        let rosters = Arc::clone(self);
        let user = user.clone();
        let writing = tokio::spawn(async move {
            let is_large = contacts.len() > list::LARGE;
            let roster = off_thread(is_large, || Arc::new(Roster::new(contacts))).await?;
            let put = SiteList { roster, ..list };
            let _place = rosters.at_once.acquire().await;
            let turn = rosters.turns.turn(&user, call.began()).await;
            rosters.run(&user, &call, &turn, Some(put), pushes).await
        });
        async move {
            let written = writing.await;
            written.unwrap_or(Err(WriteError::Fetch(FetchError::Abandoned)))
        }
    }

    /// A user has logged in, who may have changed the list, or whose list may never have been written.
    pub fn logged_in(self: &Arc<Self>, user: &Username) {
        let rosters = Arc::clone(self);
        let user = user.clone();
        tokio::spawn(async move {
            match rosters.logins.try_acquire() {
                // It has been logged.
                Ok(_place) => drop(rosters.refresh(&user, &Arc::default()).await),
                Err(_) => {
                    rosters.try_later(&user);
                }
            }
        });
    }

    /// Refreshes `user` as soon as there is time, by a fetch that begins after this. Says whether that can be: there
    /// may be too many of them. Must be called in a tokio runtime.
    #[must_use]
    pub fn refresh_later(self: &Arc<Self>, user: &Username) -> bool {
        self.try_later(user) != Pushed::Not
    }

    /// Logs whose lists are still to be written, as the gateway stops.
    pub fn report_unwritten(&self) {
        let unwritten = self.turns.all().into_iter().chain(self.retries.all());
        let unwritten: BTreeSet<_> = unwritten.collect();
        if unwritten.is_empty() {
            return;
        }
        let users: Vec<_> = unwritten
            .iter()
            .map(Username::as_str)
            .take(MOST_NAMED)
            .collect();
        let (domain, lists, users) = (self.domain.as_str(), unwritten.len(), users.join(" "));
        warn!(
            domain,
            lists, users, "contact lists unwritten as the gateway stops: refresh these users again"
        );
    }

    /// Refreshes a user whose turn it is, for what had been pushed to the retries by then.
    async fn run(
        self: &Arc<Self>,
        user: &Username,
        call: &Call,
        turn: &Turn,
        put: Option<SiteList>,
        pushes: u64,
    ) -> Result<(), WriteError> {
        let settings = self.settings.load_full();
        let outcome = match self.jid(user) {
            Some(own) => {
                let refresh = Refresh {
                    rosters: self,
                    settings: &settings,
                    user,
                    own,
                    call,
                    since: turn.since(),
                    put,
                };
                refresh.run().await
            }
            None => Err(WriteError::NoSuchUser),
        };
        self.note(user, &outcome, pushes);
        outcome.map(|_| ())
    }

    /// The list of a user before it is fetched.
    fn site_list(&self, user: &Username) -> SiteList {
        SiteList {
            roster: Arc::default(),
            list: Arc::new(self.turns.list(user)),
            began: Instant::now(),
            number: self.fetches.fetch_add(1, Ordering::Relaxed) + 1,
            is_shared: false,
        }
    }

    /// The contacts of a user, as the site lists them now.
    async fn fetch(&self, user: &Username) -> Result<Fetched, FetchError> {
        let began = Instant::now();
        let fetched = self.source.contacts(user, None).await;
        let outcome = match &fetched {
            Ok(_) => "new",
            Err(error) => error.outcome(),
        };
        let metrics = &self.metrics;
        metrics.fetched(outcome, fetched.is_ok(), began.elapsed());
        if let Ok(Fetched::New {
            left_out, contacts, ..
        }) = &fetched
        {
            metrics.left_out(left_out.count());
            let seen = Seen {
                user: user.clone(),
                at: since_1970(),
                contacts: contacts.len(),
                left_out: left_out.beginning(),
            };
            self.seen.replace(|before| before.user == *user, Some(seen));
        }
        fetched
    }

    fn note(self: &Arc<Self>, user: &Username, outcome: &Result<Done, WriteError>, pushes: u64) {
        let metrics = &self.metrics;
        match outcome {
            Ok(done) => {
                metrics.written(done.outcome());
                metrics.writer.note(true, since_1970());
                self.retries.forget(user, pushes);
            }
            Err(error) => {
                metrics.written(error.outcome());
                if error.is_of_server() {
                    metrics.writer.note(false, since_1970());
                }
                metrics.failed_of(user, Dependency::Writer, error);
                self.failures.push(Failure {
                    user: user.clone(),
                    at: since_1970(),
                    error: error.clone(),
                });
                let again = error.may_pass();
                warn!(%user, %error, again, "contact list not written");
                if again {
                    self.try_later(user);
                } else {
                    self.retries.forget(user, pushes);
                }
            }
        }
    }

    /// Refreshes the user later.
    fn try_later(self: &Arc<Self>, user: &Username) -> Pushed {
        let pushed = self.retries.push(user, Instant::now());
        if pushed == Pushed::First {
            tokio::spawn(retry(Arc::downgrade(self)));
        }
        pushed
    }
}

/// Tries the lists that are unwritten, until there are none.
async fn retry<S: ContactSource + 'static>(rosters: Weak<ServerRosters<S>>) {
    let mut under_way = JoinSet::new();
    loop {
        // If they are gone, nobody wants the lists any longer.
        let Some(rosters) = rosters.upgrade() else {
            return;
        };
        while under_way.len() < retries::AT_ONCE
            && let Some(user) = rosters.retries.next(Instant::now())
        {
            under_way.spawn(try_again(Arc::clone(&rosters), user));
        }
        let Some(pause) = rosters.retries.pause(Instant::now()) else {
            return;
        };
        drop(rosters);
        tokio::select! {
            () = sleep(pause), if under_way.len() < retries::AT_ONCE => {}
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn try_again<S: ContactSource + 'static>(rosters: Arc<ServerRosters<S>>, user: Username) {
    let refreshed = rosters.refresh(&user, &Arc::default()).await;
    let failure = refreshed.err().map(|error| match error.is_of_all() {
        true => Concerned::Everybody,
        false => Concerned::User,
    });
    rosters.retries.tried(&user, failure, Instant::now());
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::atomic::AtomicUsize};

    use super::*;
    use crate::{
        config::Config,
        roster::{snapshot::Validators, testing::user},
    };

    /// A site that is down, and how often it was asked.
    #[derive(Default)]
    struct Down(AtomicUsize);

    impl ContactSource for Down {
        async fn contacts(
            &self,
            _user: &Username,
            _known: Option<&Validators>,
        ) -> Result<Fetched, FetchError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(FetchError::Refused)
        }

        fn address(&self, _user: &Username) -> Option<String> {
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_site_that_is_down_is_asked_for_a_few_lists_at_a_time() {
        let text = "[[host]]\ndomain = 'example.org'\nupstream = 'xmpp://127.0.0.1'\n\
            http_roster_url = 'http://127.0.0.1:1/%s'\nrosters = 'server'\nwriter = 'prosody'\n\
            writer_url = 'http://127.0.0.1:1/'\nwriter_token = 'a-token-of-the-tests'\n";
        let config = Config::parse(text, "test.toml", Path::new("."));
        let host = config.expect("valid").hosts.remove(0);
        let endpoint = host.writer.as_ref().expect("there is one");
        let settings = Settings::new(endpoint, host.writing, &host.domain);
        let metrics = metrics::Domain::default();
        let rosters = ServerRosters::new(Down::default(), host.domain, settings, metrics);
        for number in 0..100 {
            let refreshed = rosters.refresh(&user(&format!("u{number}")), &Arc::default());
            assert_eq!(refreshed.await, Err(WriteError::Fetch(FetchError::Refused)));
        }
        let asked = || rosters.source().0.load(Ordering::Relaxed);
        let before = asked();
        sleep(Duration::from_secs(600)).await;
        let more = asked() - before;
        assert!((5..200).contains(&more), "{more} times in ten minutes");
    }
}
