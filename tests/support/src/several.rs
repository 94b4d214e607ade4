//! Several gateways that are one.

use std::net::SocketAddr;

use tokio::task::spawn_blocking;

use crate::{
    client::{Account, Client, Transport},
    gateway::{Builder, Gateway},
    http::Endpoint,
    nats::Nats,
    proxy::{Kind, Proxy},
    unique,
};

/// Gateways `a`, `b`, `c`, …, which know each other.
pub struct Gateways {
    pub all: Vec<Gateway>,
    name: String,
}

impl Gateways {
    /// So many of them.
    pub fn start(nats: &Nats, count: usize, builder: &Builder) -> Self {
        Self::reaching(&vec![nats.url(); count], builder)
    }

    /// One for each way to NATS.
    pub fn reaching(nats: &[String], builder: &Builder) -> Self {
        let name = format!("it-{}-{}", std::process::id(), unique());
        let starting = nats.iter().zip('a'..='z').map(|(nats, node)| {
            let table =
                format!("[cluster]\nnats = [\"{nats}\"]\nname = \"{name}\"\nnode = \"{node}\"");
            let builder = builder.clone().tables(&table);
            std::thread::spawn(|| builder.start_alone())
        });
        let starting: Vec<_> = starting.collect();
        let all = starting.into_iter().map(|it| it.join().expect("it starts"));
        let gateways = Self {
            all: all.collect(),
            name,
        };
        gateways.joined();
        gateways
    }

    /// Three of them.
    pub fn three(nats: &Nats, builder: &Builder) -> Self {
        Self::start(nats, 3, builder)
    }

    /// By this name they find each other.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until each knows of all others.
    pub fn joined(&self) {
        let count = self.all.len();
        self.all.iter().for_each(|it| it.await_members(count));
    }

    /// Stops one in good order, and starts it again; meanwhile others go on.
    pub async fn restart(&mut self, number: usize) {
        let count = self.all.len();
        let mut gateway = self.all.remove(number);
        let restarting = spawn_blocking(move || {
            gateway.signal("TERM");
            assert!(gateway.wait().success(), "{}", gateway.log());
            let gateway = gateway.start_again();
            gateway.await_members(count);
            gateway
        });
        let gateway = restarting.await.expect("it starts again");
        self.all.insert(number, gateway);
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all.iter().map(|it| it.bosh().address).collect()
    }

    /// A balancer before them that knows nothing of sessions.
    pub fn balanced(&self, kind: Kind) -> Balanced {
        let proxy = Proxy::before(kind, &self.addresses());
        let bosh = proxy.http();
        Balanced {
            _proxy: proxy,
            bosh,
        }
    }

    /// How many requests they have passed on to each other, with this outcome.
    pub async fn forwarded(&self, outcome: &str) -> usize {
        let key = format!("rostergate_forwarded_requests_total{{outcome=\"{outcome}\"}}");
        let mut all = 0;
        for gateway in &self.all {
            all += sum(gateway, &key).await;
        }
        all
    }
}

/// A balancer.
pub struct Balanced {
    _proxy: Proxy,
    pub bosh: Endpoint,
}

impl Balanced {
    pub async fn login(&self, account: &Account, resource: &str) -> Client {
        Client::login(&Transport::Bosh(self.bosh.clone()), account, resource).await
    }
}

/// The sum of a gateway's metrics that begin so.
pub async fn sum(gateway: &Gateway, key: &str) -> usize {
    let metrics = gateway.monitoring().request("GET", &[], "").await;
    let lines = metrics.text().lines();
    let values = lines.filter_map(|line| line.strip_prefix(key)?.split(' ').next_back());
    values
        .map(|value| value.parse::<f64>().expect("a number") as usize)
        .sum()
}
