//! XMPP over a WebSocket by hand (RFC 7395), with stream management (XEP-0198): the test decides when anything is
//! sent, acknowledged or resumed.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::{
    bosh::bind_request,
    client::{Account, Command, End, Event},
    http::Endpoint,
    unique,
    websocket::{CLOSE, FIN, Received, TEXT, WebSocket, code},
    within,
    xml::{BIND, CLIENT, Element, FRAMING, PING, SASL, SM, STREAM_ERRORS, STREAMS},
};

/// As every client writes it that has read RFC 7395.
pub const CLOSE_ELEMENT: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";

/// An `<open/>` to this domain, with attributes changed, added, or (if the value is empty) left out.
pub fn open(domain: &str, changes: &[(&str, &str)]) -> String {
    let mut attributes = vec![
        ("xmlns", FRAMING),
        ("to", domain),
        ("version", "1.0"),
        ("xml:lang", "en"),
    ];
    for change in changes {
        let mut same = attributes.iter_mut().filter(|old| old.0 == change.0);
        match same.next() {
            Some(attribute) => *attribute = *change,
            None => attributes.push(*change),
        }
    }
    let written = attributes.iter().filter(|new| !new.1.is_empty());
    let written = written.map(|(name, value)| format!(" {name}='{value}'"));
    format!("<open{}/>", written.collect::<String>())
}

/// The client's side of stream management. It outlives its connection, to be resumed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Management {
    /// The full JID of the session.
    pub jid: String,
    /// The SM-ID; empty if the session cannot be resumed.
    pub id: String,
    /// Seconds that it can be resumed after.
    pub max: Option<u32>,
    /// Stanzas of the server since `<enabled/>`, modulo 2^32.
    pub received: u32,
    /// Our own since `<enable/>`, modulo 2^32.
    pub sent: u32,
    /// The `h` that the server has said last.
    pub acknowledged: u32,
    /// What the server has not acknowledged, the oldest first.
    pub unacknowledged: VecDeque<String>,
}

impl Management {
    /// The server has said `h`.
    fn release(&mut self, h: u32) {
        let count = h.wrapping_sub(self.acknowledged);
        let waiting = u32::try_from(self.unacknowledged.len()).expect("few");
        assert!(count <= waiting, "h={h}, but {} were sent", self.sent);
        self.unacknowledged.drain(..count as usize);
        self.acknowledged = h;
    }
}

/// One stream, from the upgrade on.
#[derive(Debug)]
pub struct WebStream {
    pub socket: WebSocket,
    pub domain: String,
    /// The full JID, once bound.
    pub jid: String,
    /// The server's last `<open/>`.
    pub opening: Element,
    /// The features offered last.
    pub features: Element,
    /// From `<enabled/>` on.
    pub management: Option<Management>,
    /// What [`expect`](Self::expect) has passed over.
    inbox: VecDeque<Element>,
}

impl Deref for WebStream {
    type Target = WebSocket;

    fn deref(&self) -> &WebSocket {
        &self.socket
    }
}

impl DerefMut for WebStream {
    fn deref_mut(&mut self) -> &mut WebSocket {
        &mut self.socket
    }
}

impl WebStream {
    /// A WebSocket on which nothing has been said.
    pub async fn connect(endpoint: &Endpoint, domain: &str) -> Self {
        Self::over(WebSocket::open(endpoint).await, domain)
    }

    pub fn over(socket: WebSocket, domain: &str) -> Self {
        Self {
            socket,
            domain: domain.to_owned(),
            jid: String::new(),
            opening: Element::default(),
            features: Element::default(),
            management: None,
            inbox: VecDeque::new(),
        }
    }

    /// Opens the stream and reads the features.
    pub async fn open(endpoint: &Endpoint, domain: &str) -> Self {
        let mut stream = Self::connect(endpoint, domain).await;
        stream.start().await;
        stream
    }

    /// Opens the stream and logs in by PLAIN; nothing is bound.
    pub async fn authenticated(endpoint: &Endpoint, account: &Account) -> Self {
        let mut stream = Self::open(endpoint, &account.domain).await;
        stream.authenticate(account).await;
        stream
    }

    /// Logs in by PLAIN and binds.
    pub async fn log_in(endpoint: &Endpoint, account: &Account, resource: &str) -> Self {
        let mut stream = Self::authenticated(endpoint, account).await;
        stream.bind(resource).await;
        stream
    }

    /// The same with stream management, resumable.
    pub async fn log_in_managed(endpoint: &Endpoint, account: &Account, resource: &str) -> Self {
        let mut stream = Self::log_in(endpoint, account, resource).await;
        let enabled = stream.enable().await;
        assert!(enabled.is(SM, "enabled"), "{enabled}");
        stream
    }

