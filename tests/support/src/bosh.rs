//! BOSH by hand: the test chooses every rid, attribute and connection.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    task::JoinSet,
};

use crate::{
    client::{Account, Command, End, Event},
    http::{Connection, Endpoint, Response},
    site::foreign,
    within,
    xml::{BIND, CLIENT, Element, HTTPBIND, SASL, STREAMS, XBOSH, escape},
};

/// One session. The test decides which requests are sent, in which order, and over which connection.
#[derive(Clone, Debug)]
pub struct Bosh {
    pub endpoint: Endpoint,
    pub domain: String,
    pub sid: String,
    /// The rid of the last request sent in order.
    pub rid: u64,
    /// The answer to the creation request.
    pub creation: Element,
}

impl Bosh {
    /// A session as Strophe opens it.
    pub async fn open(endpoint: &Endpoint, domain: &str) -> Self {
        Self::open_with(endpoint, domain, &[]).await
    }

    /// The same with other attributes; an attribute with an empty value is left out.
    pub async fn open_with(endpoint: &Endpoint, domain: &str, changes: &[(&str, &str)]) -> Self {
        let response = endpoint.post(&creation(domain, changes)).await;
        let creation = response.xml();
        let sid = creation
            .attr("sid")
            .unwrap_or_else(|| panic!("no sid in {creation}"));
        let (sid, rid) = (sid.to_owned(), FIRST_RID);
        Self {
            endpoint: endpoint.clone(),
            domain: domain.to_owned(),
            sid,
            rid,
            creation,
        }
    }

    /// Opens a session and logs in by PLAIN, one request at a time; none is open afterwards.
    pub async fn log_in(endpoint: &Endpoint, account: &Account, resource: &str) -> Self {
        Self::log_in_with(endpoint, account, resource, &[]).await
    }

    pub async fn log_in_with(
        endpoint: &Endpoint,
        account: &Account,
        resource: &str,
        changes: &[(&str, &str)],
    ) -> Self {
        let mut bosh = Self::open_with(endpoint, &account.domain, changes).await;
        bosh.authenticate(account).await;
        bosh.bind(resource).await;
        bosh
    }

    /// SASL PLAIN and the restart; returns the features that follow.
    pub async fn authenticate(&mut self, account: &Account) -> Element {
        let plain = BASE64.encode(format!("\0{}\0{}", account.local, account.password));
        let auth = format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{plain}</auth>");
        self.exchange_until(&auth, |child| child.is(SASL, "success"))
            .await;
        let answer = self.send(&self.restart_attributes(), "").await.body().await;
        if let Some(features) = answer.child(STREAMS, "features") {
            return features.clone();
        }
        self.exchange_until("", |child| child.is(STREAMS, "features"))
            .await
    }

    pub fn restart_attributes(&self) -> String {
        format!(
            "to='{}' xmlns:xmpp='{XBOSH}' xmpp:restart='true'",
            self.domain
        )
    }

    /// Binds a resource and returns the full JID.
    pub async fn bind(&mut self, resource: &str) -> String {
        let request = bind_request(resource);
        let reply = self
            .exchange_until(&request, |child| child.is_reply_to("bind"))
            .await;
        let bind = reply
            .child(BIND, "bind")
            .unwrap_or_else(|| panic!("not bound: {reply}"));
        bind.child(BIND, "jid")
            .expect("a bind result has a jid")
            .text()
    }

    /// The text of a request.
    pub fn request(&self, rid: u64, attributes: &str, payload: &str) -> String {
        let sid = &self.sid;
        let space = if attributes.is_empty() { "" } else { " " };
        format!(
            "<body xmlns='{HTTPBIND}' rid='{rid}' sid='{sid}'{space}{attributes}>{payload}</body>"
        )
    }

    /// Sends the next request, on a connection of its own.
    pub async fn send(&mut self, attributes: &str, payload: &str) -> Pending {
        self.rid += 1;
        self.send_as(self.rid, attributes, payload).await
    }

    /// Sends a request with any rid, without remembering it.
    pub async fn send_as(&self, rid: u64, attributes: &str, payload: &str) -> Pending {
        Pending::send(&self.endpoint, rid, self.request(rid, attributes, payload)).await
    }

    /// Sends the next request and returns its answer.
    pub async fn exchange(&mut self, payload: &str) -> Element {
        self.send("", payload).await.body().await
    }

