//! Line to a service that can go dead, or become slow, of which nobody who uses it is told; or be cut.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// What becomes of bytes, either way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// They arrive that much later.
    Passing(Duration),
    /// They wait.
    Dead,
    /// The connection ends.
    Cut,
}

/// Listens in place of a service.
pub struct Line {
    pub address: SocketAddr,
    state: watch::Sender<State>,
    // Ends when this value is dropped.
    _task: JoinSet<()>,
}

impl Line {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (state, heard) = watch::channel(State::Passing(Duration::ZERO));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let is_cut = *heard.borrow() == State::Cut;
                let Ok(far) = TcpStream::connect(to).await else {
                    continue;
                };
                if is_cut {
                    continue;
                }
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                ways.spawn(pass(from_near, to_far, heard.clone()));
                ways.spawn(pass(from_far, to_near, heard.clone()));
            }
        });
        Self {
            address,
            state,
            _task: task,
        }
    }

    /// All arrives that much later from now on.
    pub fn delay(&self, by: Duration) {
        self.state.send_replace(State::Passing(by));
    }

    /// Nothing arrives any more, of new connections either.
    pub fn go_dead(&self) {
        self.state.send_replace(State::Dead);
    }

    /// All connections end, and new ones at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// All that has waited arrives.
    pub fn go_on(&self) {
        self.delay(Duration::ZERO);
    }
}

async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, heard: watch::Receiver<State>) {
    let mut watcher = heard.clone();
    tokio::select! {
        () = pass_on(from, to, heard) => {}
        _ = watcher.wait_for(|it| *it == State::Cut) => {}
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut heard: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let state = heard.wait_for(|it| *it != State::Dead).await;
        let Ok(State::Passing(by)) = state.map(|it| *it) else {
            return;
        };
        sleep(by).await;
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
