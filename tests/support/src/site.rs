//! Server that a test of the protocol runs against: our Prosody, or any other that has a BOSH and a WebSocket of its own.
//!
//! No test can configure another server, so the environment tells all that is needed:
//!
//! - `BOSH_URL`: where its BOSH is, `http://127.0.0.1:5280/http-bind`
//! - `WEBSOCKET_URL`: where its WebSocket is, `ws://127.0.0.1:5280/xmpp-websocket`
//! - `BOSH_DOMAIN`: what it serves there
//! - `BOSH_C2S`: where it takes plain TCP streams, `127.0.0.1:5222`
//! - `BOSH_USERS`: a line `name:password` for each of a dozen users; a test takes them in turn

use std::{
    collections::VecDeque,
    env,
    sync::{LazyLock, Mutex, OnceLock},
};

use crate::{
    client::{Account, Client, Transport},
    gateway::{Place, Server},
    http::Endpoint,
    prosody::{DOMAIN, Prosody},
};

/// What a test says if it applies to rostergate alone.
pub const ONLY_ROSTERGATE: &str = "only for rostergate";

/// The server for tests that need nothing special.
pub enum Site {
    Prosody(&'static Prosody),
    Foreign(&'static Foreign),
}

/// A server whose own BOSH takes the place of the gateway.
pub struct Foreign {
    place: Place,
    websocket: Endpoint,
    users: Mutex<VecDeque<Account>>,
}

static FOREIGN: LazyLock<Option<Foreign>> = LazyLock::new(Foreign::from_environment);

/// The BOSH to test in place of rostergate's.
pub fn foreign() -> Option<&'static Foreign> {
    FOREIGN.as_ref()
}

/// The domain of the server.
pub fn domain() -> &'static str {
    foreign().map_or(DOMAIN, |foreign| &foreign.place.domain)
}

/// Ends a test of something that a specification leaves open and rostergate has decided for itself: `make compare`
/// shows no verdict for others.
#[track_caller]
pub fn only_rostergate(why: &str) {
    assert!(foreign().is_none(), "{ONLY_ROSTERGATE}: {why}");
}

impl Site {
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Site> = OnceLock::new();
        SHARED.get_or_init(|| match foreign() {
            Some(foreign) => Self::Foreign(foreign),
            None => Self::Prosody(Prosody::shared()),
        })
    }

    pub fn domain(&self) -> &str {
        domain()
    }

    /// A user with a unique name.
    pub fn account(&self, name: &str) -> Account {
        match self {
            Self::Prosody(prosody) => prosody.account(name),
            Self::Foreign(foreign) => {
                let mut users = foreign.users.lock().expect("no test ends here");
                users.pop_front().expect("BOSH_USERS has enough of them")
            }
        }
    }

    /// Logs in over TCP, past any BOSH.
    pub async fn login(&self, account: &Account, resource: &str) -> Client {
        Client::login(&Transport::Tcp(self.place().c2s), account, resource).await
    }

    /// A new user, logged in over TCP and available.
    pub async fn contact(&self, name: &str) -> Client {
        let mut client = self.login(&self.account(name), "desk").await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    }
}

impl Server for Site {
    fn place(&self) -> Place {
        match self {
            Self::Prosody(prosody) => prosody.place(),
            Self::Foreign(foreign) => foreign.place.clone(),
        }
    }
}

impl Foreign {
    pub fn bosh(&self) -> &Endpoint {
        &self.place.bosh
    }

    pub fn websocket(&self) -> &Endpoint {
        &self.websocket
    }

    fn from_environment() -> Option<Self> {
        env::var_os("BOSH_URL")?;
        let needed = |name: &str| {
            env::var(name).unwrap_or_else(|_| panic!("BOSH_URL is set, {name} is not"))
        };
        let domain = needed("BOSH_DOMAIN");
        let users = needed("BOSH_USERS");
        let users = users.lines().map(|line| {
            let (local, password) = line.split_once(':').expect("a name and a password");
            Account {
                local: local.to_owned(),
                domain: domain.clone(),
                password: password.to_owned(),
            }
        });
        let users = Mutex::new(users.collect());
        let c2s = needed("BOSH_C2S").parse().expect("BOSH_C2S is an address");
        let bosh = endpoint("BOSH_URL", "http", &needed("BOSH_URL"));
        let websocket = endpoint("WEBSOCKET_URL", "ws", &needed("WEBSOCKET_URL"));
        let place = Place { domain, c2s, bosh };
        Some(Self {
            place,
            websocket,
            users,
        })
    }
}

fn endpoint(variable: &str, scheme: &str, url: &str) -> Endpoint {
    let parts = || {
        let rest = url.strip_prefix(scheme)?.strip_prefix("://")?;
        let (address, path) = rest.split_once('/')?;
        Some(Endpoint::new(address.parse().ok()?, &format!("/{path}")))
    };
    parts().unwrap_or_else(|| panic!("{variable} is {scheme}://, an address, a port and a path"))
}
