//! Session with the server's own BOSH, driven by polling: the I/O around the state machine [`Client`].

use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{self, CONTENT_TYPE},
};
use http_body_util::Full;
use jid::DomainPart;
use smallvec::SmallVec;
use tokio::time::Sleep;
use tracing::debug;

use super::{
    ConnectError, Hello, Initiator, UpstreamError, UpstreamEvent,
    breaker::Attempt,
    tls::{TlsSetupError, is_loopback, is_this_machine},
};
use crate::{
    clock::now,
    config::{self, Scheme, UpstreamTls},
    net::{
        body,
        causes::causes,
        http_client::{HttpClient, Options, USER_AGENT},
        tls::Trust,
    },
    proto::{
        bosh::{
            Rid,
            client::{Client, Created, Event, Loss},
        },
        stanza::Stanza,
        stream::error::StreamCondition,
    },
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Largest answer, bytes. Servers put everything that waits into one answer.
const MAX_ANSWER: usize = 8 << 20;

type BoxError = Box<dyn Error + Send + Sync>;
type Answer = Result<(u16, Bytes), BoxError>;

/// What the sessions of one host share, above all HTTP connections.
pub(super) struct Server {
    domain: DomainPart,
    place: config::Place,
    uri: Uri,
    http: HttpClient<Full<Bytes>>,
}

impl std::fmt::Debug for Server {
    /// Leaves out the URL, whose query may have a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("domain", &self.domain)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// `None` for a host that is reached otherwise. `connect` is the time for a TCP handshake.
    pub(super) fn new(
        host: &config::Host,
        connect: Duration,
    ) -> Result<Option<Self>, TlsSetupError> {
        let upstream = &host.upstream;
        let (scheme, trust) = match upstream.scheme {
            Scheme::Http => ("http", Trust::nobody()),
            Scheme::Https => ("https", trust(upstream)?),
            Scheme::Xmpp | Scheme::Xmpps => return Ok(None),
        };
        let address = if upstream.place.address.contains(':') {
            format!("[{}]", upstream.place.address)
        } else {
            upstream.place.address.clone()
        };
        let url = format!(
            "{scheme}://{address}:{}{}",
            upstream.place.port, upstream.path
        );
        let uri = url.parse().map_err(|_| TlsSetupError::Name {
            domain: upstream.place.address.clone(),
        })?;
        let options = Options {
            connect_timeout: Some(connect),
            most_idle: usize::MAX,
        };
        let http = HttpClient::new(trust, options)?;
        Ok(Some(Self {
            domain: host.domain.clone(),
            place: upstream.place.clone(),
            uri,
            http,
        }))
    }

    /// Whether nobody on the way can read what it is sent.
    pub(super) fn is_private(&self) -> bool {
        self.uri.scheme_str() == Some("https") || is_this_machine(&self.place.address)
    }

    /// The server's host and port.
    pub(super) fn place(&self) -> &config::Place {
        &self.place
    }

    fn post(&self, document: Bytes, client: &HeaderValue) -> Exchange {
        let mut request = Request::post(self.uri.clone());
        if let Some(headers) = request.headers_mut() {
            let content_type = HeaderValue::from_static("text/xml; charset=utf-8");
            headers.insert(CONTENT_TYPE, content_type);
            headers.insert(header::USER_AGENT, USER_AGENT);
            headers.insert(X_FORWARDED_FOR, client.clone());
        }
        let request = request
            .body(Full::new(document))
            .expect("the parts of the request are valid");
        let response = self.http.send(request);
        Box::pin(async move {
            let response = response.await?;
            let status = response.status().as_u16();
            Ok((status, body::read(response.into_body(), MAX_ANSWER).await?))
        })
    }
}

/// `upstream_tls` for `https://`; the certificate has to name the host of the URL.
fn trust(upstream: &config::Upstream) -> Result<Trust, TlsSetupError> {
    let local = is_loopback(&upstream.place.address) || upstream.place.address == "localhost";
    Ok(match upstream.tls {
        UpstreamTls::Plain => return Err(TlsSetupError::Plain { scheme: "https" }),
        UpstreamTls::Insecure => Trust::Anyone,
        UpstreamTls::Auto if local => Trust::Anyone,
        UpstreamTls::Auto | UpstreamTls::Verify => Trust::authorities(upstream.ca.as_deref())?,
    })
}

type Exchange = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A session with the server. If it is dropped, the server ends it for inactivity.
pub struct Session {
    server: Arc<Server>,
    /// The address of the client, for the server's log and limits.
    address: HeaderValue,
    client: Client,
    /// Requests that are sent and unanswered.
    exchanges: SmallVec<[(Rid, Exchange); 2]>,
    /// Why the last attempt failed.
    failure: Option<BoxError>,
    timer: Pin<Box<Sleep>>,
}

impl Session {
    /// Creates a session and waits for the server's features.
    pub(super) async fn create(
        server: &Arc<Server>,
        initiator: Initiator<'_>,
        attempt: &Attempt<'_>,
    ) -> Result<(Self, Hello), ConnectError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| ConnectError::Exchange {
            source: error.into(),
        })?;
        let random = u64::from_be_bytes(random);
        let mut session = Self {
            server: Arc::clone(server),
            address: HeaderValue::try_from(initiator.address.ip().to_string())
                .expect("an address is a header value"),
            client: Client::new(server.domain.as_str(), initiator.lang(), random, now()),
            exchanges: SmallVec::new(),
            failure: None,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        };
        let mut created = Created::default();
        let features = loop {
            let event = poll_fn(|cx| session.poll_event(cx)).await;
            if !matches!(event, Event::Lost(Loss::Unanswered)) {
                attempt.found_somebody();
            }
            match event {
                Event::Created(said) => created = said,
                Event::Features(features) => break features,
                other => return Err(session.refusal(other)),
            }
        };
        let hello = Hello::of(&server.domain, created.from, created.authid, features)?;
        Ok((session, hello))
    }

    /// The error for an `event` that comes instead of the features.
    fn refusal(&mut self, event: Event) -> ConnectError {
        match event {
            Event::Error(error) => ConnectError::of_stream_error(&StreamCondition::of(&error)),
            Event::Features(stanza) | Event::Stanza(stanza) | Event::Unreadable(stanza) => {
                ConnectError::Unexpected {
                    element: stanza.local().to_owned(),
                }
            }
            Event::Lost(Loss::Unanswered) => match self.failure.take() {
                Some(failure) => self.unanswered(failure),
                None => UpstreamError::Bosh(Loss::Unanswered).into(),
            },
            Event::Lost(loss) => UpstreamError::Bosh(loss).into(),
            Event::Created(_) | Event::Closed => ConnectError::Closed,
        }
    }

    fn unanswered(&self, source: BoxError) -> ConnectError {
        match certificate_error(&*source) {
            Some(reason) => ConnectError::Certificate {
                domain: self.server.uri.host().unwrap_or_default().to_owned(),
                reason,
            },
            None => ConnectError::Exchange { source },
        }
    }

    pub(super) fn queue(&mut self, stanza: &Stanza) {
        self.client.queue(stanza.to_bytes());
    }

    pub(super) fn queue_bytes(&mut self, bytes: Bytes) {
        self.client.queue(bytes);
    }

    pub(super) fn restart(&mut self, lang: Option<&str>) {
        self.client.restart(lang);
    }

    pub(super) fn close(&mut self) {
        self.client.close();
    }

    pub(super) fn queued(&self) -> usize {
        self.client.queued()
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.server.uri.scheme_str() == Some("https")
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        read: bool,
    ) -> Poll<Result<UpstreamEvent, UpstreamError>> {
        self.client.set_reading(read);
        self.drive(cx);
        if !read {
            return Poll::Pending;
        }
        let Some(event) = self.client.poll_event() else {
            return Poll::Pending;
        };
        Poll::Ready(match event {
            Event::Features(features) => Ok(UpstreamEvent::Features(features)),
            Event::Stanza(stanza) => Ok(UpstreamEvent::Stanza(stanza)),
            Event::Unreadable(husk) => Ok(UpstreamEvent::Unreadable(husk)),
            Event::Error(error) => Ok(UpstreamEvent::StreamError(error)),
            Event::Created(_) | Event::Closed => Ok(UpstreamEvent::Closed),
            Event::Lost(loss) => Err(UpstreamError::Bosh(loss)),
        })
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.drive(cx);
        self.client.poll_event().map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes in the answers that are ready, sends what is due, arms the timer.
    fn drive(&mut self, cx: &mut Context<'_>) {
        loop {
            let now = now();
            while self.take_answer(cx, now) {}
            self.client.handle_timeout(now);
            let mut idle = true;
            while let Some((rid, document)) = self.client.poll_request(now) {
                idle = false;
                self.exchanges.retain(|(open, _)| *open != rid);
                self.exchanges
                    .push((rid, self.server.post(document, &self.address)));
            }
            if idle && !self.poll_timer(cx) {
                return;
            }
        }
    }

    fn take_answer(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        for index in 0..self.exchanges.len() {
            let (rid, exchange) = &mut self.exchanges[index];
            let rid = *rid;
            let Poll::Ready(answer) = exchange.as_mut().poll(cx) else {
                continue;
            };
            drop(self.exchanges.swap_remove(index));
            match answer {
                Ok((status, body)) => self.client.handle_answer(rid, status, body, now),
                Err(failure) => {
                    debug!(error = &*failure as &dyn Error, "upstream request failed");
                    self.failure = Some(failure);
                    self.client.handle_failure(rid, now);
                }
            }
            return true;
        }
        false
    }

    /// Whether the time has come for the next step.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.client.poll_timeout() else {
            return false;
        };
        let deadline = deadline.into();
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("server", &self.server)
            .field("requests", &self.exchanges.len())
            .finish_non_exhaustive()
    }
}

/// The fault of the certificate, if that is the cause.
fn certificate_error(error: &(dyn Error + 'static)) -> Option<rustls::CertificateError> {
    causes(error).find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason.clone()),
        _ => None,
    })
}
