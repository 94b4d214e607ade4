//! ejabberd's side: the commands of its HTTP API (mod_http_api, mod_admin_extra), one contact at a time.
//!
//! Items have no room for a mark, so which of them the gateway has written stands in the user's private storage
//! (XEP-0049): in the same database, and as long as the list is. It is written before the items, so that what is written
//! is known to be, whatever fails in between. So do the contacts whose pair may be half.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicBool, Ordering},
};

use http::{Method, StatusCode};
use jid::{BareJid, DomainPart, Jid, NodePart};
use quick_xml::escape::{escape, unescape};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    WriteError,
    api::{Answer, Api},
    pace::Pace,
};
use crate::{
    config::WriterEndpoint,
    metrics::recent::Recent,
    roster::{
        Contact, Roster, Subscription, Username, address, distinct,
        plan::{Changes, Held, Own},
    },
};

/// Namespace of the private storage.
const WRITTEN: &str = "urn:rostergate:written";

/// Most open pairs that are heeded: users can change their private storage, and each costs a fetch.
const MOST_OPEN: usize = 100;

/// Locks for pairs that are being written.
const PAIRS_AT_ONCE: usize = 64;

/// Most items of which it is remembered in which order they were written.
const LATEST: usize = 1000;

/// Most users of whom it is remembered that they have emptied their lists.
const EMPTIED: usize = 1000;

/// An ejabberd.
#[derive(Debug)]
pub(super) struct Ejabberd {
    api: Api,
    domain: DomainPart,
    /// Groups are given in one string, with semicolons between them, as before 24.02.
    has_old_groups: AtomicBool,
    /// One is held while an item is written, so that it is known which of a pair came later: always the same for a pair.
    writing: Box<[Mutex<()>]>,
    /// The latest items: whose list, and of which contact.
    latest: Recent<(BareJid, BareJid)>,
    /// Users who have emptied their lists themselves, as is known since the database has taken a change.
    emptied: Recent<Username>,
}

/// Contact as `get_roster` answers it: before 24.02 once for each group.
#[derive(Deserialize)]
struct Item {
    jid: String,
    #[serde(default)]
    nick: String,
    #[serde(default)]
    subscription: String,
    /// Whether the user has asked the contact for presence; a request of the contact is not told.
    #[serde(default, alias = "pending")]
    ask: String,
    group: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
}

/// What is in private storage, as `private_get` answers it: before 24.02 in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Private {
    Old { res: String },
    New(String),
}

impl Private {
    fn element(&self) -> &str {
        match self {
            Self::Old { res } | Self::New(res) => res,
        }
    }
}

/// What private storage says of a list.
#[derive(Debug, Default, Eq, PartialEq)]
struct Marks {
    /// The contacts that the gateway has written.
    written: HashSet<BareJid>,
    /// Those whose pair with the user may be half.
    open: HashSet<BareJid>,
}

impl Ejabberd {
    pub(super) fn new(endpoint: &WriterEndpoint, domain: DomainPart, connections: usize) -> Self {
        Self {
            api: Api::new("ejabberd", endpoint, None, connections),
            domain,
            has_old_groups: AtomicBool::new(false),
            writing: (0..PAIRS_AT_ONCE).map(|_| Mutex::default()).collect(),
            latest: Recent::new(LATEST),
            emptied: Recent::new(EMPTIED),
        }
    }

    async fn command(
        &self,
        request: &'static str,
        arguments: &Value,
    ) -> Result<Answer, WriteError> {
        let path = format!("/{request}");
        let answer = self.api.call(request, Method::POST, &path, Some(arguments));
        match answer.await {
            Err(WriteError::Denied { status, .. }) if status == StatusCode::FORBIDDEN => {
                Err(WriteError::Forbidden { request })
            }
            Ok(answer)
                if answer.status == StatusCode::BAD_REQUEST
                    && answer.is_about("unknown_command") =>
            {
                Err(WriteError::NoCommand { request })
            }
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Err(WriteError::NoInterface {
                asked: answer.asked,
                interface: "mod_http_api there",
            }),
            other => other,
        }
    }

