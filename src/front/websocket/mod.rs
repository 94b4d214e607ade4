//! Endpoint for XMPP over WebSocket (`/xmpp-websocket`, RFC 7395), up to the session: decides who may open a WebSocket,
//! and has a session begin for whoever opens a stream. It does not know what a session says.
//!
//! | what goes wrong | what the client gets |
//! |---|---|
//! | no `Upgrade` | 200, a page for people |
//! | a proxy has dropped `Upgrade` or `Connection` | 400, with a text that says so; logged |
//! | another version of the protocol | 426 |
//! | no key, subprotocol `xmpp` not offered, HTTP/1.0 | 400 |
//! | another method | 405 |
//! | a page that is not in `web.origins` | 403; logged |
//! | draining, or a bound on sessions | 503 with `Retry-After` |
//! | no `<open/>` in time | stream error `connection-timeout`, Close 1008 |
//! | first message too long | stream error `policy-violation`, Close 1009 |
//! | no proper `<open/>` | its stream error, Close 1000 |
//! | `to` missing or no domain / not served | `improper-addressing` / `host-unknown`, Close 1000 |
//!
//! Browsers tell scripts nothing of an answer other than 101, so reasons are logged.

mod greeting;
mod handshake;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use tracing::{debug, warn};

use self::{greeting::Greeting, handshake::Defect};
use super::{exchange::OpenWebSocket, page, settings::Settings};
use crate::{
    net::{
        answer::{self, TRY_AGAIN},
        connections::Counted,
        listener::Peer,
        log_throttle::LogThrottle,
    },
    session::{Origin, Refused, Registry},
};

/// The endpoint for WebSockets.
pub struct Front {
    registry: Arc<Registry>,
    refusals: LogThrottle,
}

impl Front {
    /// An endpoint for sessions of `registry`.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            registry,
            refusals: LogThrottle::default(),
        }
    }

    /// Answers one HTTP request. With 101, the connection goes on as a WebSocket, in a task of its own, whose end is
    /// told to `log`.
    pub fn handle<B>(
        &self,
        peer: Peer,
        mut request: Request<B>,
        settings: &Arc<Settings>,
        log: Option<OpenWebSocket>,
    ) -> Response<Full<Bytes>> {
        let (version, headers) = (request.version(), request.headers());
        let client = settings.proxies.origin(peer, version, headers);
        let accept = match handshake::check(&request) {
            Ok(accept) => accept,
            Err(defect) => {
                self.tell(client, defect);
                return defect.response();
            }
        };
        if !is_allowed(headers, settings) {
            let client = client.address.ip();
            if let Some(unsaid) = self.refusals.is_due() {
                let origin = headers.get(header::ORIGIN);
                warn!(%client, ?origin, unsaid, "websocket refused: origin not in web.origins");
            }
            return answer::text(StatusCode::FORBIDDEN, "this origin is not in web.origins\n");
        }
        if self.registry.is_closed() {
            return unavailable("going down");
        }
        let reserved = settings.admission.reserve(client, &self.registry);
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(refused) => return unavailable(&Refused::from(refused).to_string()),
        };
        let greeting = Greeting {
            page: page::of(request.uri()),
            upgrade: hyper::upgrade::on(&mut request),
            counted: request.extensions_mut().remove::<Arc<Counted>>(),
            origin: client,
            reserved,
            registry: Arc::clone(&self.registry),
            settings: Arc::clone(settings),
            log,
        };
        tokio::spawn(greeting.run());
        accept.response()
    }

    /// Tells the operator of a defect that he can mend.
    fn tell(&self, client: Origin, defect: Defect) {
        let client = client.address.ip();
        match defect {
            Defect::Dropped => {
                if let Some(unsaid) = self.refusals.is_due() {
                    warn!(%client, %defect, unsaid, "websocket refused");
                }
            }
            _ => debug!(%client, %defect, "no websocket opened"),
        }
    }
}

/// Whether a request may come from where its browser says it does. Browsers let any page open a WebSocket, and leave it
/// to the server to refuse. What sends no `Origin` is no browser.
fn is_allowed(headers: &HeaderMap, settings: &Settings) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.all(|origin| settings.cors.allows(origin))
}

fn unavailable(why: &str) -> Response<Full<Bytes>> {
    let mut response = answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    response.headers_mut().extend([TRY_AGAIN]);
    response
}
