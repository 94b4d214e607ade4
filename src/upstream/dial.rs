//! Dialing: opens a connection to the server, from its addresses over TLS by policy to the stream's features.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::AlertDescription;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    ConnectError, Hello, Initiator, Phase, UpstreamError,
    breaker::Attempt,
    c2s::{Connection, Server},
};
use crate::{
    config::{Place, Scheme, UpstreamTls},
    net::{proxy, wire::Transport},
    proto::{
        stream::{
            error::StreamCondition,
            initiator::{Event, Header, StartTls},
        },
        xml::Ns,
    },
};

const STARTTLS: Bytes = Bytes::from_static(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");

/// How long an address may take before the next one is tried as well (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// How often a server may refer to another one.
const REFERRALS: usize = 3;

/// An attempt to connect, and how far it has come.
pub(super) struct Dial<'a> {
    /// For the TCP handshake with one address.
    pub(super) deadline: Duration,
    pub(super) attempt: &'a Attempt<'a>,
    pub(super) phase: &'a mut Phase,
}

impl Dial<'_> {
    /// Opens a connection to `server` and its stream. Follows referrals to other servers if they are allowed
    /// (RFC 6120 §4.9.3.19).
    pub(super) async fn stream(
        &mut self,
        server: &Arc<Server>,
        initiator: Initiator<'_>,
    ) -> Result<(Connection, Hello), ConnectError> {
        let mut place = &server.config.place;
        let mut referrals = 0;
        loop {
            let refusal = match self.stream_at(place, server, initiator).await {
                Err(ConnectError::SeeOtherHost { host }) => host,
                result => return result,
            };
            let mut allowed = server.config.referrals.iter();
            let other = allowed.find(|allowed| allowed.is_meant_by(&refusal));
            match other.filter(|_| referrals < REFERRALS) {
                Some(other) => place = other,
                None => return Err(ConnectError::SeeOtherHost { host: refusal }),
            }
            referrals += 1;
        }
    }

    async fn stream_at(
        &mut self,
        place: &Place,
        server: &Arc<Server>,
        initiator: Initiator<'_>,
    ) -> Result<(Connection, Hello), ConnectError> {
        let (mut tcp, address) = self.tcp(place).await?;
        if let Some(version) = server.config.proxy_protocol {
            let header = proxy::header(version, initiator.address, address);
            tcp.write_all(&header).await.map_err(UpstreamError::Lost)?;
        }
        let local = address.ip().to_canonical().is_loopback();
        let lang = initiator.lang();

        let tcp = match server.config.scheme {
            Scheme::Xmpps => tcp,
            // Servers over HTTP are not dialed here.
            Scheme::Http | Scheme::Https | Scheme::Xmpp => {
                *self.phase = Phase::Stream;
                let mut connection = Connection::new(server, Transport::Plain(tcp), None);
                let hello = open(server, &mut connection, lang).await?;
                if !wants_tls(server.config.tls, local, StartTls::of(&hello.features))? {
                    return Ok((connection, hello));
                }
                start_tls(connection).await?
            }
        };

        *self.phase = Phase::Tls;
        let transport = handshake(server, tcp, local).await?;
        *self.phase = Phase::Stream;
        let from = initiator.jid.filter(|jid| *jid.domain() == *server.domain);
        let mut connection = Connection::new(server, transport, from);
        let hello = open(server, &mut connection, lang).await?;
        Ok((connection, hello))
    }

    /// TCP to the configured place.
    pub(super) async fn tcp(
        &mut self,
        to: &Place,
    ) -> Result<(TcpStream, SocketAddr), ConnectError> {
        let unknown = |source| ConnectError::Resolve {
            host: to.address.clone(),
            source,
        };
        *self.phase = Phase::Resolve;
        let addresses = lookup_host((to.address.as_str(), to.port)).await;
        *self.phase = Phase::Connect;
        let connected = first(addresses.map_err(unknown)?, self.deadline)
            .await
            .unwrap_or_else(|| Err(unknown(io::ErrorKind::NotFound.into())))?;
        self.attempt.found_somebody();
        Ok(connected)
    }
}

/// Whether to ask for TLS by `upstream_tls`, if the server, on a loopback address (`local`) or elsewhere, makes this
/// offer.
fn wants_tls(policy: UpstreamTls, local: bool, offer: StartTls) -> Result<bool, ConnectError> {
    match (policy, offer) {
        (UpstreamTls::Plain, StartTls::Required) => Err(ConnectError::StartTlsRequired),
        (UpstreamTls::Plain, StartTls::Absent | StartTls::Offered) => Ok(false),
        (UpstreamTls::Auto, _) if local => Ok(offer == StartTls::Required),
        (_, StartTls::Absent) => Err(ConnectError::StartTlsNotOffered),
        (_, StartTls::Offered | StartTls::Required) => Ok(true),
    }
}

/// Opens the stream and waits for the features.
async fn open(
    server: &Server,
    connection: &mut Connection,
    lang: Option<&str>,
) -> Result<Hello, ConnectError> {
    connection.restart(lang);
    let mut header = Header::default();
    let features = loop {
        match connection.next().await? {
            Event::Header(said) => header = said,
            Event::Features(features) => break features,
            other => return Err(refusal(&other)),
        }
    };
    Hello::of(&server.domain, header.from, header.id, features)
}

