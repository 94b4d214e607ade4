//! Whatever happens in whatever order: of each other's presence, contacts see everything, and everything once.
//!
//! Some users with some sessions each, their pipes, one server that knows no rosters, and a site whose lists are
//! mutual, as friendships are. Everybody's stanzas travel in order; nothing else is in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const USERS: [&str; 3] = ["a@example.org", "b@example.org", "c@example.org"];
const RESOURCES: [&str; 2] = ["1", "2"];

/// What may happen next.
#[derive(Clone, Debug)]
enum Op {
    /// A client logs in, if it is not there.
    Login(usize),
    /// It asks for its roster.
    Get(usize),
    /// It says `<presence/>` with a text of its own.
    Presence(usize),
    /// It says that it is not available.
    Unavailable(usize),
    /// It is gone, properly or not: to the server, its stream ends.
    Gone(usize),
    /// Two users become friends, or are no longer.
    Friends(usize, usize, bool),
    /// A session has waited for somebody to become a contact.
    Waited(usize),
    /// A page takes over from a client, and has forgotten whom that has seen.
    Anew(usize),
    /// A client blocks somebody, or does so no longer.
    Blocks(usize, usize, bool),
    /// The site notifies of a user.
    Refresh(usize),
    /// A list that a session waits for arrives.
    Fetched(usize),
    /// The server reads a stanza of a client.
    ServerReads(usize),
    /// A client's gateway reads a stanza of the server.
    GatewayReads(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..USERS.len() * RESOURCES.len();
    let user = || 0..USERS.len();
    prop_oneof![
        3 => client().prop_map(Op::Login),
        3 => client().prop_map(Op::Get),
        5 => client().prop_map(Op::Presence),
        1 => client().prop_map(Op::Unavailable),
        1 => client().prop_map(Op::Gone),
        3 => (user(), user(), any::<bool>()).prop_map(|(a, b, yes)| Op::Friends(a, b, yes)),
        2 => client().prop_map(Op::Waited),
        2 => client().prop_map(Op::Anew),
        2 => (client(), user(), any::<bool>()).prop_map(|(a, b, yes)| Op::Blocks(a, b, yes)),
        4 => user().prop_map(Op::Refresh),
        6 => client().prop_map(Op::Fetched),
        20 => client().prop_map(Op::ServerReads),
        20 => client().prop_map(Op::GatewayReads),
    ]
}

/// One login.
struct Session {
    full: String,
    pipe: Pipe,
    /// Waits for its first roster.
    needs: bool,
    /// Has to be given the latest roster.
    woken: bool,
    to_server: VecDeque<Stanza>,
    to_gateway: VecDeque<Stanza>,
    /// On the server: its presence, and who got it directly.
    available: Option<String>,
    directed: BTreeSet<String>,
    /// On the client: its own presence, the list as it knows it, and whom it sees, how.
    says: Option<String>,
    contacts: BTreeSet<String>,
    former: BTreeSet<String>,
    sees: BTreeMap<String, String>,
    /// Of each answer with the list that it waits for: had it one before? Then it begins anew with this one.
    gets: VecDeque<bool>,
    has_list: bool,
    /// What the account's other sessions are to hear, and what the server is to hear after that.
    tells: VecDeque<(Change, Option<Stanza>)>,
}

impl Session {
    fn new(full: &str) -> Self {
        let mut pipe = Pipe::new(
            Rules {
                rosters: true,
                directed: true,
                manages_streams: false,
                contacts_only: false,
            },
            "example.org",
        );
        pipe.server_stanza(stanza(&format!(
            "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{full}</jid>\
             </bind></iq>"
        )));
        while pipe.poll_effect(true).is_some() {}
        Self {
            full: full.to_owned(),
            pipe,
            needs: false,
            woken: false,
            to_server: VecDeque::new(),
            to_gateway: VecDeque::new(),
            available: None,
            directed: BTreeSet::new(),
            says: None,
            contacts: BTreeSet::new(),
            former: BTreeSet::new(),
            sees: BTreeMap::new(),
            gets: VecDeque::new(),
            has_list: false,
            tells: VecDeque::new(),
        }
    }

