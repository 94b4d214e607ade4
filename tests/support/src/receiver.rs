//! Receiver of the site's events: notes what comes, and fails as a test wants it to.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use crate::{
    service::{self, Service},
    within,
};

/// A receiver that runs.
pub struct Receiver {
    service: Service,
    state: Arc<State>,
}

/// What becomes of requests.
#[derive(Clone, Debug, Default)]
pub enum Mood {
    /// They are taken.
    #[default]
    Good,
    /// This status, and a header.
    Status(u16, Option<(&'static str, String)>),
    /// This status for more than so many events.
    TooMany(u16, usize),
    /// No answer, ever.
    Hang,
    /// They are taken, but the connection ends without an answer.
    Drop,
    /// An answer that is no HTTP.
    Garbage,
}

/// A request that came, whether or not it was taken.
#[derive(Clone, Debug)]
pub struct Post {
    pub authorization: Option<String>,
    pub content_type: Option<String>,
    pub target: String,
    pub events: Vec<Value>,
}

#[derive(Default)]
struct State {
    mood: Mutex<Mood>,
    /// All requests.
    posts: watch::Sender<Vec<Post>>,
    /// The events of those that were taken, without repeats.
    taken: watch::Sender<Vec<Value>>,
    /// The last id of each gateway: they count ids of their own, and each names itself in the URL.
    last: Mutex<HashMap<String, u64>>,
}

impl Receiver {
    /// Starts in a thread of its own, so that nothing in a test can block it.
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// The same at this port.
    pub fn start_at(port: u16) -> Self {
        let state = Arc::<State>::default();
        let serving = Arc::clone(&state);
        let service = Service::start(port, move |stream| serve(stream, Arc::clone(&serving)));
        Self { service, state }
    }

    pub fn port(&self) -> u16 {
        self.service.address.port()
    }

    /// The line of a `[[host]]` for a gateway that tells it.
    pub fn line(&self) -> String {
        format!("events_url = \"{}\"", self.url())
    }

    pub fn url(&self) -> String {
        format!("http://{}/events", self.service.address)
    }

    /// What becomes of requests from now on.
    pub fn be(&self, mood: Mood) {
        *self.state.mood.lock() = mood;
    }

    /// All requests that have come.
    pub fn posts(&self) -> Vec<Post> {
        self.state.posts.borrow().clone()
    }

    /// Waits until so many requests have come.
    pub async fn asked(&self, times: usize) {
        let mut posts = self.state.posts.subscribe();
        let waiting = posts.wait_for(|posts| posts.len() >= times);
        drop(
            within("requests with events", waiting)
                .await
                .expect("it runs"),
        );
    }

    /// The events that were taken, in order and without repeats.
    pub fn taken(&self) -> Vec<Value> {
        self.state.taken.borrow().clone()
    }

    /// The events that were taken, as `type` or `type user`.
    pub fn story(&self) -> Vec<String> {
        self.taken().iter().map(in_words).collect()
    }

    /// Waits until this event has been taken, and gives the story up to it.
    pub async fn hears(&self, words: &str) -> Vec<String> {
        self.hears_times(words, 1).await
    }

    /// The same with an event that comes so often.
    pub async fn hears_times(&self, words: &str, times: usize) -> Vec<String> {
        let mut taken = self.state.taken.subscribe();
        let is_it = |event: &&Value| in_words(event) == words;
        let has_come = |events: &Vec<Value>| events.iter().filter(is_it).count() >= times;
        let waiting = taken.wait_for(has_come);
        drop(within(words, waiting).await.expect("it runs"));
        self.story()
    }
}

/// An event as `type` or `type user`.
pub fn in_words(event: &Value) -> String {
    let kind = event["type"].as_str().expect("a type");
    match event["user"].as_str() {
        Some(user) => format!("{kind} {user}"),
        None => kind.to_owned(),
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    if matches!(*state.mood.lock(), Mood::Garbage) {
        let mut stream = stream;
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n").await;
        return;
    }
    service::http(stream, |request| answer(request, Arc::clone(&state))).await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let mut post = Post {
        authorization: header("authorization"),
        content_type: header("content-type"),
        target: request.uri().to_string(),
        events: Vec::new(),
    };
    assert_eq!(request.method(), "POST");
    let body = request.into_body().collect().await?.to_bytes();
    post.events = serde_json::from_slice(&body)?;
    let (events, target) = (post.events.clone(), post.target.clone());
    state.posts.send_modify(|posts| posts.push(post));
    let mood = state.mood.lock().clone();
    let take = || {
        state.taken.send_modify(|taken| {
            let id = |event: &Value| event["id"].as_u64().expect("a number");
            let mut all = state.last.lock();
            let last = all.entry(target.clone()).or_default();
            for event in events
                .iter()
                .filter(|event| std::mem::replace(last, id(event).max(*last)) < id(event))
            {
                taken.push(event.clone());
            }
        });
    };
    let status = match mood {
        Mood::Good => 204,
        Mood::TooMany(status, most) if events.len() > most => status,
        Mood::TooMany(..) => 200,
        Mood::Status(status, header) => {
            let mut response = Response::builder().status(status);
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            return Ok(response.body(Full::from("<html>no</html>"))?);
        }
        Mood::Hang => std::future::pending::<u16>().await,
        Mood::Drop => {
            take();
            return Err("the connection ends".into());
        }
        Mood::Garbage => return Err("not over a connection of before".into()),
    };
    if status < 300 {
        take();
    }
    Ok(Response::builder().status(status).body(Full::default())?)
}
