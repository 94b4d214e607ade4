//! Client that keeps to the rules, over BOSH, TCP or a WebSocket, with an inbox to look into.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout_at},
};

use crate::{
    DEADLINE,
    bosh::{self, Bosh, bind_request},
    c2s,
    http::Endpoint,
    sasl::{Mechanism, Sasl},
    unique, webstream,
    xml::{
        BIND, CLIENT, Element, PING, ROSTER, SASL, SESSION, STREAM_ERRORS, STREAMS, escape, message,
    },
};

/// A user whom the server knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    pub local: String,
    pub domain: String,
    pub password: String,
}

impl Account {
    /// The bare JID.
    pub fn jid(&self) -> String {
        format!("{}@{}", self.local, self.domain)
    }
}

/// How a client reaches the server.
#[derive(Clone, Debug)]
pub enum Transport {
    Bosh(Endpoint),
    Tcp(SocketAddr),
    WebSocket(Endpoint),
}

/// What a client tells its driver to do.
#[derive(Debug)]
pub enum Command {
    Send(String),
    Restart,
    /// End the session in good order.
    Close,
    /// Cut every connection.
    Vanish,
}

/// What a driver tells its client.
#[derive(Debug)]
pub enum Event {
    Opened(Element),
    Element(Element),
    End(End),
}

/// How a session ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct End {
    /// The terminal binding condition.
    pub condition: Option<String>,
    /// The `<stream:error/>`.
    pub error: Option<Element>,
    /// An HTTP status other than 200.
    pub status: Option<u16>,
    /// The connection ended without a word.
    pub lost: bool,
}

