//! Endpoint for BOSH (`/http-bind`): reads a request, finds its session or has a new one admitted, and waits for the
//! answer. It does not decide what a session does with a request.
//!
//! | what goes wrong | what the client gets |
//! |---|---|
//! | not a `<body/>`, or not well-formed | 200, `bad-request`; no session is touched |
//! | no body at all | 400, `bad-request` |
//! | body over the limit | 200, `policy-violation`; the session that it names ends |
//! | body compressed | 415, `bad-request`; no session is touched |
//! | a browser would show the answer, as after a form | 403, `policy-violation`; no session is touched |
//! | unknown sid | 200, `item-not-found` |
//! | unencrypted, to a session that was created over TLS | 200, `policy-violation`; it is not touched |
//! | `to` missing or no domain / not served | 200, `improper-addressing` / `host-unknown` |
//! | polling, where it is not configured | 200, `policy-violation` |
//! | server unreachable | 503, `remote-connection-failed`; from the third try on with 200 |
//! | draining | 503, `system-shutdown` |
//! | the session's gateway is gone | 200, `item-not-found` |
//! | the session's gateway cannot be asked, or does not answer | 503, `undefined-condition` |
//! | too many sessions | 503, `undefined-condition` |
//! | a page that may not read the answer creates a session | with `web.strict` 403, `policy-violation` |
//! | another method | 405 |
//!
//! With 503, there is a `Retry-After`, and a `<text/>` in the body that says why.
//!
//! All of them carry the CORS headers: without them, a browser would tell the page nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use http_body::Body;
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::timeout,
};
use tracing::debug;

use super::{
    answers::{RefusalCondition, answered, closing, refused, terminated, unavailable},
    bodies::{Bodies, ReadError},
    body::Chunks,
    completed::Completed,
    cors::Cors,
    elsewhere::{self, Elsewhere},
    failures::Failures,
    page,
    settings::Settings,
};
use crate::{
    clock::now,
    cluster::Cluster,
    metrics::Limit,
    net::{
        answer::{self, with_content},
        coding,
        listener::Peer,
    },
    proto::bosh::{
        body::{self, Creation, Message},
        condition::Condition,
    },
    session::{self, Command, Downstream, Entry, Found, Origin, Refused, Registry},
};

/// Header that says how a browser will use the answer (Fetch Metadata §2).
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Header that says where a browser will put the answer; `empty` if a script gets it.
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
const PAGE: &str = "<!DOCTYPE html><title>BOSH</title><p>This is a BOSH connection manager: \
                    point your XMPP web client here.</p>\n";

/// How often a client is told to try again before it is told that the server is gone.
const PATIENCE: u8 = 2;

/// Answers requests other than POST.
fn explain(method: &Method, cors: &Cors) -> Response<Chunks> {
    match *method {
        // hyper leaves the body of an answer to HEAD out.
        Method::GET | Method::HEAD => {
            let page = Bytes::from_static(PAGE.as_bytes());
            with_content(StatusCode::OK, HTML, page.into())
        }
        Method::OPTIONS => {
            let mut response = Response::new(Chunks::default());
            cors.preflight(response.headers_mut());
            response
        }
        _ => {
            let mut response =
                with_content(StatusCode::METHOD_NOT_ALLOWED, HTML, Chunks::default());
            response.headers_mut().insert(header::ALLOW, ALLOW);
            response
        }
    }
}

/// The connection manager's endpoint.
pub struct Front {
    registry: Arc<Registry>,
    bodies: Bodies,
    failures: Failures,
    /// The other gateways, where there are several.
    elsewhere: Option<Elsewhere>,
}

/// Outcome of dispatching a request.
enum Outcome {
    /// It is answered without a session. Boxed, because requests that are held keep room for it.
    Answered(Box<Response<Chunks>>),
    /// A session has been created; the number identifies the client's tries (see [`Failures`]).
    Created(oneshot::Receiver<session::bosh::Reply>, u64),
    /// It was passed to its session.
    Passed(oneshot::Receiver<session::bosh::Reply>),
    /// It was passed on to the gateway of its session.
    PassedOn(elsewhere::Answering),
}

impl Outcome {
    fn answered(response: Response<Chunks>) -> Self {
        Self::Answered(Box::new(response))
    }
}

impl Front {
    /// An endpoint to the sessions of `registry`, and to those of the other gateways of the cluster.
    pub fn new(registry: Arc<Registry>, cluster: Option<Arc<Cluster>>) -> Self {
        Self {
            elsewhere: cluster.map(Elsewhere::new),
            bodies: Bodies::new(Arc::clone(&registry.unfinished)),
            registry,
            failures: Failures::default(),
        }
    }