    fn bare(&self) -> &str {
        bare(&self.full)
    }

    fn settle(&mut self) {
        loop {
            match self.pipe.poll_effect(true) {
                Some(Effect::NeedRoster) => self.needs = true,
                Some(Effect::ToServer(stanza)) => self.to_server.push_back(stanza),
                Some(Effect::ToServerMany { bytes, .. }) => {
                    let many = String::from_utf8(bytes.to_vec()).unwrap();
                    let each = many.split("<presence").skip(1);
                    let each = each.map(|rest| stanza(&format!("<presence{rest}")));
                    self.to_server.extend(each);
                }
                Some(Effect::ToClient(stanza)) => self.client_reads(&stanza),
                Some(Effect::TellAccount(change)) => self.tells.push_back((change, None)),
                Some(Effect::Block(request, change)) => {
                    self.tells.push_back((change, Some(request)));
                }
                Some(Effect::Refused { .. } | Effect::IfWelcome { .. }) => {
                    unreachable!("anyone may write")
                }
                Some(Effect::Bound) => {}
                None if self.pipe.is_telling() => {}
                None => return,
            }
        }
    }

    /// What a client would complain about.
    fn client_reads(&mut self, stanza: &Stanza) {
        match stanza.kind() {
            Kind::Iq(_) if stanza.payload().is_some() => {
                let text = text(stanza);
                if stanza.kind() == Kind::Iq(IqType::Result) {
                    self.has_list = true;
                    if self.gets.pop_front().unwrap() {
                        self.sees.clear();
                    }
                }
                for item in text.split("<item jid='").skip(1) {
                    let jid = item.split('\'').next().unwrap();
                    if item.contains("subscription='remove'") {
                        self.contacts.remove(jid);
                        self.former.insert(jid.to_owned());
                    } else {
                        self.contacts.insert(jid.to_owned());
                        self.former.remove(jid);
                    }
                }
            }
            Kind::Presence(kind) => {
                let from = stanza.from().unwrap().into_owned();
                if bare(&from) == self.bare() {
                    return;
                }
                let is_former = self.former.contains(bare(&from));
                assert!(
                    !is_former,
                    "{} sees {from}, who is no contact any more",
                    self.full
                );
                let roster = self.pipe.service.roster().unwrap();
                if roster.get(bare(&from)).is_none() && !self.sees.contains_key(&from) {
                    // Clients ignore those who are not on their lists.
                    return;
                }
                if kind == PresenceType::Unavailable {
                    let seen = self.sees.remove(&from);
                    assert!(seen.is_some(), "{} sees {from} go twice", self.full);
                } else {
                    let says = status(stanza);
                    let before = self.sees.insert(from.clone(), says.clone());
                    assert_ne!(before, Some(says), "{} sees {from} twice", self.full);
                }
            }
            _ => {}
        }
    }
}

fn bare(full: &str) -> &str {
    full.split_once('/').map_or(full, |(bare, _)| bare)
}

fn status(presence: &Stanza) -> String {
    let status = presence.children().find(|child| child.local() == "status");
    status.map_or_else(String::new, |status| status.text().into_owned())
}

#[derive(Default)]
struct World {
    sessions: BTreeMap<usize, Session>,
    friends: BTreeSet<(usize, usize)>,
    /// By the site's last notification, or the fetch at login.
    lists: BTreeMap<String, Arc<Roster>>,
    /// What the sessions of an account have told each other.
    changes: BTreeMap<usize, Vec<Change>>,
    /// Who has blocked whom, on the server.
    blocked: BTreeSet<(String, String)>,
    said: u32,
    /// Stanzas of presence that the server has read.
    cost: usize,
    rewrites_to: bool,
}

impl World {
    fn list(&mut self, user: usize) -> Arc<Roster> {
        let friends = USERS
            .iter()
            .enumerate()
            .filter(|(other, _)| self.friends.contains(&(user.min(*other), user.max(*other))));
        let jids: Vec<&str> = friends.map(|(_, jid)| *jid).collect();
        let list = friends_of(&jids);
        self.lists.insert(USERS[user].to_owned(), Arc::clone(&list));
        list
    }