impl End {
    pub fn lost() -> Self {
        Self {
            lost: true,
            ..Self::default()
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// The end that a terminating `<body/>` tells of.
    pub fn of(body: &Element) -> Self {
        Self {
            condition: body.attr("condition").map(str::to_owned),
            error: body.child(STREAMS, "error").cloned(),
            ..Self::default()
        }
    }

    /// The stream error's defined condition, such as `conflict`.
    pub fn stream_error(&self) -> Option<&str> {
        let mut children = self.error.as_ref()?.children();
        let condition = children.find(|child| child.ns == STREAM_ERRORS && child.name != "text");
        condition.map(|condition| condition.name.as_str())
    }

    /// The stream error's condition, or else that of the `<body/>`.
    pub fn reason(&self) -> Option<&str> {
        self.stream_error().or(self.condition.as_deref())
    }
}

/// A session and all that came from it, in order.
#[derive(Debug)]
pub struct Client {
    /// The full JID, once bound.
    pub jid: String,
    /// The features offered last.
    pub features: Element,
    /// The server's stream header, or the answer to the creation request.
    pub opening: Element,
    commands: UnboundedSender<Command>,
    events: UnboundedReceiver<Event>,
    inbox: VecDeque<Element>,
    end: Option<End>,
}

impl Client {
    /// Logs in by PLAIN. An empty resource lets the server choose.
    pub async fn login(to: &Transport, account: &Account, resource: &str) -> Self {
        Self::login_by(Mechanism::Plain, to, account, resource).await
    }

    pub async fn login_by(
        mechanism: Mechanism,
        to: &Transport,
        account: &Account,
        resource: &str,
    ) -> Self {
        let mut client = Self::connect(to, &account.domain).await;
        client.authenticate(mechanism, account).await;
        client.bind(resource).await;
        client
    }

    /// Opens a session and reads the first features.
    pub async fn connect(to: &Transport, domain: &str) -> Self {
        let (commands, driver_commands) = unbounded_channel();
        let (driver_events, events) = unbounded_channel();
        match to {
            Transport::Bosh(endpoint) => {
                let driver = bosh::Driver::new(Bosh::open(endpoint, domain).await);
                tokio::spawn(driver.run(driver_commands, driver_events));
            }
            Transport::Tcp(address) => {
                let driver = c2s::Driver::connect(*address, domain).await;
                tokio::spawn(driver.run(driver_commands, driver_events));
            }
            Transport::WebSocket(endpoint) => {
                let driver = webstream::Driver::connect(endpoint, domain).await;
                tokio::spawn(driver.run(driver_commands, driver_events));
            }
        }
        let mut client = Self {
            jid: String::new(),
            features: Element::default(),
            opening: Element::default(),
            commands,
            events,
            inbox: VecDeque::new(),
            end: None,
        };
        client.await_features().await;
        client
    }

    async fn await_features(&mut self) {
        let features = self
            .expect("features", |element| element.is(STREAMS, "features"))
            .await;
        self.features = features;
    }

    /// SASL, then the restart.
    pub async fn authenticate(&mut self, mechanism: Mechanism, account: &Account) {
        let success = self.try_authenticate(mechanism, account).await;
        success.unwrap_or_else(|failure| panic!("{} may not log in: {failure}", account.jid()));
        self.restart();
        self.await_features().await;
    }

    /// SASL alone; returns the `<failure/>` if it fails.
    pub async fn try_authenticate(
        &mut self,
        mechanism: Mechanism,
        account: &Account,
    ) -> Result<(), Element> {
        let mut sasl = Sasl::new(mechanism, &account.local, &account.password);
        let (name, initial) = (mechanism.name(), sasl.initial());
        self.send(&format!(
            "<auth xmlns='{SASL}' mechanism='{name}'>{initial}</auth>"
        ));
        loop {
            let answer = self
                .expect("an answer of SASL", |element| element.ns == SASL)
                .await;
            match answer.name.as_str() {
                "challenge" => {
                    let response = sasl.respond(&answer.text());
                    self.send(&format!("<response xmlns='{SASL}'>{response}</response>"));
                }
                "success" => {
                    sasl.check(&answer.text());
                    return Ok(());
                }
                _ => return Err(answer),
            }
        }
    }

    pub fn restart(&mut self) {
        self.command(Command::Restart);
    }

    /// Binds a resource, and opens a session as RFC 3921 has it if that is offered.
    pub async fn bind(&mut self, resource: &str) {
        self.send(&bind_request(resource));
        let reply = self
            .expect("the bind result", |element| element.is_reply_to("bind"))
            .await;
        let bind = reply
            .child(BIND, "bind")
            .unwrap_or_else(|| panic!("not bound: {reply}"));
        self.jid = bind
            .child(BIND, "jid")
            .expect("a bind result has a jid")
            .text();
        if self.features.child(SESSION, "session").is_some() {
            let reply = self
                .iq("set", "", &format!("<session xmlns='{SESSION}'/>"))
                .await;
            assert_eq!(reply.attr("type"), Some("result"), "{reply}");
        }
    }

    fn command(&self, command: Command) {
        // If the driver has ended, the events say so.
        let _ = self.commands.send(command);
    }

    /// Sends any text, of any number of elements, as it is.
    pub fn send(&self, xml: &str) {
        self.command(Command::Send(xml.to_owned()));
    }

    pub fn send_message(&self, to: &str, body: &str) {
        self.send(&message(to, body));
    }

    /// Available, with these children (`<show>away</show>`).
    pub fn send_presence(&self, children: &str) {
        self.send(&format!("<presence xmlns='{CLIENT}'>{children}</presence>"));
    }

    /// Sends an iq with a new id and returns its reply. An empty `to` is left out.
    pub async fn iq(&mut self, kind: &str, to: &str, payload: &str) -> Element {
        let id = self.send_iq(kind, to, payload);
        self.expect(&format!("the reply to {payload}"), |stanza| {
            stanza.is_reply_to(&id)
        })
        .await
    }

    /// Sends an iq without waiting for its reply; returns its id.
    pub fn send_iq(&self, kind: &str, to: &str, payload: &str) -> String {
        let id = format!("it-{}", unique());
        let to = if to.is_empty() {
            String::new()
        } else {
            format!(" to='{}'", escape(to))
        };
        self.send(&format!(
            "<iq xmlns='{CLIENT}' type='{kind}' id='{id}'{to}>{payload}</iq>"
        ));
        id
    }

    /// Takes the first matching element out of the inbox, waiting for it; the others stay.
    pub async fn expect(&mut self, what: &str, fits: impl Fn(&Element) -> bool) -> Element {
        self.expect_within(DEADLINE, what, fits).await
    }

    /// The same with a longer limit.
    pub async fn expect_within(
        &mut self,
        limit: Duration,
        what: &str,
        fits: impl Fn(&Element) -> bool,
    ) -> Element {
        let deadline = Instant::now() + limit;
        let mut looked_at = 0;
        loop {
            if let Some(index) = self.inbox.iter().skip(looked_at).position(&fits) {
                return self.inbox.remove(looked_at + index).expect("it is there");
            }
            looked_at = self.inbox.len();
            if !self.more(deadline).await {
                self.fail(what);
            }
        }
    }

    pub async fn expect_message(&mut self, body: &str) -> Element {
        self.expect(&format!("message {body:?}"), |stanza| {
            stanza.is_message(body)
        })
        .await
    }

    /// A presence from exactly this JID; `kind` is its type, empty for available.
    pub async fn expect_presence(&mut self, from: &str, kind: &str) -> Element {
        let what = format!("presence {kind:?} of {from}");
        self.expect(&what, |stanza| stanza.is_presence(from, kind))
            .await
    }

    /// The next element of any kind.
    pub async fn next(&mut self) -> Element {
        self.expect("anything", |_| true).await
    }

    /// Waits for the marker and takes out everything before it; the marker is left out. What the test does not find in
    /// the result did not come before the marker.
    pub async fn until(&mut self, what: &str, marks: impl Fn(&Element) -> bool) -> Vec<Element> {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            while let Some(element) = self.inbox.pop_front() {
                if marks(&element) {
                    return seen;
                }
                seen.push(element);
            }
            if !self.more(deadline).await {
                self.inbox.extend(seen);
                self.fail(what);
            }
        }
    }

    /// Takes out everything that was on its way to the client: all that comes before the reply to a ping.
    pub async fn fence(&mut self) -> Vec<Element> {
        let domain = self
            .jid
            .split(['@', '/'])
            .nth(1)
            .expect("a bound JID")
            .to_owned();
        let id = self.send_iq("get", &domain, &format!("<ping xmlns='{PING}'/>"));
        self.until("the reply to a ping", |stanza| stanza.is_reply_to(&id))
            .await
    }

    /// Asserts that no matching element has come before a [`fence`](Self::fence); the others stay.
    pub async fn expect_none(&mut self, what: &str, fits: impl Fn(&Element) -> bool) {
        let seen = self.fence().await;
        let unwanted = seen.iter().find(|element| fits(element));
        assert_eq!(unwanted.map(Element::to_string), None, "no {what} comes");
        self.inbox.extend(seen);
    }

    /// Waits for the session to end; returns how.
    pub async fn expect_end(&mut self) -> End {
        self.expect_end_within(DEADLINE).await
    }

    pub async fn expect_end_within(&mut self, limit: Duration) -> End {
        let deadline = Instant::now() + limit;
        while self.more(deadline).await {}
        match self.end.clone() {
            Some(end) => end,
            None => self.fail("the end of the session"),
        }
    }

    /// Waits for one more event; false if there can be none or the deadline has passed.
    async fn more(&mut self, deadline: Instant) -> bool {
        match timeout_at(deadline, self.events.recv()).await {
            Ok(Some(Event::Element(element))) => {
                self.answer_push(&element);
                self.inbox.push_back(element);
                true
            }
            Ok(Some(Event::Opened(opening))) => {
                self.opening = opening;
                true
            }
            Ok(Some(Event::End(end))) => {
                self.end = Some(end);
                false
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn fail(&self, what: &str) -> ! {
        let inbox: Vec<_> = self.inbox.iter().map(Element::to_string).collect();
        let (jid, end, inbox) = (&self.jid, &self.end, inbox.join("\n  "));
        panic!("{jid} waited in vain for {what}\nend: {end:?}\ninbox:\n  {inbox}")
    }

    // Rosters

    /// Gets the roster.
    pub async fn roster(&mut self) -> BTreeMap<String, Item> {
        let reply = self
            .iq("get", "", &format!("<query xmlns='{ROSTER}'/>"))
            .await;
        let query = reply
            .child(ROSTER, "query")
            .unwrap_or_else(|| panic!("no roster: {reply}"));
        let items = query.children().map(Item::of);
        let roster: BTreeMap<_, _> = items.map(|item| (item.jid.clone(), item)).collect();
        assert_eq!(
            roster.len(),
            query.children().count(),
            "every contact once: {reply}"
        );
        roster
    }

    /// Asks for the roster if there is none to be had, which takes the gateway a while to find out; returns the answer.
    pub async fn refused_roster(&mut self) -> Element {
        let get = self.send_iq("get", "", &format!("<query xmlns='{ROSTER}'/>"));
        self.expect_within(3 * DEADLINE, "an answer to the roster get", |stanza| {
            stanza.is_reply_to(&get)
        })
        .await
    }

    /// The next roster push.
    pub async fn expect_push(&mut self) -> Item {
        let push = self.expect("a roster push", is_push).await;
        let query = push.child(ROSTER, "query").expect("a push has a query");
        assert_eq!(query.children().count(), 1, "one item in a push: {push}");
        assert_eq!(
            push.attr("from"),
            None,
            "the server's own push bears no from: {push}"
        );
        Item::of(query.children().next().expect("one item"))
    }

    /// Clients confirm pushes.
    fn answer_push(&self, element: &Element) {
        if is_push(element) {
            let id = element
                .attr("id")
                .unwrap_or_else(|| panic!("a push has an id: {element}"));
            self.send(&format!(
                "<iq xmlns='{CLIENT}' type='result' id='{}'/>",
                escape(id)
            ));
        }
    }

    // Ends

    /// Logs out in good order.
    pub async fn logout(mut self) -> End {
        self.command(Command::Close);
        self.expect_end().await
    }

    /// Cuts every connection, as a browser does that crashes.
    pub fn vanish(self) {
        self.command(Command::Vanish);
    }
}

pub fn is_push(element: &Element) -> bool {
    element.is(CLIENT, "iq")
        && element.attr("type") == Some("set")
        && element.child(ROSTER, "query").is_some()
}

/// A contact as a roster shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Item {
    pub jid: String,
    pub name: Option<String>,
    pub subscription: Option<String>,
    pub ask: Option<String>,
    pub groups: Vec<String>,
}

impl Item {
    pub fn of(item: &Element) -> Self {
        assert!(item.is(ROSTER, "item"), "{item}");
        let attr = |name| item.attr(name).map(str::to_owned);
        let mut groups: Vec<_> = item.children().map(Element::text).collect();
        groups.sort();
        Self {
            jid: attr("jid").expect("an item has a jid"),
            name: attr("name"),
            subscription: attr("subscription"),
            ask: attr("ask"),
            groups,
        }
    }
}