    /// Sends `<open/>` and reads the server's, and the features.
    pub async fn start(&mut self) {
        let open = open(&self.domain, &[]);
        self.socket.send(&open).await;
        self.read_opening().await;
        let features = |element: &Element| element.is(STREAMS, "features");
        self.features = self.expect("features", features).await;
    }

    /// Reads the server's `<open/>`.
    pub async fn read_opening(&mut self) {
        let open = |element: &Element| element.is(FRAMING, "open");
        self.opening = self.expect("<open/>", open).await;
    }

    /// SASL PLAIN and the restart.
    pub async fn authenticate(&mut self, account: &Account) {
        let answer = self.try_authenticate(account).await;
        assert!(answer.is(SASL, "success"), "{answer}");
        self.start().await;
    }

    /// SASL PLAIN alone; returns `<success/>` or `<failure/>`.
    pub async fn try_authenticate(&mut self, account: &Account) -> Element {
        self.socket.send(&auth_plain(account)).await;
        let sasl = |element: &Element| element.ns == SASL;
        self.expect("an answer of SASL", sasl).await
    }

    /// Binds a resource; an empty one lets the server choose.
    pub async fn bind(&mut self, resource: &str) {
        self.send_stanza(&bind_request(resource)).await;
        let is_reply = |element: &Element| element.is_reply_to("bind");
        let reply = self.expect("the bind result", is_reply).await;
        let bind = reply.child(BIND, "bind");
        let bind = bind.unwrap_or_else(|| panic!("not bound: {reply}"));
        let jid = bind.child(BIND, "jid").expect("a bind result has a jid");
        self.jid = jid.text();
    }

    /// Sends one stanza, and counts it if stream management is on.
    pub async fn send_stanza(&mut self, xml: &str) {
        if let Some(management) = &mut self.management {
            management.sent = management.sent.wrapping_add(1);
            management.unacknowledged.push_back(xml.to_owned());
        }
        self.socket.send(xml).await;
    }

    pub async fn send_message(&mut self, to: &str, body: &str) {
        self.send_stanza(&crate::xml::message(to, body)).await;
    }

    /// Available, so that the server delivers messages to the bare JID.
    pub async fn send_presence(&mut self) {
        let presence = format!("<presence xmlns='{CLIENT}'/>");
        self.send_stanza(&presence).await;
        let jid = self.jid.clone();
        let own = |element: &Element| element.is_presence(&jid, "");
        self.expect("the own presence", own).await;
    }

    /// The next element, whatever it is; stanzas are counted and nothing is answered. `None` at a Close frame or the
    /// end of the connection.
    pub async fn receive(&mut self) -> Option<Element> {
        within("a message", self.late_receive()).await
    }

    /// The same, however long it takes.
    pub async fn late_receive(&mut self) -> Option<Element> {
        match self.socket.late_next().await {
            Received::Text(text) => Some(self.take(&text)),
            Received::Close(_) | Received::End => None,
        }
    }

    fn take(&mut self, text: &str) -> Element {
        let element = Element::parse(text);
        if let Some(management) = &mut self.management {
            if is_stanza(&element) {
                management.received = management.received.wrapping_add(1);
            } else if element.is(SM, "a") {
                management.release(h(&element));
            }
        }
        element
    }

    /// The next element that is not about acknowledgement; each `<r/>` is answered.
    pub async fn next(&mut self) -> Element {
        if let Some(element) = self.inbox.pop_front() {
            return element;
        }
        self.fresh("anything").await
    }

    async fn fresh(&mut self, what: &str) -> Element {
        loop {
            let element = self.receive().await;
            let element = element.unwrap_or_else(|| self.fail(what));
            if element.is(SM, "r") {
                self.acknowledge().await;
            } else if !element.is(SM, "a") {
                return element;
            }
        }
    }

    /// Takes the first matching element out of what comes and came; the others stay.
    pub async fn expect(&mut self, what: &str, fits: impl Fn(&Element) -> bool) -> Element {
        if let Some(index) = self.inbox.iter().position(&fits) {
            return self.inbox.remove(index).expect("it is there");
        }
        let coming = async {
            loop {
                let element = self.fresh(what).await;
                if fits(&element) {
                    return element;
                }
                self.inbox.push_back(element);
            }
        };
        within(what, coming).await
    }

    pub async fn expect_message(&mut self, body: &str) -> Element {
        let what = format!("message {body:?}");
        self.expect(&what, |element| element.is_message(body)).await
    }

    /// Takes out everything that was on its way to the client: all that comes before the reply to a ping.
    pub async fn fence(&mut self) -> Vec<Element> {
        let id = format!("fence-{}", unique());
        let to = &self.domain;
        let ping = format!(
            "<iq xmlns='{CLIENT}' type='get' id='{id}' to='{to}'><ping xmlns='{PING}'/></iq>"
        );
        self.send_stanza(&ping).await;
        let mut seen = Vec::new();
        loop {
            let element = self.next().await;
            if element.is_reply_to(&id) {
                return seen;
            }
            seen.push(element);
        }
    }