    fn apply(&mut self, op: &Op) {
        self.happens(op);
        self.tell_accounts();
    }

    fn tell_accounts(&mut self) {
        while let Some((at, (change, request))) = self
            .sessions
            .iter_mut()
            .find_map(|(at, session)| Some((*at, session.tells.pop_front()?)))
        {
            let other = at ^ 1;
            self.changes.entry(at / 2).or_default().push(change.clone());
            if let Some(session) = self.sessions.get_mut(&other) {
                session.pipe.account_changes(change);
                session.settle();
            }
            let Some(request) = request else { continue };
            // Once the server has read what the other has to say.
            while let Some(session) = self.sessions.get_mut(&other)
                && let Some(stanza) = session.to_server.pop_front()
            {
                self.server_handles(other, &stanza);
            }
            self.sessions
                .get_mut(&at)
                .unwrap()
                .to_server
                .push_back(request);
        }
    }

    fn happens(&mut self, op: &Op) {
        match *op {
            Op::Login(at) => {
                let full = format!("{}/{}", USERS[at / 2], RESOURCES[at % 2]);
                let changes = self.changes.entry(at / 2).or_default().clone();
                self.sessions.entry(at).or_insert_with(|| {
                    let mut session = Session::new(&full);
                    for change in changes {
                        session.pipe.account_changes(change);
                    }
                    session.settle();
                    session
                });
            }
            Op::Get(at) => {
                if let Some(session) = self.sessions.get_mut(&at) {
                    session.gets.push_back(session.has_list);
                    session.pipe.client_stanza(stanza(GET));
                    session.settle();
                }
            }
            Op::Presence(at) => {
                self.said += 1;
                let said = self.said.to_string();
                if let Some(session) = self.sessions.get_mut(&at) {
                    let presence = format!("<presence><status>{said}</status></presence>");
                    session.says = Some(said);
                    session.pipe.client_stanza(stanza(&presence));
                    session.settle();
                }
            }
            Op::Unavailable(at) => {
                if let Some(session) = self.sessions.get_mut(&at) {
                    session.says = None;
                    // Whom it sees from now on, it sees for the first time.
                    session.sees.clear();
                    let presence = "<presence type='unavailable'/>";
                    session.pipe.client_stanza(stanza(presence));
                    session.settle();
                }
            }
            Op::Gone(at) => {
                if let Some(mut session) = self.sessions.remove(&at) {
                    while let Some(stanza) = session.to_server.pop_front() {
                        self.sessions.insert(at, session);
                        self.server_handles(at, &stanza);
                        session = self.sessions.remove(&at).unwrap();
                    }
                    self.say_goodbye(&mut session);
                    if !self.sessions.contains_key(&(at ^ 1)) {
                        self.changes.remove(&(at / 2));
                    }
                }
            }
            Op::Friends(a, b, yes) => {
                let pair = (a.min(b), a.max(b));
                if a != b && yes {
                    self.friends.insert(pair);
                } else {
                    self.friends.remove(&pair);
                }
            }
            Op::Waited(at) => {
                if let Some(session) = self.sessions.get_mut(&at)
                    && session.pipe.has_held()
                {
                    session.pipe.show_held();
                    session.settle();
                }
            }
            Op::Anew(at) => {
                if let Some(session) = self.sessions.get_mut(&at)
                    && session.pipe.service.roster().is_some()
                {
                    session.sees.clear();
                    session.pipe.begin_anew();
                    session.settle();
                }
            }
            Op::Blocks(at, whom, yes) => {
                self.said += 1;
                let act = if yes { "block" } else { "unblock" };
                let request = format!(
                    "<iq type='set' id='{}'><{act} xmlns='urn:xmpp:blocking'><item jid='{}'/></{act}></iq>",
                    self.said, USERS[whom]
                );
                if let Some(session) = self.sessions.get_mut(&at)
                    && at / 2 != whom
                {
                    session.pipe.client_stanza(stanza(&request));
                    session.settle();
                }
            }
            Op::Refresh(user) => {
                self.list(user);
                for session in self.sessions.values_mut() {
                    session.woken |= session.bare() == USERS[user];
                }
            }
            Op::Fetched(at) => {
                let Some(session) = self.sessions.get(&at) else {
                    return;
                };
                let known = self.lists.get(session.bare()).cloned();
                let (needs, woken) = (session.needs, session.woken);
                let list = known.unwrap_or_else(|| self.list(at / 2));
                let session = self.sessions.get_mut(&at).unwrap();
                if needs || woken && session.pipe.service.roster().is_some() {
                    (session.needs, session.woken) = (false, false);
                    session.pipe.roster_ready(&list);
                    session.settle();
                }
            }
            Op::ServerReads(at) => {
                let session = self.sessions.get_mut(&at);
                if let Some(stanza) = session.and_then(|it| it.to_server.pop_front()) {
                    self.server_handles(at, &stanza);
                }
            }
            Op::GatewayReads(at) => {
                if let Some(session) = self.sessions.get_mut(&at)
                    && let Some(stanza) = session.to_gateway.pop_front()
                {
                    session.pipe.server_stanza(stanza);
                    session.settle();
                }
            }
        }
    }

