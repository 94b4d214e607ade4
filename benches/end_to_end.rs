//! What one operation costs, end to end: CPU time of the gateway process for an XEP-0199 ping and for a
//! roster get, at 50 sessions over loopback, beside the same through Prosody's own BOSH, in both modes
//! of its garbage collector. Everybody speaks raw BOSH with one request per operation and one
//! operation under way per session; rounds alternate, medians are printed.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::{
    error::Error,
    fs,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use support::{backend::Backend, bosh::Bosh, gateway::Gateway, http::Endpoint, prosody::Prosody};

const SESSIONS: usize = 50;
const CONTACTS: usize = 10;
const ROUNDS: usize = 3;
/// Enough that the clock ticks of 10 ms do not matter.
const OPERATIONS: usize = 400;

const PING: &str = "<iq xmlns='jabber:client' type='get' id='p' to='example.org'>\
                    <ping xmlns='urn:xmpp:ping'/></iq>";
const ROSTER: &str = "<iq xmlns='jabber:client' type='get' id='r'>\
                      <query xmlns='jabber:iq:roster'/></iq>";

/// A session that costs the load generator little.
struct Session {
    connection: TcpStream,
    head: String,
    sid: String,
    rid: u64,
    buffer: Vec<u8>,
}

impl Session {
    async fn take_over(session: &Bosh, endpoint: &Endpoint) -> Result<Self, Box<dyn Error>> {
        let connection = TcpStream::connect(endpoint.address).await?;
        connection.set_nodelay(true)?;
        Ok(Self {
            connection,
            head: format!(
                "POST {} HTTP/1.1\r\nHost: example.org\r\nContent-Type: text/xml\r\nContent-Length: ",
                endpoint.path
            ),
            sid: session.sid.clone(),
            rid: session.rid,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// One request, and its answer.
    async fn operate(&mut self, payload: &str) -> Result<(), Box<dyn Error>> {
        self.rid += 1;
        let (sid, rid) = (&self.sid, self.rid);
        let body = format!(
            "<body xmlns='http://jabber.org/protocol/httpbind' sid='{sid}' rid='{rid}'>{payload}</body>"
        );
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        self.connection.write_all(request.as_bytes()).await?;
        let mut length = 0;
        loop {
            let read = self.connection.read(&mut self.buffer[length..]).await?;
            length += read;
            let text = std::str::from_utf8(&self.buffer[..length])?;
            if read == 0 {
                return Err("connection closed".into());
            }
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let head = head.to_ascii_lowercase();
            let announced = head
                .split_once("content-length: ")
                .ok_or("no Content-Length")?
                .1;
            let announced: usize = announced.split("\r\n").next().unwrap_or_default().parse()?;
            if body.len() >= announced {
                return if body.contains("type='result'") || body.contains("type=\"result\"") {
                    Ok(())
                } else {
                    Err(format!("no result: {body}").into())
                };
            }
        }
    }
}

/// One of the endpoints that are compared.
struct Peer {
    name: &'static str,
    pid: u32,
    sessions: Vec<Session>,
    /// Microseconds of CPU per operation: ping, roster get.
    figures: [Vec<f64>; 2],
}

impl Peer {
    async fn log_in(
        name: &'static str,
        pid: u32,
        endpoint: &Endpoint,
        prosody: &Prosody,
        users: &[String],
    ) -> Result<Self, Box<dyn Error>> {
        let mut sessions = Vec::new();
        for user in users {
            let account = prosody.account_named(user);
            let session = Bosh::log_in(endpoint, &account, name).await;
            sessions.push(Session::take_over(&session, endpoint).await?);
        }
        Ok(Self {
            name,
            pid,
            sessions,
            figures: Default::default(),
        })
    }

    /// Runs the same operation on all sessions at once; CPU time of the process and wall time, in
    /// microseconds per operation.
    async fn run(&mut self, payload: &'static str) -> Result<(f64, f64), Box<dyn Error>> {
        let before = cpu_time(self.pid)?;
        let begin = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for mut session in self.sessions.drain(..) {
            running.spawn(async move {
                for _ in 0..OPERATIONS {
                    session
                        .operate(payload)
                        .await
                        .map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(session)
            });
        }
        while let Some(session) = running.join_next().await {
            self.sessions.push(session??);
        }
        let operations = (SESSIONS * OPERATIONS) as f64;
        let cpu = cpu_time(self.pid)? - before;
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / operations;
        Ok((micros(cpu), micros(begin.elapsed())))
    }
}

/// User and system time of a process so far.
fn cpu_time(pid: u32) -> Result<Duration, Box<dyn Error>> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').ok_or("no such process")?.1;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>);
    Ok(ticks.sum::<Result<u32, _>>()? * TICK)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let backend = Backend::start();
    let plain = Prosody::builder().quiet().incremental_gc().start();
    let generational = Prosody::builder().quiet().start();
    let gateway = Gateway::builder(&plain)
        .backend(&backend)
        .bosh("max_request_rate = 1000000")
        .start();
    let users: Vec<String> = (0..SESSIONS).map(|user| format!("user{user}")).collect();
    let contacts: Vec<String> = (0..CONTACTS)
        .map(|number| format!("c{number}@example.org"))
        .collect();
    for user in &users {
        let roster = contacts
            .iter()
            .map(|jid| (jid.clone(), json!({ "name": jid, "groups": ["g"] })));
        backend.set(user, roster.collect::<serde_json::Map<_, _>>().into());
    }

    let mut peers = vec![
        Peer::log_in("rostergate", gateway.pid(), &gateway.bosh(), &plain, &users).await?,
        Peer::log_in("Prosody", plain.pid(), &plain.bosh(), &plain, &users).await?,
        Peer::log_in(
            "Prosody-gen",
            generational.pid(),
            &generational.bosh(),
            &generational,
            &users,
        )
        .await?,
    ];
    for session in peers[1..].iter_mut().flat_map(|peer| &mut peer.sessions) {
        for jid in &contacts {
            let item = format!("<item jid='{jid}' name='{jid}'><group>g</group></item>");
            let set = format!(
                "<iq xmlns='jabber:client' type='set' id='s'><query xmlns='jabber:iq:roster'>{item}</query></iq>"
            );
            session.operate(&set).await?;
        }
    }

    println!(
        "{SESSIONS} sessions, {CONTACTS} contacts, {ROUNDS} rounds of {OPERATIONS} operations each"
    );
    for (index, (what, payload)) in [("ping", PING), ("roster get", ROSTER)]
        .into_iter()
        .enumerate()
    {
        for round in 0..=ROUNDS {
            for peer in &mut peers {
                let (cpu, wall) = peer.run(payload).await?;
                // The first round warms up.
                if round > 0 {
                    println!(
                        "{what:>10} {:<12} round {round}: {cpu:7.1} µs CPU, {wall:7.1} µs wall",
                        peer.name
                    );
                    peer.figures[index].push(cpu);
                }
            }
        }
    }
    println!("\nµs of CPU per operation, median of {ROUNDS} rounds");
    println!("| process | ping | roster get |\n|---|---|---|");
    for peer in &mut peers {
        let [ping, roster] = &mut peer.figures;
        println!(
            "| {} | {:.0} | {:.0} |",
            peer.name,
            median(ping),
            median(roster)
        );
    }
    println!(
        "\nWith rostergate, Prosody itself works besides for the ping; a roster get never reaches it."
    );
    Ok(())
}
