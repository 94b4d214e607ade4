//! HTTP interface of an XMPP server that holds contact lists, without the server: that of Prosody's module, or that of
//! ejabberd as of 24.02. It fails as a test wants it to.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::{net::TcpStream, sync::watch};

use crate::{
    prosody::DOMAIN,
    service::{self, Service},
    within,
};

/// The token that it wants.
pub const TOKEN: &str = "a-token-of-the-tests";

/// A server; its lists can be changed while it runs.
pub struct ListServer {
    service: Service,
    state: Arc<State>,
}

/// What goes wrong with a request that writes.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// This status.
    Status(u16),
    /// It is not carried out, which ejabberd says with 200.
    Undone,
    /// No answer until [`ListServer::release`].
    Hang,
}

#[derive(Default)]
struct State {
    lists: Mutex<BTreeMap<String, Map<String, Value>>>,
    /// The pairs that a list of Prosody's says are open.
    open: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// What is written in private storage.
    private: Mutex<BTreeMap<String, String>>,
    faults: Mutex<VecDeque<Fault>>,
    /// What every request is answered with.
    nonsense: Mutex<Option<String>>,
    /// How often `get_roster` still answers as if the list were empty.
    blips: Mutex<usize>,
    /// A line for each request that was obeyed.
    obeyed: watch::Sender<Vec<String>>,
    /// A request is left unanswered.
    hanging: watch::Sender<bool>,
    in_flight: Mutex<BTreeMap<String, usize>>,
    most_in_flight: Mutex<usize>,
    reads: Mutex<usize>,
}

impl ListServer {
    /// Starts in a thread of its own, so that nothing in a test can block it.
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// The same at this port.
    pub fn start_at(port: u16) -> Self {
        let state = Arc::<State>::default();
        let serving = Arc::clone(&state);
        let service = Service::start(port, move |stream| serve(stream, Arc::clone(&serving)));
        Self { service, state }
    }

    /// The lines of a `[[host]]` for a gateway that writes into it as if it were `kind`.
    pub fn lines(&self, kind: &str) -> String {
        let url = format!("http://{}/{kind}/", self.service.address);
        format!(
            "rosters = \"server\"\nwriter = \"{kind}\"\nwriter_url = \"{url}\"\nwriter_token = \"{TOKEN}\""
        )
    }

    pub fn port(&self) -> u16 {
        self.service.address.port()
    }

    /// Sets a user's list, as Prosody's module shows it.
    pub fn set(&self, user: &str, contacts: Value) {
        let Value::Object(contacts) = contacts else {
            panic!("no list: {contacts}")
        };
        self.state.lists.lock().insert(user.to_owned(), contacts);
    }

    /// The list of a user.
    pub fn list(&self, user: &str) -> Value {
        self.state.lists.lock().get(user).cloned().into()
    }

    /// What becomes of the next requests that write.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.faults.lock().extend(faults);
    }

    /// The next answers of `get_roster` are an empty list, as ejabberd's are if its database fails.
    pub fn blip(&self, times: usize) {
        *self.state.blips.lock() = times;
    }

    /// Answers every request with 200 and this from now on.
    pub fn talk(&self, nonsense: &str) {
        *self.state.nonsense.lock() = Some(nonsense.to_owned());
    }

    /// Nothing goes wrong any longer.
    pub fn heal(&self) {
        self.state.faults.lock().clear();
    }

    /// Waits until a request is left unanswered.
    pub async fn hangs(&self) {
        let mut hanging = self.state.hanging.subscribe();
        let hung = hanging.wait_for(|hanging| *hanging);
        within("a request that hangs", hung).await.expect("it runs");
    }

    /// Obeys the requests that hang.
    pub fn release(&self) {
        self.state.hanging.send_replace(false);
    }

    /// The requests that were obeyed, other than those that only read.
    pub fn obeyed(&self) -> Vec<String> {
        self.state.obeyed.borrow().clone()
    }

    /// Waits until as many were.
    pub async fn obeys(&self, count: usize) {
        let mut obeyed = self.state.obeyed.subscribe();
        let enough = obeyed.wait_for(|obeyed| obeyed.len() >= count);
        within("requests that write", enough)
            .await
            .expect("it runs");
    }

    /// How often lists were read.
    pub fn reads(&self) -> usize {
        *self.state.reads.lock()
    }

    /// The most requests there ever were at a time about one user's list.
    pub fn most_in_flight(&self) -> usize {
        *self.state.most_in_flight.lock()
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    service::http(stream, |request| answer(Arc::clone(&state), request)).await;
}

type Answer = (u16, Value);

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let bearer = format!("Bearer {TOKEN}");
    let is_let_in = head
        .headers
        .get("authorization")
        .is_some_and(|it| *it == bearer);
    let path = head.uri.path();
    let (status, json) = if !is_let_in {
        (401, json!({}))
    } else if let Some(user) = path.strip_prefix("/prosody/rosters/") {
        assert_eq!(head.headers["host"], DOMAIN, "the name of the virtual host");
        let user = percent_encoding::percent_decode_str(user).decode_utf8_lossy();
        let _flight = Flight::begin(&state, &user);
        match head.method.as_str() {
            "GET" => get(&state, &user),
            _ => put(&state, &user, &body).await,
        }
    } else if let Some(command) = path.strip_prefix("/ejabberd/") {
        let user = body["localuser"].as_str().or_else(|| body["user"].as_str());
        let is_of_list = !["check_account", "send_stanza", "user_sessions_info"].contains(&command);
        let _flight = is_of_list.then(|| Flight::begin(&state, user.unwrap_or_default()));
        obey(&state, command, &body).await
    } else {
        (404, json!({}))
    };
    let nonsense = state.nonsense.lock().clone();
    let (status, text) = match nonsense {
        Some(nonsense) => (200, nonsense),
        None => (status, json.to_string()),
    };
    let response = Response::builder().status(status);
    Ok(response.body(Full::from(text)).expect("a response"))
}