    fn server_handles(&mut self, at: usize, presence: &Stanza) {
        let Kind::Presence(kind) = presence.kind() else {
            return self.server_blocks(at, presence);
        };
        self.cost += 1;
        let mut session = self.sessions.remove(&at).unwrap();
        let is_available = kind == PresenceType::Available;
        if let Some(to) = presence.to() {
            if is_available {
                session.directed.insert(to.clone().into_owned());
            } else {
                session.directed.remove(&*to);
            }
            let from = session.full.clone();
            self.deliver(&from, &to, presence);
        } else if is_available {
            session.available = Some(status(presence));
        } else {
            self.say_goodbye(&mut session);
        }
        self.sessions.insert(at, session);
    }

    fn server_blocks(&mut self, at: usize, iq: &Stanza) {
        let Some(change) = Change::of(iq) else {
            return;
        };
        let command = iq.children().next().unwrap();
        let session = self.sessions.get_mut(&at).unwrap();
        for item in command.children() {
            let jid = item.attribute("jid").unwrap().into_owned();
            let pair = (session.bare().to_owned(), jid);
            match change.act() {
                blocked::Act::Block => drop(self.blocked.insert(pair)),
                blocked::Act::Unblock => drop(self.blocked.remove(&pair)),
            }
        }
        let result = format!("<iq type='result' id='{}'/>", iq.id().unwrap());
        session.to_gateway.push_back(stanza(&result));
    }

    fn is_blocked(&self, one: &str, other: &str) -> bool {
        let pair = (bare(one).to_owned(), bare(other).to_owned());
        let reverse = (pair.1.clone(), pair.0.clone());
        self.blocked.contains(&pair) || self.blocked.contains(&reverse)
    }

    fn say_goodbye(&mut self, session: &mut Session) {
        session.available = None;
        for to in std::mem::take(&mut session.directed) {
            let presence = format!("<presence type='unavailable' to='{to}'/>");
            self.deliver(&session.full, &to, &stanza(&presence));
        }
    }

