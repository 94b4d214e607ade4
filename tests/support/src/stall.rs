//! Relay that can stop passing on what is said to a service, and cut its connections.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Passing,
    /// What is said to the service waits.
    Stalled,
    Cut,
}

/// Listens in place of a service.
pub struct Stall {
    pub address: SocketAddr,
    /// The state of the connections so far. Those that come later pass everything.
    states: watch::Sender<(usize, State)>,
    accepted: watch::Receiver<usize>,
    // Ends when this value is dropped.
    _task: JoinSet<()>,
}

impl Stall {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (states, heard) = watch::channel((0, State::Passing));
        let (count, accepted) = watch::channel(0);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let number = *count.borrow();
                count.send_replace(number + 1);
                let heard = heard.clone();
                connections.spawn(async move {
                    let Ok(far) = TcpStream::connect(to).await else {
                        return;
                    };
                    carry(near, far, number, heard).await;
                });
            }
        });
        Self {
            address,
            states,
            accepted,
            _task: task,
        }
    }

    /// Lets nothing more get to the service by the connections so far.
    pub fn stall(&self) {
        self.set(State::Stalled);
    }

    /// Passes on what has waited, and all that comes.
    pub fn go_on(&self) {
        self.set(State::Passing);
    }

    /// Cuts the connections so far.
    pub fn cut(&self) {
        self.set(State::Cut);
    }

    fn set(&self, state: State) {
        let accepted = *self.accepted.borrow();
        self.states.send_replace((accepted, state));
    }
}

async fn carry(
    near: TcpStream,
    far: TcpStream,
    number: usize,
    mut heard: watch::Receiver<(usize, State)>,
) {
    let (mut from_service, to_service) = far.into_split();
    let (from_client, mut to_client) = near.into_split();
    let is = move |(accepted, state): (usize, State), wanted| number < accepted && state == wanted;
    let gate = heard.clone();
    tokio::select! {
        _ = copy(&mut from_service, &mut to_client) => {}
        () = pass(from_client, to_service, gate, is) => {}
        _ = heard.wait_for(|it| is(*it, State::Cut)) => {}
    }
}

/// Passes on what the client says, unless it is stalled.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: watch::Receiver<(usize, State)>,
    is: impl Fn((usize, State), State) -> bool,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let passes = |it: &(usize, State)| !is(*it, State::Stalled) && !is(*it, State::Cut);
        if gate.wait_for(passes).await.is_err() || to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
