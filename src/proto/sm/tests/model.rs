//! A client, the gateway and a server, whose connections break at any time; the gateway is killed now and then. Whatever
//! happens, no message is lost either way, none comes out of order, and none comes twice to whoever has resumed.
//!
//! *From the server*: a session that begins anew may repeat what the one before had brought, and goes on from there. A
//! message that the server may forget has come. *From the client*: a message that the client may forget is with the
//! server, or the user knows that it is lost.
//!
//! A case is a list of [`Step`]s, so that proptest can shrink it. Time is simulated, and all counters pass 2^32. `STEPS`
//! says how many steps to take in all, `SEED` which ones; a failure prints both, and the shortest list.

mod client;
mod gateway;
mod items;
mod server;
mod wire;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use self::{
    client::{Client, Dropped, Told},
    gateway::{Gateway, Start},
    items::{Item, Order, is_missed, made_of},
    server::{Heard, Server},
    wire::Wire,
};

/// How many steps `cargo test` takes.
const STEPS: u32 = 60_000;
/// How many of them one case has, on average.
const LENGTH: usize = 60;

/// What happens next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Some elements travel on one connection, in one direction.
    Carry(u8),
    /// Others write to the user so many messages.
    ServerSpeaks(u8),
    /// The user writes a message.
    ClientSpeaks,
    /// The gateway says something to the client, or to the server.
    Notify(Side),
    /// One side asks for an acknowledgement.
    Ask(Side),
    /// One side acknowledges without being asked.
    Acknowledge(Side),
    /// The connection of one side breaks.
    Cut(Side),
    /// The gateway notices what is broken.
    GatewayNotices,
    /// The client notices that its connection is broken.
    ClientNotices,
    /// A client that has no connection makes one.
    Connect,
    /// The page of a client that has no connection is loaded from a copy that is so many stanzas old.
    Forget(u8),
    /// The gateway is killed.
    Kill,
    /// The gateway has no time for the client's stanzas, or has it again.
    Busy(bool),
    /// So many milliseconds pass.
    Wait(u32),
}

/// Whom of the gateway's two sides.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Server,
}

/// What the parties are like.
#[derive(Clone, Debug)]
struct Kind {
    /// The client has stream management.
    is_managed: bool,
    start: Start,
}

struct World {
    kind: Kind,
    client: Client,
    gateway: Gateway,
    server: Server,
    /// The client's latest connection, and the gateway's to the server.
    front: Wire,
    back: Wire,
    /// What has come to the server.
    arrived: Order,
    /// What need not arrive any more.
    excused: BTreeSet<Item>,
}

impl World {
    fn new(kind: Kind, now: Instant) -> Self {
        Self {
            client: Client::new(kind.is_managed, kind.start.client),
            gateway: Gateway::new(kind.start, now),
            server: Server::new(kind.start.server),
            kind,
            front: Wire::none(),
            back: Wire::none(),
            arrived: Order::new(),
            excused: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Carry(choice) => self.carry(choice),
            Step::ServerSpeaks(count) => {
                (0..count).for_each(|_| self.server.send(&mut self.back));
            }
            Step::ClientSpeaks => self.client.speak(&mut self.front),
            Step::Notify(Side::Client) => self.gateway.notify_client(),
            Step::Notify(Side::Server) => self.gateway.notify_server(&mut self.back),
            Step::Ask(Side::Client) => self.client.ask(&mut self.front),
            Step::Ask(Side::Server) => self.server.ask(&mut self.back),
            Step::Acknowledge(Side::Client) => self.client.acknowledge(&mut self.front),
            Step::Acknowledge(Side::Server) => self.server.acknowledge(&mut self.back),
            Step::Cut(Side::Client) => self.front.cut(),
            Step::Cut(Side::Server) => self.back.cut(),
            Step::GatewayNotices => {
                self.gateway.notice(&mut self.front, &mut self.back);
            }
            Step::ClientNotices if self.front.is_cut() => self.client.lose_connection(),
            Step::Connect if self.client.is_away() => {
                self.gateway.accept(&mut self.front);
                self.client.connect(&mut self.front);
            }
            Step::Forget(count) if self.client.is_away() => self.client.go_back(count),
            Step::ClientNotices | Step::Connect | Step::Forget(_) => {}
            Step::Kill => {
                self.gateway.die();
                self.front.cut();
                self.back.cut();
            }
            Step::Busy(is_busy) => self.gateway.set_busy(is_busy),
            Step::Wait(time) => self.gateway.pass(Duration::from_millis(time.into())),
        }
        self.gateway.work(&mut self.front, &mut self.back);
    }

    /// Lets one of those arrive that are on their way, or a few.
    fn carry(&mut self, choice: u8) {
        for _ in 0..=choice / 64 {
            let is_read = !self.gateway.is_behind();
            let ways = [
                !self.front.up.is_empty(),
                !self.front.down.is_empty(),
                !self.back.up.is_empty(),
                !self.back.down.is_empty() && is_read,
            ];
            let ways: Vec<_> = (0..4).filter(|way| ways[*way]).collect();
            let Some(way) = ways.get(usize::from(choice) % ways.len().max(1)) else {
                return;
            };
            match way {
                0 => self.carry_to_gateway(),
                1 => self.carry_to_client(),
                2 => self.carry_to_server(),
                _ => {
                    let text = self.back.down.pop_front().unwrap();
                    self.gateway.hear_server(&text);
                }
            }
            self.gateway.work(&mut self.front, &mut self.back);
        }
    }