    pub(super) async fn held(&self, user: &Username, own: Own) -> Result<Held, WriteError> {
        let arguments = json!({"user": user.as_str(), "host": self.domain.as_str()});
        let answer = self.command("get_roster", &arguments).await?;
        let mut held = answer.expect_ok()?.read(held).await?;
        let is_empty = held.roster.is_empty();
        // It answers, and takes contacts, for users that it does not have.
        if is_empty && !self.has(user).await? {
            return Err(WriteError::NoSuchUser);
        }
        let Marks { written, open } = self.marks(user, own).await?;
        let is_known = self.emptied.last(|it| it == user).is_some();
        if is_empty && !written.is_empty() && !is_known {
            // It also answers so if its database does not, and then the list is not empty at all. The user's clients are told
            // of this try, so it is made once.
            self.expect_database(user).await?;
            let answer = self.command("get_roster", &arguments).await?;
            held = answer.expect_ok()?.read(self::held).await?;
        }
        let is_emptied = held.roster.is_empty() && !written.is_empty();
        if is_emptied != is_known {
            let emptied = is_emptied.then(|| user.clone());
            self.emptied.replace(|it| it == user, emptied);
        }
        Ok(Held {
            written,
            open,
            ..held
        })
    }

    /// Fails if the database of the lists does not take a change: the removal of the user's own address, which is on no
    /// list.
    async fn expect_database(&self, user: &Username) -> Result<(), WriteError> {
        let Ok(node) = NodePart::new(user.as_str()) else {
            return Ok(());
        };
        let own = BareJid::from_parts(Some(&node), &self.domain);
        self.obeyed("delete_rosteritem", &self.pair(user, &own))
            .await
    }

    /// A command that answers 0 if it was carried out. What it was asked for may also fail with 200: then it answers 1.
    async fn obeyed(&self, request: &'static str, arguments: &Value) -> Result<(), WriteError> {
        let answer = self.command(request, arguments).await?;
        expect_done(answer).await
    }

    /// The marks. With `own = "all"`, the server need not have any. They are wanted all the same: a reload may say otherwise.
    async fn marks(&self, user: &Username, own: Own) -> Result<Marks, WriteError> {
        match self.read_marks(user).await {
            Err(WriteError::Marks { .. }) if own == Own::All => Ok(Marks::default()),
            other => other,
        }
    }

    async fn read_marks(&self, user: &Username) -> Result<Marks, WriteError> {
        let arguments = json!({
            "user": user.as_str(),
            "host": self.domain.as_str(),
            "element": "written",
            "ns": WRITTEN,
        });
        let answer = self.command_on_marks("private_get", &arguments).await?;
        answer.read(|it: Private| Marks::of(it.element())).await
    }

