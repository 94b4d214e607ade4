//! Backend of the site: answers `/contacts/{user}`, and fails as a test wants it to.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpStream, sync::watch};

use crate::{
    service::{self, Service},
    within,
};

/// A backend; its rosters can be changed while it runs.
pub struct Backend {
    service: Service,
    state: Arc<State>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with an HTML page.
    Status(u16),
    /// 200 with this body, of this content type.
    Answer {
        content_type: &'static str,
        body: Bytes,
    },
    /// A redirect to here.
    Redirect(String),
    /// No answer, ever.
    Hang,
    /// The headers and half of the body, and then nothing more.
    HangMidway,
    /// The connection ends without an answer.
    Drop,
}

/// A request as it arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recorded {
    pub method: String,
    /// Path and query, still encoded.
    pub target: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Recorded {
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.0 == name);
        header.map(|header| header.1.as_str())
    }
}

/// Holds requests until the test opens it; dropping it opens it too.
pub struct Gate {
    open: watch::Sender<bool>,
    waiting: watch::Receiver<usize>,
}

impl Gate {
    /// Waits until this many requests are held.
    pub async fn reached_by(&mut self, requests: usize) {
        let waiting = self.waiting.wait_for(|waiting| *waiting >= requests);
        within("requests at the gate", waiting)
            .await
            .expect("the backend runs");
    }

    /// Lets these requests and all later ones through. The answer to each has the roster of the time when the request
    /// came.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open.send_replace(true);
    }
}

#[derive(Clone)]
struct GateSide {
    open: watch::Receiver<bool>,
    waiting: Arc<watch::Sender<usize>>,
}

struct State {
    users: Mutex<HashMap<String, User>>,
    requests: watch::Sender<Vec<Recorded>>,
    /// Requests now, and the most there ever were at a time.
    in_flight: Mutex<(usize, usize)>,
    etags: Mutex<Etags>,
}

