//! WebSocket by hand (RFC 6455): the test chooses every header of the upgrade, every frame and every byte.

use crate::{
    http::{Connection, Endpoint, Response},
    within,
};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The bit of a message's last frame, to be added to the opcode.
pub const FIN: u8 = 0x80;
/// The bits that only extensions may set.
pub const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Any mask would do; this one changes every byte.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The key of every upgrade, and what RFC 6455 says is the answer to it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Headers of an upgrade, with some changed, added, or (if the value is empty) left out.
pub fn upgrade<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "xmpp"),
    ];
    for change in changes {
        let mut same = headers.iter_mut().filter(|header| header.0 == change.0);
        match same.next() {
            Some(header) => *header = *change,
            None => headers.push(*change),
        }
    }
    headers.retain(|header| !header.1.is_empty());
    headers
}

/// One frame of the server's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// FIN, RSV and the opcode.
    pub first: u8,
    pub payload: Vec<u8>,
}

/// What comes from the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    Text(String),
    /// A Close frame, with its code if it has one.
    Close(Option<u16>),
    /// The end of the TCP connection.
    End,
}

/// A WebSocket. Dropped, it ends as that of a killed browser: without a Close frame.
#[derive(Debug)]
pub struct WebSocket {
    connection: Connection,
    /// The answer to the upgrade.
    pub response: Response,
    /// The server's pings so far, the oldest first.
    pub pings: Vec<Vec<u8>>,
    /// The same of its pongs.
    pub pongs: Vec<Vec<u8>>,
    /// Whether pings are answered, as every browser does.
    pub answers_pings: bool,
}

impl WebSocket {
    pub async fn open(endpoint: &Endpoint) -> Self {
        Self::open_with(endpoint, &[]).await
    }

    /// With other headers, as [`upgrade`] has them.
    pub async fn open_with(endpoint: &Endpoint, changes: &[(&str, &str)]) -> Self {
        let opened = Self::try_open(endpoint, changes).await;
        opened.unwrap_or_else(|response| panic!("no upgrade: {response:?}"))
    }

    /// The same; any answer but 101 is returned as it is.
    pub async fn try_open(endpoint: &Endpoint, changes: &[(&str, &str)]) -> Result<Self, Response> {
        let mut connection = Connection::open(endpoint).await;
        let headers = upgrade(changes);
        connection.send("GET", &endpoint.path, &headers, "").await;
        let response = connection.response().await;
        if response.status() != 101 {
            return Err(response);
        }
        Ok(Self {
            connection,
            response,
            pings: Vec::new(),
            pongs: Vec::new(),
            answers_pings: true,
        })
    }

    /// Sends a text message in one frame.
    pub async fn send(&mut self, text: &str) {
        self.send_frame(FIN | TEXT, text.as_bytes()).await;
    }

    /// Sends a frame; `first` is its first byte.
    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&frame(first, payload)).await;
    }

    pub async fn ping(&mut self, payload: &[u8]) {
        self.send_frame(FIN | PING, payload).await;
    }

    /// Sends a Close frame.
    pub async fn close(&mut self, code: u16) {
        self.send_frame(FIN | CLOSE, &code.to_be_bytes()).await;
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.connection.write(bytes).await;
    }

    /// The next frame; `None` if the connection ends first. May be cancelled.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, length)) = measure(self.connection.unread()) {
                let mut bytes = self.connection.take(head + length);
                let payload = bytes.split_off(head);
                return Some(Frame {
                    first: bytes[0],
                    payload,
                });
            }
            self.connection.read().await?;
        }
    }

    /// The next text message or the end. Pings are answered meanwhile, if they are to be.
    pub async fn next(&mut self) -> Received {
        within("a message", self.late_next()).await
    }

    /// The same, however long it takes.
    pub async fn late_next(&mut self) -> Received {
        let mut text = Vec::new();
        loop {
            let Some(frame) = self.frame().await else {
                return Received::End;
            };
            match frame.first & !FIN {
                TEXT | CONTINUATION => {
                    text.extend(frame.payload);
                    if frame.first & FIN != 0 {
                        let text = String::from_utf8(text).expect("text is UTF-8");
                        return Received::Text(text);
                    }
                }
                CLOSE => return Received::Close(code(&frame.payload)),
                _ => self.handle_control(frame).await,
            }
        }
    }

    /// Takes note of a ping or a pong, and answers a ping if it is to be answered.
    pub async fn handle_control(&mut self, frame: Frame) {
        match frame.first & !FIN {
            PING => {
                if self.answers_pings {
                    self.send_frame(FIN | PONG, &frame.payload).await;
                }
                self.pings.push(frame.payload);
            }
            PONG => self.pongs.push(frame.payload),
            _ => panic!("an opcode that was not negotiated: {frame:?}"),
        }
    }
}

/// The code in a Close frame.
pub fn code(payload: &[u8]) -> Option<u16> {
    let (code, _) = payload.split_first_chunk()?;
    Some(u16::from_be_bytes(*code))
}

/// The bytes of a client's frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, payload.len());
    bytes.extend(mask(payload));
    bytes
}

/// The head of a client's frame, up to the payload.
pub fn head(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(MASKED | length as u8),
        126..=0xffff => {
            bytes.push(MASKED | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(MASKED | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

/// A payload as it goes over the wire.
pub fn mask(payload: &[u8]) -> impl Iterator<Item = u8> {
    let mask = MASK.into_iter().cycle();
    payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask)
}

/// Lengths of the head and of the payload of a server's frame, if all of it is there.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = *bytes.get(1)?;
    assert_eq!(short & MASKED, 0, "a server's frame is not masked");
    let (head, length) = match short {
        126 => (
            4,
            u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(),
        ),
        127 => {
            let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            (10, usize::try_from(length).expect("it fits into memory"))
        }
        short => (2, short.into()),
    };
    (bytes.len() >= head + length).then_some((head, length))
}