    fn fail(&self, what: &str) -> ! {
        let inbox: Vec<_> = self.inbox.iter().map(Element::to_string).collect();
        let (jid, inbox) = (&self.jid, inbox.join("\n  "));
        panic!("{jid} waited in vain for {what}\ninbox:\n  {inbox}")
    }

    // Stream management

    /// Asks for stream management with resumption; returns `<enabled/>` or `<failed/>`.
    pub async fn enable(&mut self) -> Element {
        self.enable_with("resume='true'").await
    }

    /// The same with other attributes.
    pub async fn enable_with(&mut self, attributes: &str) -> Element {
        self.socket
            .send(&format!("<enable xmlns='{SM}' {attributes}/>"))
            .await;
        let answer = self.expect("<enabled/>", is_answer).await;
        if answer.is(SM, "enabled") && self.management.is_none() {
            self.management = Some(Management {
                jid: self.jid.clone(),
                id: answer.attr("id").unwrap_or_default().to_owned(),
                max: answer.attr("max").map(|max| max.parse().expect("seconds")),
                ..Management::default()
            });
        }
        answer
    }

    pub fn managed(&mut self) -> &mut Management {
        self.management.as_mut().expect("stream management is on")
    }

    /// Sends `<r/>` and returns the `h` of the next `<a/>`. What comes before it stays.
    pub async fn ask(&mut self) -> u32 {
        self.socket.send(&format!("<r xmlns='{SM}'/>")).await;
        self.next_h().await
    }

    /// The `h` of the next `<a/>`.
    pub async fn next_h(&mut self) -> u32 {
        let coming = async {
            loop {
                let element = self.receive().await;
                let element = element.unwrap_or_else(|| self.fail("<a/>"));
                if element.is(SM, "a") {
                    return h(&element);
                }
                if element.is(SM, "r") {
                    self.acknowledge().await;
                } else {
                    self.inbox.push_back(element);
                }
            }
        };
        within("<a/>", coming).await
    }

    /// Waits until the server has acknowledged all that was sent.
    pub async fn expect_acknowledged(&mut self) {
        let waiting = |stream: &Self| {
            let management = stream.management.as_ref();
            let management = management.expect("stream management is on");
            !management.unacknowledged.is_empty()
        };
        if waiting(self) {
            self.ask().await;
        }
        while waiting(self) {
            self.next_h().await;
        }
    }

    /// Tells the server what has been received.
    pub async fn acknowledge(&mut self) {
        let h = self.managed().received;
        self.socket
            .send(&format!("<a xmlns='{SM}' h='{h}'/>"))
            .await;
    }

    /// Drops the connection as a network does that fails; what can be resumed is left.
    pub fn vanish(self) -> Management {
        self.management.expect("stream management is on")
    }

    /// Logs in once more and resumes.
    pub async fn resumed(endpoint: &Endpoint, account: &Account, session: Management) -> Self {
        let mut stream = Self::authenticated(endpoint, account).await;
        let answer = stream.resume(session).await;
        assert!(answer.is(SM, "resumed"), "{answer}");
        stream
    }

    /// Asks to resume a session; if the answer is `<resumed/>`, sends again what the server has not.
    pub async fn resume(&mut self, session: Management) -> Element {
        let answer = self.try_resume(&session).await;
        if answer.is(SM, "resumed") {
            assert_eq!(answer.attr("previd"), Some(&*session.id), "{answer}");
            self.adopt(session, h(&answer)).await;
        }
        answer
    }

    /// Asks to resume a session; returns `<resumed/>` or `<failed/>`.
    pub async fn try_resume(&mut self, session: &Management) -> Element {
        let (id, h) = (&session.id, session.received);
        let resume = format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>");
        self.socket.send(&resume).await;
        self.expect("<resumed/>", is_answer).await
    }

    /// Goes on with a session whose server has said `h`.
    pub async fn adopt(&mut self, mut session: Management, h: u32) {
        session.release(h);
        self.jid.clone_from(&session.jid);
        let again = session.unacknowledged.clone();
        self.management = Some(session);
        for stanza in again {
            self.socket.send(&stanza).await;
        }
    }

    // Ends

    /// Logs out in good order: closes the stream, and then the connection.
    pub async fn log_out(mut self) {
        self.socket.send(CLOSE_ELEMENT).await;
        let close = |element: &Element| element.is(FRAMING, "close");
        self.expect("<close/>", close).await;
        self.socket.close(1000).await;
        assert_eq!(self.end().await.steps, ["1000"]);
    }

