//! Relay that delays, slows or cuts connections; a seed decides which of them and when.

use std::{
    array,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What may happen to a request and its answer. A cut ends the connection in both directions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// All bytes are delayed.
    Late,
    /// The bytes come in small pieces.
    Slow,
    CutBeforeRequest,
    CutInRequest,
    /// The request has arrived, but its sender does not learn of that.
    CutBeforeAnswer,
    CutInAnswer,
}

impl Fault {
    pub const ALL: [Self; 6] = [
        Self::Late,
        Self::Slow,
        Self::CutBeforeRequest,
        Self::CutInRequest,
        Self::CutBeforeAnswer,
        Self::CutInAnswer,
    ];
}

/// Longest delay.
const LATE: Duration = Duration::from_millis(40);

/// How much later a request arrives that is held back.
pub const HELD_BACK: Duration = Duration::from_millis(300);

/// Listens in place of a service.
pub struct Relay {
    pub address: SocketAddr,
    line: Arc<Line>,
    // Ends when this value is dropped.
    _task: JoinSet<()>,
}

struct Line {
    faults: Vec<Fault>,
    /// Which requests are held back, at any odds.
    is_late: fn(&[u8]) -> bool,
    /// One request in this many meets a fault; 0 means none.
    odds: AtomicUsize,
    /// How many faults there were. They take turns, so that each comes as often as any other.
    turn: AtomicUsize,
    happened: [AtomicUsize; Fault::ALL.len()],
}

impl Relay {
    /// In front of `to`, with these `faults` once the line is [bad](Self::set_bad).
    pub async fn start(to: SocketAddr, faults: &[Fault], seed: u64) -> Self {
        Self::launch(to, faults, seed, |_| false).await
    }

    /// In front of `to`. Requests for which `is_late` is true arrive [`HELD_BACK`] later.
    pub async fn holding_back(to: SocketAddr, is_late: fn(&[u8]) -> bool) -> Self {
        Self::launch(to, &[], 0, is_late).await
    }

    async fn launch(
        to: SocketAddr,
        faults: &[Fault],
        seed: u64,
        is_late: fn(&[u8]) -> bool,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let line = Arc::new(Line {
            faults: faults.to_vec(),
            is_late,
            odds: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            happened: array::from_fn(|_| AtomicUsize::new(0)),
        });
        let mut task = JoinSet::new();
        let shared = Arc::clone(&line);
        task.spawn(async move {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (line, dice) = (Arc::clone(&shared), dice.fork());
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else {
                        return;
                    };
                    // An error here is the end of a connection, which both sides see for themselves.
                    let _ = line.carry(near, far, dice).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            line,
            _task: task,
        }
    }

    /// From now on one request in `odds` meets a fault; with 0 none does.
    pub fn set_bad(&self, odds: usize) {
        self.line.odds.store(odds, Ordering::Relaxed);
    }

    /// How often this fault has happened.
    pub fn count(&self, fault: Fault) -> usize {
        self.line.happened[fault as usize].load(Ordering::Relaxed)
    }
}

impl Line {
    /// Decides what happens to a request.
    fn draw(&self, dice: &mut fastrand::Rng) -> Option<Fault> {
        let odds = self.odds.load(Ordering::Relaxed);
        if odds == 0 || dice.usize(0..odds) > 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.faults.get(turn % self.faults.len()).copied()
    }

    /// Carries bytes until one side or a fault ends the connection.
    async fn carry(
        &self,
        mut near: TcpStream,
        mut far: TcpStream,
        mut dice: fastrand::Rng,
    ) -> std::io::Result<()> {
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut fault = None;
        let mut asking = false;
        loop {
            let (is_request, read) = tokio::select! {
                read = near.read(&mut up) => (true, read?),
                read = far.read(&mut down) => (false, read?),
            };
            let (to, bytes) = if is_request {
                (&mut far, &up[..read])
            } else {
                (&mut near, &down[..read])
            };
            if bytes.is_empty() {
                return Ok(());
            }
            // The first bytes from the client, and those after an answer, begin a new request.
            if is_request && !asking {
                fault = self.draw(&mut dice);
            }
            asking = is_request;
            if is_request && (self.is_late)(bytes) {
                tokio::time::sleep(HELD_BACK).await;
            }
            let Some(fault) = fault else {
                to.write_all(bytes).await?;
                continue;
            };
            let part = &bytes[..dice.usize(0..bytes.len())];
            match (fault, is_request) {
                (Fault::Late, _) => {
                    tokio::time::sleep(LATE.mul_f64(dice.f64())).await;
                    to.write_all(bytes).await?;
                }
                // When Expat has not found the end of a tag, it waits until the bytes have doubled (CVE-2023-52425). A
                // server that reads with it would never answer a tag that comes in many pieces.
                (Fault::Slow, true) => {
                    let (one, other) = bytes.split_at(bytes.len() / 2);
                    to.write_all(one).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    to.write_all(other).await?;
                }
                (Fault::Slow, false) => {
                    for piece in bytes.chunks(bytes.len() / 8 + 1) {
                        to.write_all(piece).await?;
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                (Fault::CutBeforeRequest, true) | (Fault::CutBeforeAnswer, false) => {}
                (Fault::CutInRequest, true) | (Fault::CutInAnswer, false) => {
                    to.write_all(part).await?;
                }
                _ => {
                    to.write_all(bytes).await?;
                    continue;
                }
            }
            self.happened[fault as usize].fetch_add(1, Ordering::Relaxed);
            if !matches!(fault, Fault::Late | Fault::Slow) {
                return Ok(());
            }
        }
    }
}
