//! HTTP/1.1 as a load generator needs it: one connection, one exchange at a time, nothing checked that does
//! not matter.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result, bail};
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{http2::Http2, stream::connect};

/// A service.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// With the leading slash.
    pub path: String,
    /// Whether over TLS; BOSH is then carried by HTTP/2.
    pub is_encrypted: bool,
}

/// A connection that is opened when it is needed, and again when the server has closed it.
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    content_type: &'static str,
    head: String,
    stream: Option<TcpStream>,
    /// In the place of `stream`.
    http2: Option<Http2>,
    /// What has been received.
    buffer: Vec<u8>,
    /// What is sent, kept to be used again.
    request: Vec<u8>,
    is_waiting: bool,
}

impl Connection {
    /// To send bodies of this type there; nothing is opened yet.
    pub fn new(endpoint: &Endpoint, content_type: &'static str) -> Self {
        Self::with_method("POST", endpoint, content_type)
    }

    fn with_method(method: &str, endpoint: &Endpoint, content_type: &'static str) -> Self {
        let path = &endpoint.path;
        Self {
            endpoint: endpoint.clone(),
            content_type,
            head: format!(
                "{method} {path} HTTP/1.1\r\nHost: example.org\r\nContent-Type: {content_type}\r\nContent-Length: "
            ),
            stream: None,
            http2: None,
            buffer: Vec::new(),
            request: Vec::new(),
            is_waiting: false,
        }
    }

    /// Whether an answer is due.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// There is no connection to be had.
    pub async fn send(&mut self, body: &str) -> Result<()> {
        self.is_waiting = true;
        if self.endpoint.is_encrypted {
            if self.http2.is_none() {
                self.http2 = Some(Http2::open(connect(self.endpoint.address).await?).await?);
            }
            let http2 = self.http2.as_mut().context("just opened")?;
            return http2
                .send(&self.endpoint.path, self.content_type, body)
                .await;
        }
        self.request.clear();
        self.request.extend_from_slice(self.head.as_bytes());
        self.request
            .extend_from_slice(body.len().to_string().as_bytes());
        self.request.extend_from_slice(b"\r\n\r\n");
        self.request.extend_from_slice(body.as_bytes());
        if let Some(stream) = &mut self.stream {
            // Closed meanwhile, as servers close idle connections? What it says is end of file.
            let is_open = matches!(
                stream.try_read(&mut [0]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock
            );
            if is_open && stream.write_all(&self.request).await.is_ok() {
                return Ok(());
            }
        }
        self.buffer.clear();
        let stream = connect(self.endpoint.address).await?;
        let stream = self.stream.insert(stream);
        Ok(stream.write_all(&self.request).await?)
    }

    /// The body of the answer. May be given up and called again.
    ///
    /// # Errors
    ///
    /// The connection ends first, or it is not HTTP, or not 200.
    pub async fn answer(&mut self) -> Result<Vec<u8>> {
        if let Some(http2) = &mut self.http2 {
            let answer = http2.answer().await?;
            self.is_waiting = false;
            return Ok(answer);
        }
        let stream = self.stream.as_mut().context("no request was sent")?;
        loop {
            if let Some(answer) = parse(&self.buffer)? {
                self.buffer.drain(..answer.length);
                self.is_waiting = false;
                if answer.closes {
                    self.stream = None;
                }
                return Ok(answer.body);
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed before the answer");
            }
        }
    }
}

/// What is there.
///
/// # Errors
///
/// No answer comes, or one that is not 200.
pub async fn get(endpoint: &Endpoint) -> Result<Vec<u8>> {
    let mut connection = Connection::with_method("GET", endpoint, "text/plain");
    connection.send("").await?;
    connection.answer().await
}

/// An answer, with 200.
#[derive(Debug, Eq, PartialEq)]
struct Answer {
    body: Vec<u8>,
    /// Of all of it, in bytes.
    length: usize,
    /// Whether the connection ends with it.
    closes: bool,
}

/// Nothing while it is not all there.
fn parse(buffer: &[u8]) -> Result<Option<Answer>> {
    let Some(end) = memmem::find(buffer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(&buffer[..end]).context("a head that is no text")?;
    let rest = &buffer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let (mut length, mut is_chunked, mut closes) = (None, false, status.starts_with("HTTP/1.0"));
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<usize>().context("Content-Length")?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    let (body, body_length) = if is_chunked {
        match chunks(rest)? {
            Some(both) => both,
            None => return Ok(None),
        }
    } else {
        let length = length.context("no length of the body")?;
        match rest.get(..length) {
            Some(body) => (body.to_vec(), length),
            None => return Ok(None),
        }
    };
    if status.split(' ').nth(1) != Some("200") {
        bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(Some(Answer {
        body,
        length: end + 4 + body_length,
        closes,
    }))
}

/// Joins chunks; the length is that of all of them as sent.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = memmem::find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = str::from_utf8(&bytes[at..at + line])?;
        let size = usize::from_str_radix(size.trim(), 16).context("the size of a chunk")?;
        at += line + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Option<(String, usize)> {
        let answer = parse(text.as_bytes()).expect("HTTP");
        answer.map(|answer| {
            let body = String::from_utf8(answer.body).expect("text");
            (body, text.len() - answer.length)
        })
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        let text = "HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcHTTP";
        assert_eq!(body(text), Some(("abc".to_owned(), 4)));
        for end in 0..text.len() - 4 {
            assert_eq!(body(&text[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn chunks_are_joined() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(body(text), Some(("abc0123456789".to_owned(), 0)));
        for end in 0..text.len() {
            assert_eq!(body(&text[..end]), None, "{end} bytes");
        }
    }

    #[test]
    fn other_statuses_are_failures() {
        let text = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlate";
        let error = parse(text.as_bytes()).expect_err("not 200").to_string();
        assert_eq!(error, "HTTP/1.1 503 Busy: late");
    }

    #[test]
    fn a_connection_may_be_meant_to_end() {
        let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(
            parse(closing.as_bytes())
                .expect("HTTP")
                .expect("all of it")
                .closes
        );
        let staying = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert!(
            !parse(staying.as_bytes())
                .expect("HTTP")
                .expect("all of it")
                .closes
        );
    }
}