    /// Ends the session, and waits for the answer.
    pub async fn terminate(mut self) {
        self.send("type='terminate'", "").await.body().await;
    }

    /// Asks for a session pause.
    pub async fn exchange_pause(&mut self, seconds: u32) -> Element {
        self.send(&format!("pause='{seconds}'"), "")
            .await
            .body()
            .await
    }

    /// Sends the next request and then empty ones, until an answer has a matching child.
    pub async fn exchange_until(
        &mut self,
        payload: &str,
        wanted: impl Fn(&Element) -> bool,
    ) -> Element {
        let mut answer = self.exchange(payload).await;
        loop {
            if let Some(child) = answer.children().find(|child| wanted(child)) {
                return child.clone();
            }
            assert_eq!(answer.attr("type"), None, "the session goes on: {answer}");
            answer = self.exchange("").await;
        }
    }
}

/// Time between two requests to a service other than ours.
const SPACING: Duration = Duration::from_millis(20);

/// The rid of every creation request.
pub const FIRST_RID: u64 = 1_573_741_820;

/// A creation request, with attributes changed, added, or (if the value is empty) left out.
pub fn creation(domain: &str, changes: &[(&str, &str)]) -> String {
    let rid = FIRST_RID.to_string();
    let mut attributes = vec![
        ("content", "text/xml; charset=utf-8"),
        ("hold", "1"),
        ("rid", &rid),
        ("to", domain),
        ("ver", "1.6"),
        ("wait", "60"),
        ("xml:lang", "en"),
        ("xmlns", HTTPBIND),
        ("xmlns:xmpp", XBOSH),
        ("xmpp:version", "1.0"),
    ];
    for change in changes {
        match attributes
            .iter_mut()
            .find(|attribute| attribute.0 == change.0)
        {
            Some(attribute) => *attribute = *change,
            None => attributes.push(*change),
        }
    }
    let written = attributes
        .iter()
        .filter(|attribute| !attribute.1.is_empty());
    let written = written.map(|(name, value)| format!(" {name}='{}'", escape(value)));
    format!("<body{}/>", written.collect::<String>())
}

pub fn bind_request(resource: &str) -> String {
    let resource = match resource {
        "" => String::new(),
        resource => format!("<resource>{}</resource>", escape(resource)),
    };
    format!("<iq xmlns='{CLIENT}' type='set' id='bind'><bind xmlns='{BIND}'>{resource}</bind></iq>")
}

/// A request on its way, alone on its connection.
#[derive(Debug)]
pub struct Pending {
    pub rid: u64,
    connection: Connection,
}

impl Pending {
    pub async fn send(endpoint: &Endpoint, rid: u64, request: String) -> Self {
        let mut connection = Connection::open(endpoint).await;
        connection
            .send(
                "POST",
                &endpoint.path,
                &[("Content-Type", "text/xml")],
                &request,
            )
            .await;
        Self { rid, connection }
    }

    pub async fn response(mut self) -> Response {
        self.connection.response().await
    }

    /// The same, however long it takes.
    pub async fn late_response(mut self) -> Response {
        let response = self.connection.try_response().await;
        response.expect("an HTTP response, not the end of the connection")
    }

    /// The `<body/>` of the answer.
    pub async fn body(self) -> Element {
        let response = self.response().await;
        assert_eq!(response.status(), 200, "{response:?}");
        let body = response.xml();
        assert!(body.is(HTTPBIND, "body"), "{body}");
        body
    }

    /// Waits until the answer begins to arrive, and does not read it.
    pub async fn answered(&self) {
        within("an answer", self.connection.readable()).await;
    }

    /// Closes the connection, as a browser does when its page is left.
    pub fn abort(self) {}
}

/// Keeps a session going for a [`Client`](crate::client::Client): one poll is always open, stanzas are sent at once,
/// at most two requests are open, and answers are taken in order.
pub struct Driver {
    session: Bosh,
    idle: Vec<Connection>,
    open: JoinSet<(u64, Option<(Connection, Response)>)>,
    /// Answers that came before the answers to earlier requests.
    early: BTreeMap<u64, Response>,
    next_answer: u64,
    queue: Vec<Command>,
    /// No polls are sent: after `<success/>` the next request has to be the restart.
    quiet: bool,
}