    /// Answers one HTTP request; a session may hold it for as long as it wants.
    ///
    /// This is no async function: its future would keep the request, with the buffer that it was read into, as long.
    pub fn handle<B>(
        self: &Arc<Self>,
        peer: Peer,
        request: Request<B>,
        settings: &Arc<Settings>,
    ) -> impl Future<Output = Response<Chunks>> + Send + use<B>
    where
        B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
    {
        let front = Arc::clone(self);
        let settings = Arc::clone(settings);
        let origin = settings.cors.origin(request.headers());
        let answer = if request.method() == Method::POST {
            let (front, settings) = (Arc::clone(&front), Arc::clone(&settings));
            let pipelines = pipelines(&request);
            let outcome =
                Completed::new(async move { front.dispatch(peer, request, &settings).await });
            Err((outcome, pipelines))
        } else {
            Ok(Box::new(explain(request.method(), &settings.cors)))
        };
        async move {
            let mut response = match answer {
                Ok(response) => *response,
                Err((outcome, pipelines)) => {
                    let response = front.post(outcome, pipelines).await;
                    let refusal = response
                        .extensions()
                        .get()
                        .map(|RefusalCondition(it)| it.as_str());
                    front.registry.metrics.answered(refusal);
                    response
                }
            };
            let headers = response.headers_mut();
            settings.cors.apply(origin.as_ref(), headers);
            answer::not_to_be_stored(response)
        }
    }

    /// Waits for the answer. Dropping this is how a session learns that its client has hung up.
    async fn post(
        &self,
        outcome: impl Future<Output = Outcome>,
        pipelines: bool,
    ) -> Response<Chunks> {
        let outcome = outcome.await;
        let _hold = match &outcome {
            Outcome::Answered(_) => None,
            Outcome::Passed(_) | Outcome::PassedOn(_) | Outcome::Created(..) => {
                Some(self.registry.metrics.hold())
            }
        };
        match outcome {
            Outcome::Answered(response) => *response,
            Outcome::Passed(answer) => answered(answer.await.ok()),
            Outcome::PassedOn(answer) => answer.await,
            Outcome::Created(answer, trial) => match answer.await {
                Ok(session::bosh::Reply::Unreachable) if self.failures.count(trial) > PATIENCE => {
                    terminated(Condition::RemoteConnectionFailed)
                }
                answer if pipelines => closing(answered(answer.ok())),
                answer => answered(answer.ok()),
            },
        }
    }

