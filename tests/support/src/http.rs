//! HTTP/1.1 by hand, so that a test owns every byte and every connection.

use std::{
    fmt::{Debug, Formatter, Write as _},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{site::foreign, tls::Certificates, within, xml::Element};

/// Of stream errors (RFC 6120 §4.9).
const ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";

/// The address of a service, and how to reach it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// The path, with the leading slash.
    pub path: String,
    /// Uses TLS with the name `example.org`; says which certificates are accepted.
    tls: Option<Certificates>,
    /// Connects from this address of the loopback network.
    from: Option<Ipv4Addr>,
    /// Sent before anything else.
    preamble: String,
    /// Sent with every request.
    headers: Vec<(String, String)>,
}

impl Endpoint {
    pub fn new(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
            tls: None,
            from: None,
            preamble: String::new(),
            headers: Vec::new(),
        }
    }

    /// The same service, at another path.
    pub fn at(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    /// Over TLS, with a certificate of ours.
    pub fn over_tls(self) -> Self {
        let tls = Some(Certificates::Ours);
        Self { tls, ..self }
    }

    /// Over TLS, with any certificate.
    pub fn over_any_tls(self) -> Self {
        let tls = Some(Certificates::Any);
        Self { tls, ..self }
    }

    pub fn coming_from(self, address: Ipv4Addr) -> Self {
        let from = Some(address);
        Self { from, ..self }
    }

    /// Begins connections as a proxy does that passes TCP on.
    pub fn beginning_with(self, preamble: &str) -> Self {
        let preamble = preamble.to_owned();
        Self { preamble, ..self }
    }

    /// Adds a header as a proxy does to what it passes on.
    pub fn adding(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends one request on a connection of its own.
    pub async fn request(&self, method: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut connection = Connection::open(self).await;
        connection.send(method, &self.path, headers, body).await;
        connection.response().await
    }

    pub async fn post(&self, body: &str) -> Response {
        self.request("POST", &[("Content-Type", "text/xml; charset=utf-8")], body)
            .await
    }
}

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    headers: Vec<(String, String)>,
    buffer: Vec<u8>,
    /// The request whose answer comes next is a `HEAD`.
    head: bool,
}

impl Connection {
    pub async fn open(to: &Endpoint) -> Self {
        let connection = within("a connection", Self::try_open(to)).await;
        connection.unwrap_or_else(|| panic!("{} does not take connections", to.address))
    }

    pub async fn try_open(to: &Endpoint) -> Option<Self> {
        Some(Self {
            stream: Stream::open(to).await.ok()?,
            headers: to.headers.clone(),
            buffer: Vec::new(),
            head: false,
        })
    }