    async fn mark(
        &self,
        user: &Username,
        written: &BTreeSet<&BareJid>,
        open: &BTreeSet<&BareJid>,
        own: Own,
    ) -> Result<(), WriteError> {
        // No JID has a space.
        let jids = |jids: &BTreeSet<&BareJid>| {
            let jids: Vec<&str> = jids.iter().map(|jid| jid.as_str()).collect();
            escape(jids.join(" ")).into_owned()
        };
        let (written, open) = (jids(written), jids(open));
        let element = format!("<written xmlns='{WRITTEN}' open='{open}'>{written}</written>");
        let arguments = json!({
            "user": user.as_str(),
            "host": self.domain.as_str(),
            "element": element,
        });
        match self.command_on_marks("private_set", &arguments).await {
            Ok(answer) => expect_done(answer).await,
            Err(WriteError::Marks { .. }) if own == Own::All => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A command that mod_private obeys, which is easily forgotten.
    async fn command_on_marks(
        &self,
        request: &'static str,
        arguments: &Value,
    ) -> Result<Answer, WriteError> {
        let answer = self.command(request, arguments).await?;
        // 502 to 504 say that the command was not even tried.
        let is_tried = |status: StatusCode| {
            status == StatusCode::INTERNAL_SERVER_ERROR || status.is_client_error()
        };
        answer.expect_ok().map_err(|error| match error {
            WriteError::Status { status, .. } if is_tried(status) => {
                WriteError::Marks { request, status }
            }
            other => other,
        })
    }

    /// Makes the changes; counts them in `written`.
    pub(super) async fn write(
        &self,
        user: &Username,
        changes: &Changes,
        held: &Held,
        own: Own,
        pace: &Pace,
        written: &mut usize,
    ) -> Result<(), WriteError> {
        let is_held = |jid: &&BareJid| held.roster.get(jid.as_str()).is_some();
        let mut marks: BTreeSet<_> = held.written.iter().filter(is_held).collect();
        let mut open: BTreeSet<_> = held.open.iter().chain(&changes.opened).collect();
        let writes = changes.writes.iter().map(|contact| &contact.jid);
        let before = marks.len();
        marks.extend(writes);
        if marks.len() > before || !changes.opened.is_empty() {
            self.mark(user, &marks, &open, own).await?;
        }
        let marked = marks.len();
        for jid in &changes.removals {
            pace.wait(1).await;
            let subscription = held.roster.get(jid.as_str()).map(|it| it.subscription);
            self.remove(user, jid, subscription).await?;
            marks.remove(jid);
            *written += 1;
        }
        for contact in &changes.writes {
            pace.wait(1).await;
            let jid = &contact.jid;
            let item = held.roster.get(jid.as_str()).map(|it| it.subscription);
            // It keeps a request when it is told what the item is, and shows an item without a subscription to nobody while
            // there is one of the contact.
            let is_hidden = item.is_none() && held.written.contains(jid);
            if is_hidden || held.asked.contains(jid) {
                let item = item.unwrap_or(Subscription::None);
                self.remove(user, jid, Some(item)).await?;
            }
            self.add(user, contact).await?;
            *written += 1;
        }
        if marks.len() < marked || !changes.closed.is_empty() {
            open.retain(|jid| !changes.closed.contains(jid));
            self.mark(user, &marks, &open, own).await?;
        }
        Ok(())
    }

    pub(super) async fn open(
        &self,
        user: &Username,
        contacts: Vec<BareJid>,
        own: Own,
    ) -> Result<(), WriteError> {
        let Marks { written, open } = self.marks(user, own).await?;
        let written = written.iter().collect();
        let open = open.iter().chain(&contacts).collect();
        self.mark(user, &written, &open, own).await
    }

    pub(super) async fn has(&self, user: &Username) -> Result<bool, WriteError> {
        let arguments = json!({"user": user.as_str(), "host": self.domain.as_str()});
        let answer = self.command("check_account", &arguments).await?;
        answer.expect_ok()?.read(|code: u8| code == 0).await
    }

    async fn add(&self, user: &Username, contact: &Contact) -> Result<(), WriteError> {
        let _writing = match self.lock_of(user, &contact.jid) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let mut arguments = self.pair(user, &contact.jid);
        arguments["nick"] = contact.name.as_deref().unwrap_or_default().into();
        arguments["subs"] = contact.subscription.as_str().into();
        let mut answer = None;
        if !self.has_old_groups.load(Ordering::Relaxed) {
            let mut arguments = arguments.clone();
            arguments["groups"] = contact.groups.clone().into();
            let tried = self.command("add_rosteritem", &arguments).await?;
            let is_old = tried.status == StatusCode::BAD_REQUEST && tried.is_about("group");
            self.has_old_groups.store(is_old, Ordering::Relaxed);
            answer = (!is_old).then_some(tried);
        }
        let answer = match answer {
            Some(answer) => answer,
            None => {
                arguments["group"] = contact.groups.join(";").into();
                self.command("add_rosteritem", &arguments).await?
            }
        };
        expect_done(answer).await?;
        if let Ok(node) = NodePart::new(user.as_str()) {
            let owner = BareJid::from_parts(Some(&node), &self.domain);
            self.latest.push((owner, contact.jid.clone()));
        }
        Ok(())
    }

    fn lock_of(&self, user: &Username, contact: &BareJid) -> Option<&Mutex<()>> {
        let contact = contact.node().map(|node| node.as_str());
        let hash = |name: &str| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish()
        };
        // The same for both of a pair.
        let sum = hash(user.as_str()).wrapping_add(hash(contact.unwrap_or_default()));
        let index = usize::try_from(sum % PAIRS_AT_ONCE as u64).ok()?;
        self.writing.get(index)
    }

    /// Whether the item that `owner` has of `contact` was written later than the other one of the pair, if that is known.
    pub(super) fn is_later(&self, owner: &BareJid, contact: &BareJid) -> Option<bool> {
        let latest = self.latest.last(|(of, about)| {
            (of == owner && about == contact) || (of == contact && about == owner)
        });
        latest.map(|(of, _)| of == *owner)
    }

    /// Removes a contact. Of one with a subscription, that goes first: otherwise the contact would be sent
    /// `unsubscribe` and `unsubscribed`, of which some clients tell their users.
    async fn remove(
        &self,
        user: &Username,
        jid: &BareJid,
        subscription: Option<Subscription>,
    ) -> Result<(), WriteError> {
        if subscription != Some(Subscription::None) {
            let without = Contact::new(jid.clone(), None, Vec::new(), Subscription::None);
            self.add(user, &without).await?;
        }
        self.obeyed("delete_rosteritem", &self.pair(user, jid))
            .await
    }

    fn pair(&self, user: &Username, contact: &BareJid) -> Value {
        json!({
            "localuser": user.as_str(),
            "localhost": self.domain.as_str(),
            "user": contact.node().map(|node| node.as_str()).unwrap_or_default(),
            "host": contact.domain().as_str(),
        })
    }

    /// The contact as it can be written: a group with a semicolon would be two.
    pub(super) fn adapt(contact: &mut Contact) {
        if contact.groups.iter().any(|group| group.contains(';')) {
            let groups = contact.groups.iter().map(|group| group.replace(';', ","));
            contact.groups = distinct(groups.collect());
        }
    }

    /// Whether the user has a client that is connected. When this is known, the clients' processes have dealt with all
    /// that was done before.
    pub(super) async fn is_online(&self, user: &str) -> Result<bool, WriteError> {
        let arguments = json!({"user": user, "host": self.domain.as_str()});
        let answer = self.command("user_sessions_info", &arguments).await?;
        let read = answer.expect_ok()?.read(|it: Vec<Value>| !it.is_empty());
        read.await
    }

    /// Lets two users hear of what the other publishes (XEP-0163), by probes as at a login. `later` is the one whose item
    /// was written later.
    ///
    /// Presence has been shown when the items were written. But only a probe brings what was published last. And
    /// ejabberd learns what a contact wants to hear of when the contact's presence comes, if there is an item of it by
    /// then: so `later` has not learned that of `earlier`, and what it publishes comes last.
    pub(super) async fn introduce(
        &self,
        later: &BareJid,
        earlier: &BareJid,
    ) -> Result<(), WriteError> {
        for (by, of) in [(later, earlier), (earlier, later)] {
            let user = by.node().map(|node| node.as_str()).unwrap_or_default();
            if self.is_online(user).await? {
                self.probe(by, of).await?;
            }
            let user = of.node().map(|node| node.as_str()).unwrap_or_default();
            self.is_online(user).await?;
        }
        Ok(())
    }

    async fn probe(&self, by: &BareJid, of: &BareJid) -> Result<(), WriteError> {
        let arguments = json!({
            "from": by.as_str(),
            "to": of.as_str(),
            "stanza": "<presence type='probe'/>",
        });
        self.obeyed("send_stanza", &arguments).await
    }
}

/// Fails unless the command was carried out: with status 200, a code other than 0 says that it was not.
async fn expect_done(answer: Answer) -> Result<(), WriteError> {
    let answer = answer.expect_ok()?;
    let request = answer.asked.request;
    match answer.read(|code: i64| code).await? {
        0 => Ok(()),
        _ => Err(WriteError::Undone { request }),
    }
}

/// The list in an answer, but for the marks.
fn held(items: Vec<Item>) -> Held {
    let mut held = Held::default();
    let mut contacts = HashMap::new();
    for item in items {
        let Some(jid) = address::prepare(&item.jid).map(Jid::into_bare) else {
            continue;
        };
        if ["subscribe", "out", "both"].contains(&&*item.ask) {
            held.asked.insert(jid.clone());
        }
        let (_, groups) = contacts.entry(jid).or_insert_with(|| {
            let subscription = Subscription::of_attribute(&item.subscription);
            ((item.nick, subscription), Vec::new())
        });
        groups.extend(item.group.into_iter().chain(item.groups));
    }
    let contacts = contacts.into_iter();
    let contacts = contacts.map(|(jid, ((nick, subscription), groups))| {
        Contact::new(jid, Some(nick), groups, subscription)
    });
    held.roster = Roster::new(contacts.collect());
    held
}

impl Marks {
    /// Those in the private storage, which its user can change, too.
    fn of(element: &str) -> Self {
        let (_, start) = element.rsplit_once("<written").unwrap_or_default();
        let (attributes, content) = start.split_once('>').unwrap_or_default();
        let (jids, _) = content.split_once("</written>").unwrap_or_default();
        let open = attributes.split_once(" open=").map(|(_, open)| open);
        let open = open.and_then(|open| open.split(['\'', '"']).nth(1));
        let read = |jids: &str, most| {
            let jids = unescape(jids).unwrap_or_default();
            let jids = jids.split_ascii_whitespace().take(most);
            jids.filter_map(|jid| address::prepare(jid).map(Jid::into_bare))
                .collect()
        };
        Self {
            written: read(jids, usize::MAX),
            open: read(open.unwrap_or_default(), MOST_OPEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Vec<Contact> {
        let held = held(serde_json::from_str(json).unwrap());
        held.roster.contacts().to_vec()
    }

    #[test]
    fn lists_are_read_as_old_and_new_versions_write_them() {
        let old = r#"[
            {"jid": "b@x.org", "nick": "", "subscription": "none", "ask": "out", "group": ""},
            {"jid": "a@x.org", "nick": "A", "subscription": "both", "ask": "none", "group": "one"},
            {"jid": "a@x.org", "nick": "A", "subscription": "both", "ask": "none", "group": "two"}]"#;
        let new = r#"[
            {"jid": "A@x.org", "nick": "A", "subscription": "both", "pending": "none", "groups": ["one", "two"]},
            {"jid": "a b@x.org", "subscription": "both", "groups": []},
            {"jid": "b@x.org", "nick": "", "subscription": "none", "pending": "out", "groups": []}]"#;
        let list = read(old);
        assert_eq!(list, read(new));
        assert_eq!(list[0].groups, ["one", "two"]);
        assert_eq!(list[0].name.as_deref(), Some("A"));
        assert_eq!(
            (list[1].name.as_deref(), list[1].subscription),
            (None, Subscription::None)
        );
    }

    #[test]
    fn marks_are_read_whatever_a_user_has_made_of_them() {
        let of = |content: &str| {
            let marks = Marks::of(&format!("<query>{content}</query>"));
            let sorted = |jids: &HashSet<BareJid>| {
                let mut jids: Vec<_> = jids.iter().map(|jid| jid.as_str()).collect();
                jids.sort_unstable();
                jids.join(" ")
            };
            match marks.open.is_empty() {
                true => sorted(&marks.written),
                false => format!("{}, {}", sorted(&marks.written), sorted(&marks.open)),
            }
        };
        let element = |text: &str| format!("<written xmlns='{WRITTEN}'>{text}</written>");
        assert_eq!(
            of(&element("b@x.org a@x.org icq.x.org")),
            "a@x.org b@x.org icq.x.org"
        );
        assert_eq!(
            of(&element(" a@x.org\n\na@x.org @ a@ <b/>c@x.org")),
            "a@x.org"
        );
        assert_eq!(of("<written xmlns='' open='b@x.org'/>"), ", b@x.org");
        for quote in ['\'', '"'] {
            let open =
                format!("<written open={quote}b@x.org @ c@x.org{quote} xmlns=''>a@x.org</written>");
            assert_eq!(of(&open), "a@x.org, b@x.org c@x.org");
        }
        assert_eq!(
            of(&element("a@o&apos;x.org b@a&amp;b.org c@x.org")),
            "a@o'x.org b@a&b.org c@x.org"
        );
        let many: Vec<_> = (0..500).map(|number| format!("u{number}@x.org")).collect();
        let forged = format!("<written open='{}'/>", many.join(" "));
        assert_eq!(Marks::of(&forged).open.len(), MOST_OPEN);
        for nothing in [
            "",
            "<written open=></written>",
            "<written open='></written>",
            "<written/>",
            "<written",
            "</written>",
            &element(""),
        ] {
            assert_eq!(of(nothing), "", "{nothing}");
        }
    }
}
