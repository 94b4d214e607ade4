//! Beginning of a connection, from its upgrade to its session: waits for `<open/>`, and finds who may have a session.
//!
//! It has a task of its own, which ends when the session begins. Until then the client counts as a connection and as
//! one of its address's sessions.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio::time::{sleep_until, timeout};
use tracing::debug;

use crate::{
    clock::now,
    front::{exchange::OpenWebSocket, settings::Settings},
    metrics::{BadMessage, Limit},
    net::{
        connections::Counted,
        websocket::{Received, Socket, SocketError},
    },
    proto::{
        page::Page,
        stream::{
            error::stream_error,
            framing::{self, Fault, Framing, Open},
        },
    },
    session::{
        self, Admitted, Downstream, Front, Origin, Refused, Registry, Reserved, Sid,
        stream::{BEFORE_LOGIN, Farewell, NORMAL, POLICY, Side, TOO_BIG},
    },
};

/// How long a client may take to send `<open/>`.
const OPEN: Duration = Duration::from_secs(10);
/// How long a client may take to end a connection that cannot be used.
const CLOSING: Duration = Duration::from_secs(2);
/// The language of what is said to a client that is refused.
const LANG: &str = "en";

/// A client that has been answered with 101.
pub(super) struct Greeting {
    pub(super) upgrade: OnUpgrade,
    /// The page that it says it is.
    pub(super) page: Option<Page>,
    pub(super) counted: Option<Arc<Counted>>,
    /// Where it comes from.
    pub(super) origin: Origin,
    pub(super) reserved: Reserved,
    pub(super) registry: Arc<Registry>,
    pub(super) settings: Arc<Settings>,
    pub(super) log: Option<OpenWebSocket>,
}

/// Why a client gets no session.
#[derive(Debug)]
struct Refusal {
    condition: &'static str,
    text: String,
    /// The domain that it wanted.
    to: Option<String>,
    code: u16,
}

impl Greeting {
    /// Begins the client's session, or tells it why there is none.
    pub(super) async fn run(self) {
        let Ok(Ok(upgraded)) = timeout(OPEN, self.upgrade).await else {
            return debug!("connection lost before its upgrade");
        };
        let (registry, settings) = (&self.registry, &self.settings);
        let terms = settings.websocket.terms;
        let max = terms.max_message.min(BEFORE_LOGIN);
        let Some(mut socket) = Socket::new(upgraded, self.counted, max) else {
            return debug!("no connection of this server");
        };
        socket.charge_to(&registry.unfinished, self.origin.client());
        if let Some(log) = self.log {
            socket.on_end(|traffic| log.ended(traffic));
        }
        let opened = match timeout(OPEN, first_message(&mut socket)).await {
            Ok(Ok(message)) => Framing::begin(&message, &settings.xml).map_err(|fault| {
                registry.metrics.message_refused(BadMessage::Xml);
                fault.into()
            }),
            Ok(Err(Some(error))) => match refusal_of(&error, registry) {
                Some(refusal) => Err(refusal),
                None => return shut_down(socket).await,
            },
            Ok(Err(None)) => return shut_down(socket).await,
            Err(_) => {
                registry.metrics.limit(Limit::WebSocketOpen);
                Err(Refusal {
                    code: POLICY,
                    ..Refusal::new("connection-timeout", "no <open/> in time")
                })
            }
        };
        let admitted = opened.and_then(|(framing, open)| {
            let client = (self.origin, self.reserved);
            let (admitted, stream_id) = admit(registry, settings, client, &open)?;
            Ok((framing, open, admitted, stream_id))
        });
        match admitted {
            Ok((framing, open, admitted, stream_id)) => {
                let opened = (framing, &open);
                let (host, stream_id) = (admitted.host(), stream_id.expose());
                let connection = (socket, self.page);
                let side = Side::open(connection, opened, host, stream_id, terms, now());
                let client = Downstream::Stream(Box::new(side));
                if let Err(error) = session::spawn(registry, admitted, open.lang, client) {
                    // The drain has begun just now, and the connection is gone with the session.
                    debug!(%error, "no session");
                }
            }
            Err(refusal) => refuse(socket, settings, refusal).await,
        }
    }
}