    /// Reads a request and gives it to its session.
    async fn dispatch<B>(&self, peer: Peer, request: Request<B>, settings: &Settings) -> Outcome
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        let client = settings.proxies.origin(peer, head.version, headers);
        if is_navigation(headers) {
            let response = refused(StatusCode::FORBIDDEN, Condition::PolicyViolation);
            return Outcome::answered(closing(response));
        }
        if coding::is_coded(headers) {
            let mut response = refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, Condition::BadRequest);
            response.headers_mut().extend([coding::ONLY_IDENTITY]);
            return Outcome::answered(closing(response));
        }
        let origin = headers.get(header::ORIGIN);
        let may_read = origin.is_none_or(|origin| settings.cors.allows(origin));
        let page = page::of(&head.uri);
        // Frees the head before the body is awaited: over HTTP/2, a head may take much more memory than was sent for
        // it.
        drop(head);
        let reading = self
            .bodies
            .read(body, settings.bosh.max_body, client.client());
        let document = match timeout(settings.bosh.body_timeout, reading).await {
            Ok(Ok(document)) if document.is_empty() => {
                let response = refused(StatusCode::BAD_REQUEST, Condition::BadRequest);
                return Outcome::answered(response);
            }
            Ok(Ok(document)) => document,
            Ok(Err(ReadError::TooLarge(beginning))) => {
                self.registry.metrics.limit(Limit::BoshBody);
                self.end_session_of(&beginning, client, settings).await;
                return Outcome::answered(closing(terminated(Condition::PolicyViolation)));
            }
            Ok(Err(ReadError::GivenUp)) => {
                self.registry.metrics.limit(Limit::UnfinishedBodies);
                let why = "too much of unfinished requests";
                return Outcome::answered(closing(unavailable(Condition::Undefined, why)));
            }
            late_or_broken => {
                if late_or_broken.is_err() {
                    self.registry.metrics.limit(Limit::BoshBodyTimeout);
                }
                return Outcome::answered(closing(terminated(Condition::BadRequest)));
            }
        };
        let pass_on = |node, document| {
            let body = elsewhere::Body::Document(document);
            self.pass_on(node, elsewhere::Request { client, page, body }, settings)
        };
        // For the other gateway, if there may be one. It is not copied.
        let mut original = Bytes::new();
        if self.elsewhere.is_some() {
            if let Some(node) = Elsewhere::owner_at_the_beginning(&self.registry, &document) {
                return pass_on(node, document).await;
            }
            original = document.clone();
        }
        match Message::parse(document, &settings.xml) {
            Ok(Message::Request(mut request)) => {
                request.page = page;
                let sid = request.sid.clone();
                let passed = match self.locate(&sid) {
                    Found::There(node) => return pass_on(node.into(), original).await,
                    Found::Here(session) => pass(&session, request, client),
                    Found::Nowhere => Err(Condition::ItemNotFound),
                };
                match passed {
                    Ok(answer) => Outcome::Passed(answer),
                    Err(condition) => Outcome::answered(terminated(condition)),
                }
            }
            Ok(Message::Creation(creation)) => {
                if settings.cors.strict && !may_read {
                    let response = refused(StatusCode::FORBIDDEN, Condition::PolicyViolation);
                    return Outcome::answered(response);
                }
                match self.create(client, creation, settings) {
                    Ok((answer, trial)) => Outcome::Created(answer, trial),
                    Err(Uncreated::NotNow(condition, why)) => {
                        Outcome::answered(unavailable(condition, &why))
                    }
                    Err(Uncreated::Never(condition)) => Outcome::answered(terminated(condition)),
                }
            }
            Err(refusal) => {
                debug!(why = refusal.why, "request refused");
                Outcome::answered(terminated(refusal.condition))
            }
        }
    }

    /// Ends the session of a request that was too large to be read: later requests could not be put in order.
    async fn end_session_of(&self, beginning: &[u8], client: Origin, settings: &Settings) {
        let Some(sid) = body::sid_at_the_beginning(beginning) else {
            return;
        };
        match self.registry.locate(&sid) {
            Found::Here(session) => refuse_oversized(&session, client).await,
            Found::There(node) => {
                let request = elsewhere::Request {
                    client,
                    page: None,
                    body: elsewhere::Body::Oversized(sid.clone().into()),
                };
                // Whatever its gateway says, the client has sent too much.
                if let Outcome::PassedOn(answer) =
                    self.pass_on(node.into(), request, settings).await
                {
                    drop(answer.await);
                }
            }
            Found::Nowhere => {}
        }
    }

    fn locate<'a>(&self, sid: &'a [u8]) -> Found<'a> {
        let sid = std::str::from_utf8(sid);
        sid.map_or(Found::Nowhere, |sid| self.registry.locate(sid))
    }

    /// Passes a request on to the gateway `node`. It has been sent when this returns.
    async fn pass_on(
        &self,
        node: Box<str>,
        request: elsewhere::Request,
        settings: &Settings,
    ) -> Outcome {
        let Some(elsewhere) = &self.elsewhere else {
            return Outcome::answered(terminated(Condition::ItemNotFound));
        };
        let (wait, metrics) = (settings.bosh.policy.wait, &self.registry.metrics);
        match elsewhere.pass(node, request, wait, metrics).await {
            Ok(answer) => Outcome::PassedOn(answer),
            Err(response) => Outcome::Answered(response),
        }
    }

    /// Answers a request that another gateway has passed on, for a session of this one. Dropping the future is how the
    /// session learns that its client has hung up there.
    pub fn answer(
        self: &Arc<Self>,
        request: Bytes,
        settings: &Arc<Settings>,
    ) -> impl Future<Output = Result<Bytes, String>> + Send + use<> {
        let (front, settings) = (Arc::clone(self), Arc::clone(settings));
        let taken = Completed::new(async move {
            let request = elsewhere::Request::decode(request);
            let request = request.map_err(|unreadable| unreadable.to_string())?;
            Ok::<_, String>(front.take(request, &settings).await)
        });
        async move {
            let response = match taken.await? {
                Ok(answer) => answered(answer.await.ok()),
                Err(response) => *response,
            };
            Ok(elsewhere::encode(response))
        }
    }

    /// Gives a request of another gateway to its session.
    async fn take(
        &self,
        request: elsewhere::Request,
        settings: &Settings,
    ) -> Result<oneshot::Receiver<session::bosh::Reply>, Box<Response<Chunks>>> {
        let elsewhere::Request { client, page, body } = request;
        let find = |sid: &[u8]| {
            let sid = std::str::from_utf8(sid).ok()?;
            self.registry.find(sid)
        };
        let document = match body {
            elsewhere::Body::Document(it) if it.len() <= settings.bosh.max_body => Ok(it),
            elsewhere::Body::Document(it) => Err(body::sid_at_the_beginning(&it).map(Bytes::from)),
            elsewhere::Body::Oversized(sid) => Err(Some(sid)),
        };
        let refuse = |condition| Err(Box::new(terminated(condition)));
        let document = match document {
            Ok(document) => document,
            Err(sid) => {
                if let Some(session) = sid.and_then(|sid| find(&sid)) {
                    refuse_oversized(&session, client).await;
                }
                let response = closing(terminated(Condition::PolicyViolation));
                return Err(Box::new(response));
            }
        };
        match Message::parse(document, &settings.xml) {
            Ok(Message::Request(mut request)) => {
                request.page = page;
                let session = find(&request.sid).ok_or(Condition::ItemNotFound);
                let passed = session.and_then(|session| pass(&session, request, client));
                passed.or_else(refuse)
            }
            Ok(Message::Creation(_)) => refuse(Condition::BadRequest),
            Err(refusal) => {
                debug!(why = refusal.why, "request refused");
                refuse(refusal.condition)
            }
        }
    }

    fn create(
        &self,
        client: Origin,
        creation: Creation,
        settings: &Settings,
    ) -> Result<(oneshot::Receiver<session::bosh::Reply>, u64), Uncreated> {
        let admission = &settings.admission;
        let to = creation.to.as_deref().unwrap_or_default();
        let host = admission.host(to, session::Front::Bosh, client, &self.registry)?;
        if !settings.bosh.polling
            && (creation.hold == Some(0) || creation.wait == Some(Duration::ZERO))
        {
            return Err(Condition::PolicyViolation.into());
        }
        let admitted = admission.admit(host, client, &self.registry)?;
        let trial = self.failures.trial(creation.rid, &host.domain);
        let (reply, answer) = oneshot::channel();
        let side =
            session::bosh::Side::open(&creation, &settings.bosh.policy, &host.limits, reply, now());
        let client = Downstream::Bosh(Box::new(side));
        session::spawn(&self.registry, admitted, creation.lang, client)?;
        Ok((answer, trial))
    }
}

