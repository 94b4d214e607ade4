//! XMPP over TCP, straight to the server: a contact who is not behind the gateway.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
};

use crate::{
    client::{Command, End, Event},
    within,
    xml::{self, CLIENT, Part, STREAMS},
};

/// Keeps a stream going for a [`Client`](crate::client::Client).
pub struct Driver {
    socket: TcpStream,
    domain: String,
    stream: xml::Stream,
}

impl Driver {
    pub async fn connect(to: SocketAddr, domain: &str) -> Self {
        let socket = within("a connection", TcpStream::connect(to)).await;
        let socket = socket.unwrap_or_else(|error| panic!("{to}: {error}"));
        socket.set_nodelay(true).expect("a TCP option");
        Self {
            socket,
            domain: domain.to_owned(),
            stream: xml::Stream::new(),
        }
    }

    pub async fn run(
        mut self,
        mut commands: UnboundedReceiver<Command>,
        events: UnboundedSender<Event>,
    ) {
        if let Some(end) = self.talk(&mut commands, &events).await {
            let _ = events.send(Event::End(end));
        }
    }

    /// Runs the stream and returns how it ended, or `None` if the test has vanished.
    async fn talk(
        &mut self,
        commands: &mut UnboundedReceiver<Command>,
        events: &UnboundedSender<Event>,
    ) -> Option<End> {
        let mut buffer = Vec::new();
        let mut end = End::lost();
        self.open().await;
        loop {
            let mut unread = buffer.as_slice();
            while let Some(part) = self.stream.part(&mut unread).expect("well-formed XML") {
                match part {
                    Part::Header(header) => {
                        let _ = events.send(Event::Opened(header));
                    }
                    Part::Element(error) if error.is(STREAMS, "error") => {
                        end.error = Some(error.clone());
                        let _ = events.send(Event::Element(error));
                    }
                    Part::Element(element) => {
                        let _ = events.send(Event::Element(element));
                    }
                    Part::End => {
                        let _ = self.socket.write_all(b"</stream:stream>").await;
                        return Some(End { lost: false, ..end });
                    }
                }
            }
            buffer.clear();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Send(xml)) => self.write(&xml).await,
                    Some(Command::Restart) => self.open().await,
                    Some(Command::Close) => {
                        self.write("<presence type='unavailable'/></stream:stream>").await;
                    }
                    Some(Command::Vanish) | None => return None,
                },
                read = self.socket.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(1..)) {
                        return Some(end);
                    }
                }
            }
        }
    }

    async fn open(&mut self) {
        self.stream = xml::Stream::new();
        let to = &self.domain;
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xml:lang='en' \
             xmlns='{CLIENT}' xmlns:stream='{STREAMS}'>"
        );
        self.write(&header).await;
    }

    /// Writes; if the server has closed the stream, the next read will show it.
    async fn write(&mut self, xml: &str) {
        let _ = self.socket.write_all(xml.as_bytes()).await;
    }
}
