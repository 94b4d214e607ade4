//! A backend on a real socket that does as it is told, for the tests of this folder and of the admin API.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use jid::DomainPart;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use super::http::HttpSource;
use crate::config;
pub(crate) use crate::roster::testing::user;

/// What the backend does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Sends a response with this status and body.
    Answer(u16, String),
    /// Sends these bytes, then closes.
    Raw(Vec<u8>),
    /// Answers 200 `{}` to the first request of a connection; to the next one as `Raw`.
    Once(Vec<u8>),
    /// Sends these bytes, then nothing more.
    Hang(Vec<u8>),
    /// Sends a chunked body without end.
    Endless,
    /// Answers 200 `{}` when the gate opens.
    Gate(watch::Receiver<bool>),
}

impl Script {
    pub(crate) fn json(body: &str) -> Self {
        Self::Answer(200, body.into())
    }
}

/// A backend on a port of its own. Ends when dropped.
pub(crate) struct TestBackend {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    seen: watch::Receiver<usize>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    scripts: HashMap<String, Script>,
    requests: Vec<String>,
    connections: usize,
    open: usize,
    most_open: usize,
}

impl TestBackend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (count, seen) = watch::channel(0);
        let count = Arc::new(count);
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    state.lock().connections += 1;
                    tokio::spawn(serve(stream, Arc::clone(&state), Arc::clone(&count)));
                }
            }
        });
        let task = task.abort_handle();
        Self {
            address,
            state,
            seen,
            task,
        }
    }

    /// Says what becomes of requests for this path; `*` is any other. Default: 404.
    pub(crate) fn on(&self, path: &str, script: Script) {
        self.state.lock().scripts.insert(path.into(), script);
    }

    /// Waits until there were `count` requests.
    pub(crate) async fn seen(&self, count: usize) {
        let mut seen = self.seen.clone();
        seen.wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// Closes the port.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // The listener goes when the task does.
        while !self.task.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }

    /// The paths of all requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |head: &String| head.split(' ').nth(1).unwrap().to_owned();
        self.state.lock().requests.iter().map(path).collect()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().connections
    }

    /// Most requests that were open at one time.
    pub(crate) fn most_open(&self) -> usize {
        self.state.lock().most_open
    }

    pub(crate) fn source(&self, edit: impl FnOnce(&mut config::Backend)) -> HttpSource {
        source(&format!("http://{}/contacts/", self.address), edit)
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A source for `example.org` whose URL is `before` and the username.
pub(crate) fn source(before: &str, edit: impl FnOnce(&mut config::Backend)) -> HttpSource {
    let mut backend = config::Backend {
        max_body: 64 << 10,
        ..config::Backend::default()
    };
    edit(&mut backend);
    let url = config::RosterUrl {
        before: before.into(),
        after: "".into(),
    };
    HttpSource::new(url, backend, domain("example.org"))
}

pub(crate) fn domain(name: &str) -> DomainPart {
    DomainPart::new(name).unwrap().into_owned()
}

async fn serve(
    mut stream: TcpStream,
    state: Arc<Mutex<State>>,
    count: Arc<watch::Sender<usize>>,
) -> Option<()> {
    for number in 0.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let script = {
            let mut state = state.lock();
            state.open += 1;
            state.most_open = state.most_open.max(state.open);
            let path = head.split(' ').nth(1).unwrap();
            let script = state.scripts.get(path).or_else(|| state.scripts.get("*"));
            let script = script
                .cloned()
                .unwrap_or(Script::Answer(404, String::new()));
            state.requests.push(head);
            script
        };
        count.send_modify(|count| *count += 1);
        let script = match script {
            Script::Once(_) if number == 0 => Script::json("{}"),
            Script::Once(bytes) => Script::Raw(bytes),
            script => script,
        };
        let kept = respond(&mut stream, script).await;
        state.lock().open -= 1;
        kept?;
    }
    None
}

/// `None` if the connection is to be closed.
async fn respond(stream: &mut TcpStream, script: Script) -> Option<()> {
    match script {
        Script::Answer(status, body) => answer(stream, status, &body).await,
        Script::Raw(bytes) | Script::Once(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            None
        }
        Script::Hang(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.read_u8().await.ok()?;
            None
        }
        Script::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await
                .ok()?;
            loop {
                stream.write_all(b"8\r\n        \r\n").await.ok()?;
            }
        }
        Script::Gate(mut gate) => {
            gate.wait_for(|open| *open).await.ok()?;
            answer(stream, 200, "{}").await
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} x\r\nlocation: /elsewhere\r\netag: W/\"v1\"\r\n\
         last-modified: Sun, 22 Nov 2026 21:30:31 GMT\r\n\
         date: Sun, 22 Nov 2026 21:30:32 GMT\r\n"
    );
    // These two statuses have no body.
    let length = match status {
        204 | 304 => String::new(),
        _ => format!("content-length: {}\r\n", body.len()),
    };
    let message = format!("{head}{length}\r\n{body}");
    stream.write_all(message.as_bytes()).await.ok()
}