/// Lets a client that has opened its stream have a session, whose stream has the id that comes with it.
fn admit(
    registry: &Arc<Registry>,
    settings: &Settings,
    (origin, reserved): (Origin, Reserved),
    open: &Open,
) -> Result<(Admitted, Sid), Refusal> {
    let to = open.to.as_deref().unwrap_or_default();
    let admission = &settings.admission;
    let admit = || {
        let host = admission.host(to, Front::WebSocket, origin, registry)?;
        if registry.is_closed() {
            return Err(Refused::Closed(session::Closed));
        }
        let admitted = admission.admit_reserved(reserved, host, registry)?;
        Ok((admitted, Sid::random(None)?))
    };
    admit().map_err(|refused| Refusal::of(&refused, to))
}

/// The first message of a client. `None` if it has sent a Close frame before.
async fn first_message(socket: &mut Socket) -> Result<Bytes, Option<SocketError>> {
    loop {
        let received = poll_fn(|cx| {
            let received = socket.poll_read(cx);
            // A failure is reported by reading.
            let _ = socket.poll_write(cx);
            received
        });
        match received.await {
            Ok(Received::Text(message)) => return Ok(message),
            Ok(Received::Ping | Received::Pong(_)) => {}
            Ok(Received::Closed(_)) => return Err(None),
            Err(error) => return Err(Some(error)),
        }
    }
}

/// What is said to a client that was read no further, if its stream can be closed in good order.
fn refusal_of(error: &SocketError, registry: &Registry) -> Option<Refusal> {
    let bad = match error {
        SocketError::Lost(_) => return None,
        SocketError::TooLong => BadMessage::TooLong,
        SocketError::Binary => BadMessage::Binary,
        SocketError::Encoding | SocketError::Violation => BadMessage::Frame,
        SocketError::GivenUp => BadMessage::Unfinished,
    };
    registry.metrics.message_refused(bad);
    // Of the others, the client has been told by a Close frame.
    matches!(error, SocketError::TooLong).then(|| Refusal {
        code: TOO_BIG,
        ..Refusal::new("policy-violation", "a message is too long")
    })
}

/// Tells a client why it gets no session, and ends the connection in good order (RFC 7395 §3.5).
async fn refuse(mut socket: Socket, settings: &Settings, refusal: Refusal) {
    let Refusal {
        condition,
        text,
        to,
        code,
    } = refusal;
    debug!(condition, text, "stream refused");
    // Without randomness, the stream's id is known to everybody; it names nothing.
    let id = Sid::random(None);
    let id = id.as_ref().map_or("0", Sid::expose);
    let from = settings.admission.spoken_for(to.as_deref());
    socket.send(framing::open(&from, id, LANG));
    let error = stream_error(condition, &text);
    let mut farewell = Farewell::begin(socket, Some(&error), code, now());
    loop {
        let deadline = farewell.deadline();
        let over = poll_fn(|cx| farewell.poll(cx, now()));
        tokio::select! {
            () = over => return,
            () = sleep_until(deadline.into()) => {}
        }
    }
}

/// Ends a connection that has been closed, or is lost.
async fn shut_down(mut socket: Socket) {
    let shut_down = poll_fn(|cx| socket.poll_shutdown(cx));
    if timeout(CLOSING, shut_down).await.is_err() {
        debug!("client did not end its connection");
    }
}

impl Refusal {
    fn new(condition: &'static str, text: impl Into<String>) -> Self {
        Self {
            condition,
            text: text.into(),
            to: None,
            code: NORMAL,
        }
    }

    fn of(refused: &Refused, to: &str) -> Self {
        let condition = match refused {
            Refused::NoDomain => "improper-addressing",
            Refused::UnknownDomain => "host-unknown",
            Refused::Bound(_) => "resource-constraint",
            Refused::NoRandomness(_) => "internal-server-error",
            Refused::Closed(_) => "system-shutdown",
        };
        Self {
            to: Some(to.to_owned()),
            ..Self::new(condition, refused.to_string())
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(fault.condition(), fault.to_string())
    }
}