    /// Sends a request with a `Host` and a `Content-Length`.
    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        self.head = method == "HEAD";
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        let own = self.headers.iter().map(|(name, value)| (&**name, &**value));
        let headers: Vec<_> = headers.iter().copied().chain(own).collect();
        let is_host = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("host");
        if !headers.iter().any(is_host) {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes it");
        }
        if method == "POST" || method == "PUT" || !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).expect("a string takes it");
        }
        head.push_str("\r\n");
        head.push_str(body);
        self.write(head.as_bytes()).await;
    }

    /// Sends bytes as they are. If the other side has closed the connection, the next read will show it.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = within("room to write", self.stream.write_all(bytes)).await;
        drop(written);
    }

    /// The answer to the oldest request not yet answered.
    pub async fn response(&mut self) -> Response {
        let response = within("an HTTP response", self.try_response()).await;
        response.expect("an HTTP response, not the end of the connection")
    }

    /// The same without a deadline; `None` if the connection ends first.
    pub async fn try_response(&mut self) -> Option<Response> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            self.read().await?;
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("a response head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line").to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let headers = headers.collect();
        let mut response = Response {
            status_line,
            headers,
            body: Vec::new(),
        };
        if self.head || matches!(response.status(), 101 | 204 | 304) {
            return Some(response);
        }
        assert_eq!(
            response.header("transfer-encoding"),
            None,
            "gloox reads no chunks"
        );
        let Some(length) = response.header("content-length") else {
            while self.read().await.is_some() {}
            response.body = std::mem::take(&mut self.buffer);
            return Some(response);
        };
        let length = length.parse().expect("a length is a number");
        while self.buffer.len() < length {
            self.read().await?;
        }
        response.body = self.buffer.drain(..length).collect();
        Some(response)
    }

    /// The status of an interim answer, such as 100.
    pub async fn interim(&mut self) -> u16 {
        self.head = true;
        let status = self.response().await.status();
        self.head = false;
        status
    }

    /// Waits until there is something to read.
    pub async fn readable(&self) {
        let Stream::Tcp(stream) = &self.stream else {
            panic!("over TLS, there is more to read than data")
        };
        let peeked = stream.peek(&mut [0]).await;
        assert_eq!(peeked.ok(), Some(1), "the connection is open");
    }

    /// Waits for the other side to close.
    pub async fn closed(&mut self) {
        within("the end of the connection", async {
            while self.read().await.is_some() {}
        })
        .await;
        assert_eq!(
            String::from_utf8_lossy(&self.buffer),
            "",
            "nothing more before the end"
        );
    }

    /// What has been read and not been taken.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes bytes off the front of what has been read.
    pub(crate) fn take(&mut self, length: usize) -> Vec<u8> {
        self.buffer.drain(..length).collect()
    }

    /// Reads more; `None` at the end. May be cancelled.
    pub async fn read(&mut self) -> Option<()> {
        match self.stream.read(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    async fn open(to: &Endpoint) -> io::Result<Self> {
        let socket = match to.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(from) = to.from {
            socket.bind((IpAddr::from(from), 0).into())?;
        }
        let mut tcp = socket.connect(to.address).await?;
        tcp.set_nodelay(true)?;
        tcp.write_all(to.preamble.as_bytes()).await?;
        let Some(certificates) = to.tls else {
            return Ok(Self::Tcp(tcp));
        };
        let connector = TlsConnector::from(Arc::new(certificates.client()));
        let name = "example.org".try_into().expect("a name");
        Ok(Self::Tls(Box::new(connector.connect(name, tcp).await?)))
    }

    async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await,
            Self::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

/// An answer.
#[derive(Clone, Eq, PartialEq)]
pub struct Response {
    pub status_line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Debug for Response {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "{}", self.status_line)?;
        for (name, value) in &self.headers {
            writeln!(out, "{name}: {value}")?;
        }
        write!(out, "\n{}", String::from_utf8_lossy(&self.body))
    }
}

impl Response {
    pub fn status(&self) -> u16 {
        let status = self
            .status_line
            .split(' ')
            .nth(1)
            .expect("a status line has a status");
        status.parse().expect("a status is a number")
    }

    /// A header that may occur only once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|header| header.0 == name);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} only once");
        value.map(|header| header.1.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body is UTF-8")
    }

    /// Asserts that a browser shows this as text only, and gives it to a page of another origin only if CORS
    /// allows.
    #[track_caller]
    pub fn assert_inert(&self) {
        for (name, value) in [
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}: {self:?}");
        }
    }

    /// Asserts what every answer has, whatever its status: any page may read it, nothing stores or runs it, and its
    /// length is known.
    #[track_caller]
    pub fn assert_usual_headers(&self) {
        // Much of this is required by no specification, only by us.
        if foreign().is_some() {
            return;
        }
        let origin = self.header("access-control-allow-origin");
        assert!(
            origin.is_some(),
            "without CORS a browser sees status 0: {self:?}"
        );
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        self.assert_inert();
        if self.status() != 204 {
            assert!(self.header("content-length").is_some(), "{self:?}");
        }
    }

    /// The terminal binding condition of an answer with status 200 that ends a session.
    #[track_caller]
    pub fn condition(&self) -> Option<String> {
        self.assert_usual_headers();
        assert_eq!(self.status(), 200, "{self:?}");
        let body = self.xml();
        assert_eq!(body.attr("type"), Some("terminate"), "{body}");
        body.attr("condition").map(str::to_owned)
    }

    /// The condition of an answer that tells the client to come again, and its text for people.
    #[track_caller]
    pub fn not_now(&self) -> (String, String) {
        self.assert_usual_headers();
        assert_eq!(self.status(), 503, "{self:?}");
        assert!(self.header("retry-after").is_some(), "{self:?}");
        let body = self.xml();
        let condition = body.attr("condition").expect("a condition");
        let reason = body.child(ERRORS, "text").expect("a reason");
        (condition.to_owned(), reason.text())
    }

    /// The body as XML.
    #[track_caller]
    pub fn xml(&self) -> Element {
        Element::parse(&self.body)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