    fn carry_to_gateway(&mut self) {
        let text = self.front.up.pop_front().unwrap();
        let (sessions, too_low) = (self.gateway.sessions(), self.gateway.too_low());
        self.gateway
            .hear_client(&text, &mut self.front, &mut self.back);
        assert!(
            too_low == self.gateway.too_low() || self.client.is_stale(),
            "who has forgotten nothing may resume"
        );
        if self.gateway.sessions() != sessions {
            // The server ends the stream of the session before.
            self.server.lose_stream();
        }
    }

    fn carry_to_client(&mut self) {
        let text = self.front.down.pop_front().unwrap();
        if text == "close" {
            self.front.cut();
            self.client.lose_connection();
            return;
        }
        let Dropped { messages, told } = self.client.hear(&text, &mut self.front);
        for number in messages {
            let missing = made_of(number).filter(|item| !self.arrived.has_item(*item));
            let missing: Vec<_> = missing.collect();
            let is_known = self.client.returned.contains(&number) || !is_missed(number);
            match told {
                Told::Over if is_known => self.excused.extend(missing),
                Told::Over | Told::Settled => {
                    assert!(missing.is_empty(), "{number} was safe: {told:?}");
                }
            }
        }
    }

    fn carry_to_server(&mut self) {
        let text = self.back.up.pop_front().unwrap();
        match self.server.hear(&text, &mut self.back) {
            Heard::Enable => self.arrived.begin(),
            Heard::Acknowledged(numbers) => {
                for number in numbers {
                    assert!(self.client.has(number), "{number} has come to the client");
                }
            }
            Heard::Item(item) => {
                if !self.kind.is_managed {
                    self.arrived.skip_to(item);
                }
                self.arrived.take(item, &self.excused, "server");
            }
            Heard::Other => {}
        }
    }

    /// All connections are well at last: everything has to arrive.
    fn finish(mut self) {
        self.step(&Step::Busy(false));
        for _ in 0..60 {
            self.step(&Step::GatewayNotices);
            self.step(&Step::ClientNotices);
            self.step(&Step::Connect);
            self.step(&Step::Wait(2_000));
            self.step(&Step::Ask(Side::Client));
            // Only questions and answers go round and round.
            for _ in 0..1_000 {
                self.step(&Step::Carry(0));
                if self.front.is_quiet() && self.back.is_quiet() {
                    break;
                }
            }
            if self.server.is_done() && self.client.is_done() {
                break;
            }
        }
        assert!(self.server.is_done(), "the server was acknowledged all");
        assert!(self.client.is_done(), "the client was acknowledged all");
        let said = 1..=self.server.sent();
        said.for_each(|number| assert!(self.client.has(number), "{number} came to the client"));
        if self.kind.is_managed {
            let said = 1..=self.client.spoken();
            let is_there = |item: &Item| self.arrived.has_item(*item);
            let missing = said.flat_map(made_of).filter(|item| !is_there(item));
            let missing: BTreeSet<_> = missing.collect();
            assert!(missing.is_subset(&self.excused), "lost: {missing:?}");
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = || prop_oneof![Just(Side::Client), Just(Side::Server)];
    let step = prop_oneof![
        30 => any::<u8>().prop_map(Step::Carry),
        4 => (1..6_u8).prop_map(Step::ServerSpeaks),
        4 => Just(Step::ClientSpeaks),
        2 => side().prop_map(Step::Notify),
        2 => side().prop_map(Step::Ask),
        1 => side().prop_map(Step::Acknowledge),
        3 => prop_oneof![3 => Just(Side::Client), 1 => Just(Side::Server)].prop_map(Step::Cut),
        2 => Just(Step::GatewayNotices),
        3 => Just(Step::ClientNotices),
        4 => Just(Step::Connect),
        1 => (0..4_u8).prop_map(Step::Forget),
        1 => prop_oneof![1 => Just(Step::Kill), 3 => Just(Step::Wait(0))],
        1 => prop_oneof![1 => Just(Step::Busy(true)), 2 => Just(Step::Busy(false))],
        3 => (0..3_000_u32).prop_map(Step::Wait),
        1 => (0..400_000_u32).prop_map(Step::Wait),
    ];
    vec(step, 1..2 * LENGTH)
}

fn kinds() -> impl Strategy<Value = Kind> {
    let near = || (0..60_u32).prop_map(|before| 0_u32.wrapping_sub(before));
    let start = ((near(), near()), (near(), near()));
    let is_managed = prop_oneof![5 => Just(true), 1 => Just(false)];
    (is_managed, start).prop_map(|(is_managed, (client, server))| Kind {
        is_managed,
        start: Start { client, server },
    })
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(number) = text.parse() else {
        panic!("{name} is not a number: {text}")
    };
    Some(number)
}

#[test]
fn no_message_is_lost_or_doubled_whatever_breaks() {
    let steps_wanted: u32 = number("STEPS").unwrap_or(STEPS);
    let seed = number("SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let length = u32::try_from(LENGTH).unwrap();
    let now = Instant::now();
    let config = ProptestConfig {
        cases: steps_wanted.div_ceil(length),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 5_000,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&(kinds(), steps()), |(kind, steps)| {
        let mut world = World::new(kind, now);
        for step in &steps {
            world.step(step);
        }
        world.finish();
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("SEED={seed} STEPS={steps_wanted}\n{failure}");
    }
}