/// Asks for TLS on this connection (RFC 6120 §5.4.2).
async fn start_tls(mut connection: Connection) -> Result<TcpStream, ConnectError> {
    connection.queue_bytes(STARTTLS);
    match connection.next().await? {
        Event::Stanza(answer) if answer.ns() == Ns::Tls && answer.local() == "proceed" => {
            connection.into_plain().ok_or(ConnectError::Injected)
        }
        Event::Stanza(answer) if answer.ns() == Ns::Tls => Err(ConnectError::StartTlsRefused),
        other => Err(refusal(&other)),
    }
}

/// A connection to the first address that answers; if none does, one of the errors; `None` without any address.
pub(super) async fn first(
    addresses: impl Iterator<Item = SocketAddr>,
    deadline: Duration,
) -> Option<Result<(TcpStream, SocketAddr), ConnectError>> {
    race(alternate(addresses.collect()), deadline, connect_to).await
}

/// Connects to addresses one after the other, each a little later than the one before (RFC 8305).
async fn race<T: Send + 'static, F: Future<Output = io::Result<T>> + Send + 'static>(
    addresses: Vec<SocketAddr>,
    deadline: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<Result<(T, SocketAddr), ConnectError>> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last: Option<ConnectError> = None;
    loop {
        if let Some(address) = addresses.next() {
            let attempt = timeout(deadline, connect(address));
            attempts.spawn(async move { (address, attempt.await) });
        } else if attempts.is_empty() {
            return last.map(Err);
        }
        let result = if addresses.len() == 0 {
            attempts.join_next().await
        } else if let Ok(result) = timeout(HEAD_START, attempts.join_next()).await {
            result
        } else {
            continue;
        };
        let Some(Ok((address, result))) = result else {
            continue;
        };
        match result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(connection) => return Some(Ok((connection, address))),
            Err(source) => {
                let error = ConnectError::Connect { address, source };
                // The outcome is that nobody listens only if each address says so.
                if last
                    .as_ref()
                    .is_none_or(ConnectError::means_nobody_is_there)
                {
                    last = Some(error);
                }
            }
        }
    }
}

/// The same addresses with the two families by turns, each in its order.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let starts_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut counts = [0, 0];
    let mut ranked: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            let family = usize::from(address.is_ipv6() != starts_with_v6);
            counts[family] += 1;
            (counts[family], family, address)
        })
        .collect();
    ranked.sort_by_key(|&(rank, family, _)| (rank, family));
    ranked.into_iter().map(|(_, _, address)| address).collect()
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_keepalive(true)?;
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// The TLS handshake; `local` is whether the server is on a loopback address.
async fn handshake(
    server: &Server,
    tcp: TcpStream,
    local: bool,
) -> Result<Transport, ConnectError> {
    let tls = server
        .tls
        .as_ref()
        .expect("TLS is set up for every policy but plain");
    let config = if local { &tls.local } else { &tls.remote };
    match TlsConnector::from(Arc::clone(config))
        .connect(tls.name.clone(), tcp)
        .await
    {
        Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
        Err(error) => Err(tls_error(server, error)),
    }
}

fn tls_error(server: &Server, error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(reason)) => ConnectError::Certificate {
            domain: server.domain.as_str().to_owned(),
            reason: reason.clone(),
        },
        Some(rustls::Error::AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::UnrecognisedName
            | AlertDescription::AccessDenied
            | AlertDescription::InternalError,
        )) => ConnectError::TlsRefused(error),
        _ => ConnectError::Tls(error),
    }
}

/// The error for an `event` that was not expected here.
fn refusal(event: &Event) -> ConnectError {
    match event {
        Event::Error(error) => ConnectError::of_stream_error(&StreamCondition::of(error)),
        Event::Features(stanza) | Event::Stanza(stanza) | Event::Unreadable(stanza) => {
            ConnectError::Unexpected {
                element: stanza.local().to_owned(),
            }
        }
        Event::Header(_) | Event::Closed => ConnectError::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_a_head_start() {
        let began = tokio::time::Instant::now();
        let addresses = addresses(&["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
        let (dead, refusing) = (addresses[0], addresses[1]);
        let connect = move |address| async move {
            if address == dead {
                std::future::pending::<()>().await;
            }
            if address == refusing {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(())
        };
        let deadline = Duration::from_secs(5);
        let ((), reached) = race(addresses, deadline, connect).await.unwrap().unwrap();
        assert_eq!(reached.to_string(), "192.0.2.3:1");
        assert_eq!(began.elapsed(), HEAD_START);
        let nobody = race(vec![dead, refusing], deadline, connect).await.unwrap();
        let Err(ConnectError::Connect { address, source }) = nobody else {
            panic!("connected");
        };
        assert_eq!((address, source.kind()), (dead, io::ErrorKind::TimedOut));
    }

    #[test]
    fn address_families_take_turns() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"];
        assert_eq!(alternate(mixed), addresses(&expected));
    }

    #[test]
    fn policy_and_offer_settle_tls() {
        use StartTls::{Absent, Offered, Required};
        use UpstreamTls::{Auto, Insecure, Plain, Verify};
        let settled = |policy, local| {
            [Absent, Offered, Required].map(|offer| wants_tls(policy, local, offer).ok())
        };
        for local in [true, false] {
            assert_eq!(settled(Plain, local), [Some(false), Some(false), None]);
            for policy in [Insecure, Verify] {
                assert_eq!(settled(policy, local), [None, Some(true), Some(true)]);
            }
        }
        assert_eq!(settled(Auto, true), [Some(false), Some(false), Some(true)]);
        assert_eq!(settled(Auto, false), [None, Some(true), Some(true)]);
    }
}