    /// Reads to the end of the connection, answering `<close/>` and the Close frame as a client does.
    pub async fn end(mut self) -> Ended {
        within("the end of the stream", self.read_to_the_end()).await
    }

    async fn read_to_the_end(&mut self) -> Ended {
        let mut ended = Ended::default();
        loop {
            match self.socket.late_next().await {
                Received::Text(text) => {
                    let element = self.take(&text);
                    if element.is(FRAMING, "close") {
                        ended.close = text;
                        ended.steps.push("<close/>".to_owned());
                        self.socket.send(CLOSE_ELEMENT).await;
                    } else if element.is(STREAMS, "error") {
                        ended.steps.push(condition(&element));
                        ended.error = Some(element);
                    } else {
                        ended.steps.push(format!("<{}/>", element.name));
                    }
                }
                Received::Close(code) => {
                    let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                    ended.steps.push(code);
                    self.socket.close(1000).await;
                }
                Received::End => return ended,
            }
        }
    }
}

/// How a stream ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// All that came, in order: a stream error by its condition, another element as `<name/>`, a Close frame by its code.
    pub steps: Vec<String>,
    pub error: Option<Element>,
    /// The text of `<close/>`.
    pub close: String,
}

/// The defined condition of a stream error.
fn condition(error: &Element) -> String {
    let mut children = error.children();
    let condition = children.find(|child| child.ns == STREAM_ERRORS && child.name != "text");
    let condition = condition.unwrap_or_else(|| panic!("no condition in {error}"));
    condition.name.clone()
}

/// `h` of an element that must have it.
pub fn h(element: &Element) -> u32 {
    let h = element.attr("h").and_then(|h| h.parse().ok());
    h.unwrap_or_else(|| panic!("no h in {element}"))
}

pub fn auth_plain(account: &Account) -> String {
    let plain = BASE64.encode(format!("\0{}\0{}", account.local, account.password));
    format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>")
}

/// Whether it is counted.
pub fn is_stanza(element: &Element) -> bool {
    element.ns == CLIENT && matches!(&*element.name, "message" | "presence" | "iq")
}

/// Whether it answers `<enable/>` or `<resume/>`.
fn is_answer(element: &Element) -> bool {
    element.ns == SM && matches!(&*element.name, "enabled" | "resumed" | "failed")
}

/// Keeps a stream going for a [`Client`](crate::client::Client), without stream management.
pub struct Driver {
    socket: WebSocket,
    domain: String,
}

impl Driver {
    pub async fn connect(endpoint: &Endpoint, domain: &str) -> Self {
        let socket = WebSocket::open(endpoint).await;
        let domain = domain.to_owned();
        Self { socket, domain }
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
        let mut end = End::lost();
        self.socket.send(&open(&self.domain, &[])).await;
        loop {
            let frame = tokio::select! {
                command = commands.recv() => {
                    match command {
                        Some(Command::Send(xml)) => self.send_each(&xml).await,
                        Some(Command::Restart) => {
                            self.socket.send(&open(&self.domain, &[])).await;
                        }
                        Some(Command::Close) => {
                            let away = format!("<presence xmlns='{CLIENT}' type='unavailable'/>");
                            self.socket.send(&away).await;
                            self.socket.send(CLOSE_ELEMENT).await;
                        }
                        Some(Command::Vanish) | None => return None,
                    }
                    continue;
                }
                frame = self.socket.frame() => frame,
            };
            let Some(frame) = frame else {
                return Some(end);
            };
            match frame.first {
                first if first == FIN | TEXT => {
                    let element = Element::parse(&frame.payload);
                    if element.is(FRAMING, "close") {
                        end.lost = false;
                        self.socket.send(CLOSE_ELEMENT).await;
                    } else if element.is(FRAMING, "open") {
                        let _ = events.send(Event::Opened(element));
                    } else {
                        if element.is(STREAMS, "error") {
                            end.error = Some(element.clone());
                        }
                        let _ = events.send(Event::Element(element));
                    }
                }
                first if first == FIN | CLOSE => {
                    self.socket
                        .close(code(&frame.payload).unwrap_or(1000))
                        .await;
                }
                _ => self.socket.handle_control(frame).await,
            }
        }
    }

    /// Sends text of any number of elements, each in a message of its own.
    async fn send_each(&mut self, xml: &str) {
        // Text that is not well-formed goes as it is.
        let wrapped = format!("<wrapper xmlns='{CLIENT}'>{xml}</wrapper>");
        let Ok(wrapper) = Element::try_parse(wrapped.as_bytes()) else {
            return self.socket.send(xml).await;
        };
        let mut children = wrapper.children();
        if let (Some(_), None) = (children.next(), children.next()) {
            return self.socket.send(xml).await;
        }
        for child in wrapper.children() {
            self.socket.send(&child.to_string()).await;
        }
    }
}