    /// Directed presence reaches the resources that are available (RFC 6121 §8.5.2).
    fn deliver(&mut self, from: &str, to: &str, presence: &Stanza) {
        if self.is_blocked(from, to) {
            return;
        }
        for session in self.sessions.values_mut() {
            let is_meant = session.full == to || session.bare() == to;
            if session.available.is_some() && is_meant {
                let (before, to) = (text(presence), session.full.clone());
                let after = before.replacen("<presence", &format!("<presence from='{from}'"), 1);
                let rewritten = match before.split(" to='").nth(1) {
                    Some(rest) if self.rewrites_to => {
                        let old = rest.split('\'').next().unwrap();
                        after.replace(&format!(" to='{old}'"), &format!(" to='{to}'"))
                    }
                    _ => after,
                };
                session.to_gateway.push_back(stanza(&rewritten));
            }
        }
    }

    /// Everything under way arrives, and the site notifies of all.
    fn come_to_rest(&mut self) {
        (0..USERS.len()).for_each(|user| self.apply(&Op::Refresh(user)));
        loop {
            for at in 0..USERS.len() * RESOURCES.len() {
                for op in [Op::Fetched(at), Op::ServerReads(at), Op::GatewayReads(at)] {
                    self.apply(&op);
                }
            }
            let mut sessions = self.sessions.values();
            if sessions.all(|it| it.to_server.is_empty() && it.to_gateway.is_empty()) {
                return;
            }
        }
    }

    fn check(&self) {
        let user = |bare: &str| USERS.iter().position(|jid| *jid == bare).unwrap();
        for session in self.sessions.values() {
            let mut expected = BTreeMap::new();
            for other in self.sessions.values() {
                let (a, b) = (user(session.bare()), user(other.bare()));
                let are_friends = self.friends.contains(&(a.min(b), a.max(b)));
                let may_see = are_friends && !self.is_blocked(&session.full, &other.full);
                if let Some(says) = other.says.as_ref().filter(|_| may_see) {
                    expected.insert(other.full.clone(), says.clone());
                }
            }
            if session.says.is_some() {
                assert_eq!(session.sees, expected, "seen by {}", session.full);
            }
        }
    }
}

fn friends_of(jids: &[&str]) -> Arc<Roster> {
    friends(jids)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]
    #[test]
    fn everything_is_seen_once(
        rewrites_to in any::<bool>(),
        friends in any::<bool>(),
        ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut world = World { rewrites_to, ..World::default() };
        if friends {
            world.friends = [(0, 1), (0, 2), (1, 2)].into();
        }
        ops.iter().for_each(|op| world.apply(op));
        world.come_to_rest();
        world.check();
        // Whoever is seen is seen to go.
        for user in 0..USERS.len() {
            (0..2).for_each(|resource| world.apply(&Op::Gone(2 * user + resource)));
            world.come_to_rest();
            world.check();
        }
    }
}

/// One announcement, and one answer.
#[test]
fn a_login_costs_two_stanzas_a_contact() {
    let mut world = World {
        friends: [(0, 1)].into(),
        ..World::default()
    };
    for op in [Op::Login(0), Op::Get(0), Op::Presence(0)] {
        world.apply(&op);
    }
    world.come_to_rest();
    let before = world.cost;
    for op in [Op::Login(2), Op::Get(2), Op::Presence(2)] {
        world.apply(&op);
    }
    world.come_to_rest();
    world.check();
    let own = 1;
    assert_eq!(world.cost - before - own, 2);
}

/// The lists of both sides change, one after the other: each announces itself, and the first answers the second.
#[test]
fn a_new_friendship_costs_three_stanzas() {
    let mut world = World::default();
    for op in [0, 2]
        .iter()
        .flat_map(|at| [Op::Login(*at), Op::Get(*at), Op::Presence(*at)])
    {
        world.apply(&op);
    }
    world.come_to_rest();
    let before = world.cost;
    world.apply(&Op::Friends(0, 1, true));
    for op in [
        Op::Refresh(0),
        Op::Fetched(0),
        Op::ServerReads(0),
        Op::GatewayReads(2),
    ] {
        world.apply(&op);
    }
    world.come_to_rest();
    world.check();
    assert_eq!(world.cost - before, 3);
}