#[derive(Default)]
struct User {
    roster: Option<Value>,
    faults: VecDeque<Fault>,
    lasting_fault: Option<Fault>,
    gate: Option<GateSide>,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// The `ETag`s of its answers.
#[derive(Clone, Debug, Default)]
enum Etags {
    #[default]
    None,
    OfContent,
    Always(String),
}

impl Backend {
    /// Starts in a thread of its own, so that nothing in a test can block it.
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// The same at this port.
    pub fn start_at(port: u16) -> Self {
        let state = Arc::new(State {
            users: Mutex::default(),
            requests: watch::Sender::default(),
            in_flight: Mutex::default(),
            etags: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        let service = Service::start(port, move |stream| serve(stream, Arc::clone(&serving)));
        Self { service, state }
    }

    /// The value of `http_roster_url`.
    pub fn url(&self) -> String {
        format!("http://{}/contacts/%s", self.service.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// Sets the roster of a user. Requests about users without one are answered 404.
    pub fn set(&self, user: &str, roster: Value) {
        self.user(user, |user| user.roster = Some(roster));
    }

    /// Sets faults for the next requests about a user, one for each request.
    pub fn fail_next(&self, user: &str, faults: impl IntoIterator<Item = Fault>) {
        self.user(user, |user| user.faults.extend(faults));
    }

    /// Sets one fault for all requests about a user, until [`Self::heal`].
    pub fn fail(&self, user: &str, fault: Fault) {
        self.user(user, |user| user.lasting_fault = Some(fault));
    }

    pub fn heal(&self, user: &str) {
        self.user(user, |user| {
            user.lasting_fault = None;
            user.faults.clear();
        });
    }

    /// Holds the requests about a user until the test lets them through.
    pub fn gate(&self, user: &str) -> Gate {
        let (open, opened) = watch::channel(false);
        let (waiting, waiting_seen) = watch::channel(0);
        let side = GateSide {
            open: opened,
            waiting: Arc::new(waiting),
        };
        self.user(user, |user| user.gate = Some(side));
        Gate {
            open,
            waiting: waiting_seen,
        }
    }

    /// From now on answers have an `ETag`, and a request that knows it is answered 304.
    pub fn send_etags(&self) {
        *self.state.etags.lock() = Etags::OfContent;
    }

    /// From now on all answers have this `ETag`.
    pub fn send_etag(&self, etag: &str) {
        *self.state.etags.lock() = Etags::Always(etag.to_owned());
    }

    /// All requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.requests.borrow().clone()
    }

    /// How many of them were about this user.
    pub fn fetches(&self, user: &str) -> usize {
        count(&self.requests(), user)
    }

    /// The most requests there ever were at a time.
    pub fn most_in_flight(&self) -> usize {
        self.state.in_flight.lock().1
    }

    fn user(&self, name: &str, change: impl FnOnce(&mut User)) {
        change(self.state.users.lock().entry(name.to_owned()).or_default());
    }
}

fn count(requests: &[Recorded], user: &str) -> usize {
    requests
        .iter()
        .filter(|request| user_of(&request.target).as_deref() == Some(user))
        .count()
}

fn user_of(target: &str) -> Option<String> {
    let path = target.split('?').next().expect("a first part");
    let user = path.strip_prefix("/contacts/")?;
    Some(
        percent_encoding::percent_decode_str(user)
            .decode_utf8()
            .ok()?
            .into_owned(),
    )
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    service::http(stream, |request| answer(Arc::clone(&state), request)).await;
}

/// Counts a request until it is answered or given up.
struct InFlight(Arc<State>);

impl InFlight {
    fn new(state: &Arc<State>) -> Self {
        let mut in_flight = state.in_flight.lock();
        in_flight.0 += 1;
        in_flight.1 = in_flight.1.max(in_flight.0);
        Self(Arc::clone(state))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.lock().0 -= 1;
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, std::io::Error> {
    let _in_flight = InFlight::new(&state);
    let headers = request.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let recorded = Recorded {
        method: request.method().to_string(),
        target: request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers: headers.collect(),
    };
    let name = user_of(&recorded.target);
    let known_etag = recorded.header("if-none-match").map(str::to_owned);
    // Read together with recording the request: a test that has seen the request knows its answer.
    let (roster, fault, gate) = {
        let mut users = state.users.lock();
        state
            .requests
            .send_modify(|requests| requests.push(recorded));
        match name.and_then(|name| users.get_mut(&name)) {
            Some(user) => {
                let fault = user
                    .faults
                    .pop_front()
                    .or_else(|| user.lasting_fault.clone());
                (user.roster.clone(), fault, user.gate.clone())
            }
            None => (None, None, None),
        }
    };
    if let Some(mut gate) = gate {
        gate.waiting.send_modify(|waiting| *waiting += 1);
        // An error means that the gate was dropped, and so is open.
        let _ = gate.open.wait_for(|open| *open).await;
    }
    match (fault, roster) {
        (Some(fault), _) => fail(fault).await,
        (None, Some(roster)) => {
            let json = roster.to_string();
            let etags = state.etags.lock().clone();
            if matches!(etags, Etags::None) {
                return Ok(page(200, "application/json", json));
            }
            let mut hasher = DefaultHasher::new();
            json.hash(&mut hasher);
            let etag = match etags {
                Etags::Always(etag) => etag,
                Etags::None | Etags::OfContent => format!("\"{:x}\"", hasher.finish()),
            };
            let mut answer = match known_etag {
                Some(known) if known == etag => page(304, "application/json", ""),
                _ => page(200, "application/json", json),
            };
            answer
                .headers_mut()
                .insert("etag", etag.parse().expect("a header value"));
            Ok(answer)
        }
        (None, None) => Ok(page(404, "text/html", "<h1>Nobody</h1>")),
    }
}

async fn fail(fault: Fault) -> Result<Answer, std::io::Error> {
    match fault {
        Fault::Status(status) => Ok(page(status, "text/html", "<h1>Sorry</h1>")),
        Fault::Answer { content_type, body } => Ok(page(200, content_type, body)),
        Fault::Redirect(location) => {
            let mut answer = page(302, "text/html", "");
            answer
                .headers_mut()
                .insert("location", location.parse().expect("a header value"));
            Ok(answer)
        }
        Fault::Hang => std::future::pending().await,
        Fault::HangMidway => {
            let half = Half(Some(Bytes::from_static(b"{\"marie@example.org\": {\"na")));
            let response = Response::builder().header("content-type", "application/json");
            Ok(response.body(half.boxed()).expect("a response"))
        }
        Fault::Drop => Err(std::io::Error::other("dropped, as the test asked")),
    }
}

/// A body that begins a roster and never ends it.
struct Half(Option<Bytes>);

impl Body for Half {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(half) => Poll::Ready(Some(Ok(Frame::data(half)))),
            // No waker is kept, since nothing will ever come.
            None => Poll::Pending,
        }
    }
}

fn page(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let response = Response::builder()
        .status(status)
        .header("content-type", content_type);
    response
        .body(Full::new(body.into()).boxed())
        .expect("a response")
}