/// Why a session is not created.
enum Uncreated {
    Never(Condition),
    /// The client may come again; the text says why it was refused.
    NotNow(Condition, String),
}

impl From<Condition> for Uncreated {
    fn from(condition: Condition) -> Self {
        Self::Never(condition)
    }
}

impl From<Refused> for Uncreated {
    fn from(refused: Refused) -> Self {
        let why = refused.to_string();
        match refused {
            Refused::NoDomain => Self::Never(Condition::ImproperAddressing),
            Refused::UnknownDomain => Self::Never(Condition::HostUnknown),
            Refused::Bound(_) => Self::NotNow(Condition::Undefined, why),
            Refused::NoRandomness(_) => Self::Never(Condition::InternalServerError),
            Refused::Closed(_) => Self::NotNow(Condition::SystemShutdown, why),
        }
    }
}

/// Gives a request to its session.
fn pass(
    session: &Entry,
    request: body::Request,
    client: Origin,
) -> Result<oneshot::Receiver<session::bosh::Reply>, Condition> {
    if !may_use(session, client) {
        return Err(Condition::PolicyViolation);
    }
    let (reply, answer) = oneshot::channel();
    match session
        .mailbox
        .try_send(Box::new(Command::Bosh { request, reply }))
    {
        Ok(()) => Ok(answer),
        Err(TrySendError::Full(_)) => Err(Condition::PolicyViolation),
        Err(TrySendError::Closed(_)) => Err(Condition::ItemNotFound),
    }
}

/// Ends a session whose client has sent too much at once.
async fn refuse_oversized(session: &Entry, client: Origin) {
    if may_use(session, client) {
        // A session that has ended meanwhile has ended.
        let _ = session.mailbox.send(Box::new(Command::Oversized)).await;
    }
}

/// Whether a client may use a session. A session that was created over TLS may be used over TLS only: otherwise its sid
/// may have been overheard (XEP-0124 "Security Considerations").
fn may_use(session: &Entry, client: Origin) -> bool {
    // A proxy that does not tell the client's address may not tell of TLS either.
    !session.secure || client.secure || !client.is_known
}

/// Whether a browser sends this to show the answer, in a tab or a frame, and not for a script to read it.
///
/// Such a request comes from a form, mostly of another site. The attacker who wrote the form may own a session, in
/// which a message waits that the browser would show as a page of our origin. So the request is refused before its
/// session is looked up, and takes nothing from it. For browsers that do not send these headers, the answer's `sandbox`
/// policy does the same.
fn is_navigation(headers: &HeaderMap) -> bool {
    let says = |name| headers.get(name).map(HeaderValue::as_bytes);
    says(SEC_FETCH_MODE).is_some_and(|mode| mode == b"navigate")
        || says(SEC_FETCH_DEST).is_some_and(|place| place != b"empty")
}

/// Whether the client sends its next request on a connection whose last request is still held: gloox and libpurple do,
/// until they see a connection closed.
fn pipelines<B>(request: &Request<B>) -> bool {
    let agent = request.headers().get(header::USER_AGENT);
    request.version() < Version::HTTP_2
        && agent.is_some_and(|agent| {
            let agent = agent.as_bytes();
            agent.starts_with(b"gloox/") || agent.starts_with(b"libpurple ")
        })
}
