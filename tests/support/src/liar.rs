//! Somebody who may publish to the NATS of a cluster, and says what no gateway would.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::nats::Nats;

/// A client of NATS that only publishes.
pub struct Liar {
    stream: TcpStream,
}

impl Liar {
    pub fn at(nats: &Nats) -> Self {
        let stream = TcpStream::connect(nats.address()).expect("NATS takes connections");
        let mut liar = Self { stream };
        liar.write(b"CONNECT {\"verbose\":false}\r\n");
        liar.sent();
        liar
    }

    pub fn publish(&mut self, subject: &str, bytes: &[u8]) {
        let mut message = format!("PUB {subject} {}\r\n", bytes.len()).into_bytes();
        message.extend_from_slice(bytes);
        message.extend_from_slice(b"\r\n");
        self.write(&message);
    }

    /// Waits until NATS has read all of it.
    pub fn sent(&mut self) {
        self.write(b"PING\r\n");
        let mut said = Vec::new();
        while !said.ends_with(b"PONG\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("an answer");
            said.push(byte[0]);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("NATS reads");
    }
}