impl Driver {
    pub fn new(session: Bosh) -> Self {
        Self {
            next_answer: session.rid + 1,
            session,
            idle: Vec::new(),
            open: JoinSet::new(),
            early: BTreeMap::new(),
            queue: Vec::new(),
            quiet: false,
        }
    }

    pub async fn run(
        mut self,
        mut commands: UnboundedReceiver<Command>,
        events: UnboundedSender<Event>,
    ) {
        let _ = events.send(Event::Opened(self.session.creation.clone()));
        self.take_children(self.session.creation.clone(), &events);
        loop {
            self.send_what_may_go().await;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Vanish) | None => return,
                    Some(command) => self.queue.push(command),
                },
                answer = self.open.join_next(), if !self.open.is_empty() => {
                    let answer = answer.expect("one is open").expect("requests do not panic");
                    let (rid, Some((connection, response))) = answer else {
                        let _ = events.send(Event::End(End::lost()));
                        return;
                    };
                    self.idle.push(connection);
                    self.early.insert(rid, response);
                    while let Some(response) = self.early.remove(&self.next_answer) {
                        self.next_answer += 1;
                        if response.status() != 200 {
                            let _ = events.send(Event::End(End::status(response.status())));
                            return;
                        }
                        let body = response.xml();
                        let end = (body.attr("type") == Some("terminate")).then(|| End::of(&body));
                        self.take_children(body, &events);
                        if let Some(end) = end {
                            let _ = events.send(Event::End(end));
                            return;
                        }
                    }
                }
            }
        }
    }

    fn take_children(&mut self, body: Element, events: &UnboundedSender<Event>) {
        for child in body.children() {
            self.quiet |= child.is(SASL, "success");
            let _ = events.send(Event::Element(child.clone()));
        }
    }

    async fn send_what_may_go(&mut self) {
        while self.open.len() < 2 && !self.queue.is_empty() {
            let mut payload = String::new();
            let mut attributes = String::new();
            let mut rest = std::mem::take(&mut self.queue).into_iter();
            for command in rest.by_ref() {
                match command {
                    Command::Send(xml) => payload.push_str(&xml),
                    Command::Restart => attributes = self.session.restart_attributes(),
                    Command::Close => {
                        attributes = "type='terminate'".to_owned();
                        payload.push_str("<presence xmlns='jabber:client' type='unavailable'/>");
                    }
                    Command::Vanish => unreachable!("never queued"),
                }
                if !attributes.is_empty() {
                    break;
                }
            }
            self.queue = rest.collect();
            self.quiet = false;
            self.post(&attributes, &payload).await;
        }
        if self.open.is_empty() && !self.quiet {
            self.post("", "").await;
        }
    }

    async fn post(&mut self, attributes: &str, payload: &str) {
        // ejabberd seems to answer neither of two requests when the later one arrives first. This distance
        // keeps them in order, so that the rest of what another service does can be tested.
        if foreign().is_some() && !self.open.is_empty() {
            tokio::time::sleep(SPACING).await;
        }
        self.session.rid += 1;
        let rid = self.session.rid;
        let request = self.session.request(rid, attributes, payload);
        let endpoint = self.session.endpoint.clone();
        let idle = self.idle.pop();
        self.open.spawn(async move {
            if let Some(connection) = idle
                && let Some(answered) = post(connection, &endpoint, &request).await
            {
                return (rid, Some(answered));
            }
            // The connection was closed while idle. Send the same on a new one, as browsers do.
            let Some(connection) = Connection::try_open(&endpoint).await else {
                return (rid, None);
            };
            (rid, post(connection, &endpoint, &request).await)
        });
    }
}

async fn post(
    mut connection: Connection,
    endpoint: &Endpoint,
    request: &str,
) -> Option<(Connection, Response)> {
    let headers = [("Content-Type", "text/xml; charset=utf-8")];
    connection
        .send("POST", &endpoint.path, &headers, request)
        .await;
    let response = connection.try_response().await?;
    Some((connection, response))
}

/// Waits for several answers, in the order given.
pub async fn bodies<const N: usize>(pending: [Pending; N]) -> [Element; N] {
    let mut bodies = Vec::new();
    for pending in pending {
        bodies.push(within("an answer", pending.body()).await);
    }
    bodies.try_into().expect("as many answers as requests")
}
