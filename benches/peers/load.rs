//! A load generator that speaks raw BOSH and costs little: strings out, strings in, nothing parsed that need
//! not be.

use std::{error::Error, fmt::Write as _, net::SocketAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{client::Account, http::Endpoint};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A connection that is kept.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    async fn send(&mut self, request: &str) -> Result<()> {
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// The body of the next answer, which has to be a 200.
    async fn answer(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.end()? {
                let answer: Vec<u8> = self.buffer.drain(..end).collect();
                let answer = String::from_utf8(answer)?;
                let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
                if head.split(' ').nth(1) != Some("200") {
                    return Err(format!("{head}\n{body}").into());
                }
                return Ok(body.to_owned());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("connection closed".into());
            }
        }
    }

    /// Where the first answer in the buffer ends, if it is whole.
    fn end(&self) -> Result<Option<usize>> {
        let Some(head) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.ok_or("no Content-Length")?.trim().parse()?;
        let end = head + 4 + length;
        Ok((self.buffer.len() >= end).then_some(end))
    }
}

/// A session with its connections, two as browsers have; the second one from when it is needed.
#[derive(Debug)]
pub(crate) struct Session {
    to: SocketAddr,
    connections: [Option<Connection>; 2],
    /// Which of them have a request out, the older first.
    out: Vec<usize>,
    head: String,
    sid: String,
    rid: u64,
    /// The full JID.
    pub(crate) jid: String,
}

impl Session {
    /// Logs in with SASL PLAIN, in four requests (where the server needs no more), and has none out.
    pub(crate) async fn log_in(to: &Endpoint, account: &Account, wait: u32) -> Result<Self> {
        let mut session = Self {
            to: to.address,
            connections: [None, None],
            out: Vec::new(),
            head: format!(
                "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml; charset=utf-8\r\n\
                 Content-Length: ",
                to.path
            ),
            sid: String::new(),
            rid: 1_000_000,
            jid: String::new(),
        };
        let Account {
            local,
            domain,
            password,
        } = account;
        let creation = format!(
            "to='{domain}' wait='{wait}' hold='1' ver='1.6' xml:lang='en' \
             xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'"
        );
        let created = session.ask(&creation, "").await?;
        session.sid = between(&created, "sid=", "").ok_or("no sid")?.to_owned();
        if !created.contains("mechanism") {
            session.ask_until("", "", "mechanism").await?;
        }
        let plain = BASE64.encode(format!("\0{local}\0{password}"));
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        );
        session.ask_until("", &auth, "<success").await?;
        let restart = format!("to='{domain}' xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'");
        session.ask_until(&restart, "", "xmpp-bind").await?;
        let bind = "<iq xmlns='jabber:client' type='set' id='bind'>\
                    <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        let bound = session.ask_until("", bind, "<jid>").await?;
        let jid = between(&bound, "<jid>", "</jid>").ok_or("no JID")?;
        session.jid = jid.to_owned();
        Ok(session)
    }

    /// One request and its answer, where none is out.
    pub(crate) async fn ask(&mut self, attributes: &str, payload: &str) -> Result<String> {
        self.send(attributes, payload).await?;
        self.answer().await
    }

    /// The same; asks on until an answer has this in it.
    pub(crate) async fn ask_until(
        &mut self,
        attributes: &str,
        payload: &str,
        sign: &str,
    ) -> Result<String> {
        let mut answer = self.ask(attributes, payload).await?;
        while !answer.contains(sign) {
            if answer.contains("terminate") {
                return Err(format!("{sign} was expected, not {answer}").into());
            }
            answer = self.ask("", "").await?;
        }
        Ok(answer)
    }

    /// Sends a request that stays out.
    pub(crate) async fn send(&mut self, attributes: &str, payload: &str) -> Result<()> {
        let free = [0, 1].into_iter().find(|index| !self.out.contains(index));
        let free = free.ok_or("two requests are out")?;
        self.rid += 1;
        let (sid, rid) = (&self.sid, self.rid);
        let mut body = format!("<body xmlns='http://jabber.org/protocol/httpbind' rid='{rid}'");
        if !sid.is_empty() {
            write!(body, " sid='{sid}'")?;
        }
        write!(body, " {attributes}>{payload}</body>")?;
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        let connection = match &mut self.connections[free] {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.to).await?),
        };
        connection.send(&request).await?;
        self.out.push(free);
        Ok(())
    }

    /// The answer to the oldest request that is out.
    pub(crate) async fn answer(&mut self) -> Result<String> {
        let oldest = *self.out.first().ok_or("no request is out")?;
        let connection = self.connections[oldest].as_mut();
        let answer = connection.ok_or("no connection")?.answer().await?;
        self.out.remove(0);
        Ok(answer)
    }

    /// Waits until an answer has this in it; has a request out meanwhile, and none then.
    pub(crate) async fn hear(&mut self, sign: &str) -> Result<()> {
        loop {
            let answer = self.answer().await?;
            if answer.contains(sign) {
                return Ok(());
            }
            if answer.contains("terminate") {
                return Err(format!("{sign} was expected, not {answer}").into());
            }
            self.send("", "").await?;
        }
    }

    pub(crate) async fn log_out(mut self) -> Result<()> {
        self.send("type='terminate'", "").await?;
        while !self.out.is_empty() {
            self.answer().await?;
        }
        Ok(())
    }
}

/// What is between two texts; with an empty `after`, between quotation marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    if after.is_empty() {
        let quote = rest.chars().next()?;
        return rest[1..].split(quote).next();
    }
    rest.split_once(after).map(|(found, _)| found)
}
