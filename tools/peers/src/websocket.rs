//! WebSocket (RFC 6455) as a load generator needs it: text in both directions, pings answered, nothing
//! checked that does not matter.

use anyhow::{Result, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    DOMAIN,
    http::Endpoint,
    stream::{Stream, connect, encrypt},
};

/// What frames are for (section 5.2).
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The bit of a message's last frame.
const FIN: u8 = 0x80;

/// Masking keys are to be unpredictable, for the sake of proxies that we do not have.
const MASK: [u8; 4] = [0x5e, 0xa7, 0x1c, 0x83];

/// Room that there is at least for what comes next.
const ROOM: usize = 2048;

/// A connection after the upgrade.
#[derive(Debug)]
pub(crate) struct WebSocket {
    stream: Box<dyn Stream>,
    /// What has been received.
    buffer: Vec<u8>,
    /// The beginning of a message in several frames.
    fragments: Vec<u8>,
    /// What is sent, kept to be used again.
    frame: Vec<u8>,
}

impl WebSocket {
    /// Connects, and upgrades for this subprotocol.
    pub(crate) async fn open(endpoint: &Endpoint, subprotocol: &str) -> Result<Self> {
        let stream = connect(endpoint.address).await?;
        let mut stream: Box<dyn Stream> = if endpoint.is_encrypted {
            Box::new(encrypt(stream, b"http/1.1").await?)
        } else {
            Box::new(stream)
        };
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {DOMAIN}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n",
            endpoint.path
        );
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::with_capacity(ROOM);
        let end = loop {
            if let Some(end) = memmem::find(&buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                bail!("the connection was closed before the upgrade");
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]);
        if head.split(' ').nth(1) != Some("101") {
            bail!("no upgrade: {head}");
        }
        buffer.drain(..end);
        Ok(Self {
            stream,
            buffer,
            fragments: Vec::new(),
            frame: Vec::new(),
        })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, text: &str) -> Result<()> {
        self.send_frame(TEXT, text.as_bytes()).await
    }

    async fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.frame.clear();
        write_frame(opcode, payload, &mut self.frame);
        Ok(self.stream.write_all(&self.frame).await?)
    }

    /// The next message; nothing when there will be none. May be given up and called again.
    pub(crate) async fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            while let Some(frame) = Frame::parse(&self.buffer) {
                let payload = self.buffer[frame.header..frame.length].to_vec();
                self.buffer.drain(..frame.length);
                match frame.opcode {
                    TEXT if frame.is_last => return Ok(Some(payload)),
                    TEXT | CONTINUATION => {
                        self.fragments.extend_from_slice(&payload);
                        if frame.is_last {
                            return Ok(Some(std::mem::take(&mut self.fragments)));
                        }
                    }
                    PING => self.send_frame(PONG, &payload).await?,
                    PONG => {}
                    CLOSE => return Ok(None),
                    opcode => bail!("a frame with opcode {opcode}"),
                }
            }
            self.buffer.reserve(ROOM);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Hangs up, as far as the server can tell.
    pub(crate) async fn abandon(&mut self) {
        // Where the server was first, it is all the same.
        let _ = self.stream.shutdown().await;
    }

    /// Ends it with a Close frame, and waits for the server's, or for the end.
    pub(crate) async fn close(mut self) -> Result<()> {
        // Normal closure, 1000.
        self.send_frame(CLOSE, &1000_u16.to_be_bytes()).await?;
        // Prosody resets it.
        while matches!(self.receive().await, Ok(Some(_))) {}
        Ok(())
    }
}

/// The head of a frame that has been received whole.
#[derive(Debug, Eq, PartialEq)]
struct Frame {
    opcode: u8,
    is_last: bool,
    /// Bytes before the payload.
    header: usize,
    /// Bytes in all.
    length: usize,
}

impl Frame {
    /// Nothing while it is not all there. Servers do not mask.
    fn parse(buffer: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = buffer else {
            return None;
        };
        let (size, header) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
            127 => (
                usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?,
                10,
            ),
            size => (usize::from(size), 2),
        };
        let length = header + size;
        (buffer.len() >= length).then_some(Self {
            opcode: first & 0xf,
            is_last: first & FIN != 0,
            header,
            length,
        })
    }
}

/// Appends a frame that is all of a message, masked as a client's.
fn write_frame(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    let size = payload.len();
    match (u8::try_from(size), u16::try_from(size)) {
        (Ok(size), _) if size < 126 => out.push(0x80 | size),
        (_, Ok(size)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&size.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(size: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        write_frame(TEXT, &vec![b'x'; size], &mut frame);
        frame
    }

    #[test]
    fn a_frame_is_written_with_the_shortest_length_and_masked() {
        assert_eq!(frame(1), [0x81, 0x81, 0x5e, 0xa7, 0x1c, 0x83, b'x' ^ 0x5e]);
        for (size, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = frame(size);
            assert_eq!(frame.len(), header + MASK.len() + size, "{size}");
            let unmasked = |(at, byte): (usize, &u8)| byte ^ MASK[at % 4] == b'x';
            let payload = &frame[header + MASK.len()..];
            assert!(payload.iter().enumerate().all(unmasked), "{size}");
        }
    }

    #[test]
    fn a_frame_is_read_when_all_of_it_is_there() {
        for (size, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let masked = frame(size);
            let mut frame = masked[..header].to_vec();
            frame[1] &= 0x7f;
            frame.extend(std::iter::repeat_n(b'x', size));
            assert_eq!(Frame::parse(&frame[..frame.len() - 1]), None, "{size}");
            let length = frame.len();
            frame.push(0x8a);
            let whole = Frame {
                opcode: TEXT,
                is_last: true,
                header,
                length,
            };
            assert_eq!(Frame::parse(&frame), Some(whole), "{size}");
        }
    }
}