/// Counts a request until it is answered.
struct Flight<'a>(&'a State, String);

impl<'a> Flight<'a> {
    fn begin(state: &'a State, user: &str) -> Self {
        let mut in_flight = state.in_flight.lock();
        let count = in_flight.entry(user.to_owned()).or_default();
        *count += 1;
        let mut most = state.most_in_flight.lock();
        *most = (*most).max(*count);
        Self(state, user.to_owned())
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        *self
            .0
            .in_flight
            .lock()
            .get_mut(&self.1)
            .expect("it is there") -= 1;
    }
}

/// Notes a request that writes, unless it is to fail.
async fn take(state: &State, line: String) -> Result<(), Answer> {
    let fault = state.faults.lock().pop_front().unwrap_or(Fault::None);
    match fault {
        Fault::None => {}
        Fault::Status(status) => return Err((status, json!({}))),
        Fault::Undone => return Err((200, json!(1))),
        Fault::Hang => {
            state.hanging.send_replace(true);
            let mut hanging = state.hanging.subscribe();
            let released = hanging.wait_for(|hanging| !hanging);
            released.await.expect("the state is there");
        }
    }
    state.obeyed.send_modify(|obeyed| obeyed.push(line));
    Ok(())
}

fn get(state: &State, user: &str) -> Answer {
    *state.reads.lock() += 1;
    match state.lists.lock().get(user) {
        Some(list) => {
            let open = state.open.lock().get(user).cloned().unwrap_or_default();
            (200, json!({ "contacts": list, "open": open }))
        }
        None => (404, json!({ "error": "no such user" })),
    }
}

async fn put(state: &State, user: &str, body: &Value) -> Answer {
    let contacts = body["contacts"].as_object().expect("contacts");
    let remove = body["remove"].as_array().expect("contacts to remove");
    let names: Vec<&String> = contacts.keys().collect();
    let line = match contacts.len() + remove.len() {
        0 => format!("marks {user}"),
        _ => format!("PUT {user} {names:?} {}", body["remove"]),
    };
    if let Err(answer) = take(state, line).await {
        return answer;
    }
    let mut lists = state.lists.lock();
    let Some(list) = lists.get_mut(user) else {
        return (404, json!({ "error": "no such user" }));
    };
    for (jid, contact) in contacts {
        let mut contact = contact.clone();
        contact["written"] = true.into();
        list.insert(jid.clone(), contact);
    }
    for jid in remove {
        list.remove(jid.as_str().expect("a JID"));
    }
    let mut open = state.open.lock();
    let open = open.entry(user.to_owned()).or_default();
    let jids = |key: &str| {
        let jids = body[key].as_array().into_iter().flatten();
        jids.map(|jid| jid.as_str().expect("a JID").to_owned())
    };
    open.extend(jids("open"));
    let close: Vec<_> = jids("close").collect();
    open.retain(|jid| !close.contains(jid));
    (
        200,
        json!({ "written": contacts.len(), "removed": remove.len() }),
    )
}

/// A command of ejabberd's, as of 24.02: groups are lists.
async fn obey(state: &State, command: &str, body: &Value) -> Answer {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let (user, owner) = (text("user"), text("localuser"));
    let contact = match &*user {
        "" => text("host"),
        user => format!("{user}@{}", text("host")),
    };
    let line = match command {
        "add_rosteritem" => format!("add {owner} {contact}"),
        "delete_rosteritem" => format!("delete {owner} {contact}"),
        "private_set" => format!("private {user}"),
        "send_stanza" => format!("probe {} {}", text("from"), text("to")),
        _ => String::new(),
    };
    if !line.is_empty()
        && let Err(answer) = take(state, line).await
    {
        return answer;
    }
    let mut lists = state.lists.lock();
    match command {
        "get_roster" => {
            *state.reads.lock() += 1;
            let mut blips = state.blips.lock();
            let is_blip = *blips > 0;
            *blips = blips.saturating_sub(1);
            let list = lists.get(&user).filter(|_| !is_blip);
            let list = list.cloned().unwrap_or_default();
            let items = list.iter().map(|(jid, contact)| {
                json!({
                    "jid": jid,
                    "nick": contact["name"].as_str().unwrap_or_default(),
                    "subscription": contact["subscription"],
                    "pending": "none",
                    "groups": contact["groups"].as_array().cloned().unwrap_or_default(),
                })
            });
            (200, items.collect())
        }
        "add_rosteritem" if !body["groups"].is_array() => (400, json!("groups is no list")),
        "add_rosteritem" => {
            let item = json!({
                "name": body["nick"], "groups": body["groups"], "subscription": body["subs"],
            });
            lists.entry(owner).or_default().insert(contact, item);
            (200, json!(0))
        }
        "delete_rosteritem" => {
            lists.entry(owner).or_default().remove(&contact);
            (200, json!(0))
        }
        "check_account" => (200, json!(u8::from(!lists.contains_key(&user)))),
        "user_sessions_info" => (200, json!([{ "resource": "desk" }])),
        "private_get" => {
            let content = state.private.lock().get(&user).cloned();
            let content =
                content.unwrap_or_else(|| "<written xmlns='urn:rostergate:written'/>".into());
            (
                200,
                json!({ "res": format!("<query xmlns='jabber:iq:private'>{content}</query>") }),
            )
        }
        "private_set" => {
            state.private.lock().insert(user, text("element"));
            (200, json!(0))
        }
        "send_stanza" => (200, json!(0)),
        _ => (404, json!({})),
    }
}
