//! Members: which gateways there are, and whether this one may be one of them. Time is an argument.
//!
//! ```text
//!            own hello is heard, nobody                own hello is not heard for 3 s
//!            has the name for 0.5 s; for 4 s           (NATS is away), or time has jumped
//!            if others may be there
//!  Joining ----------------------------> Member ------------------------------> Joining
//!     |                                    |
//!     | a member has the name              | a member that was there earlier has the name
//!     v                                    v
//!  Refused -------- it has not been heard for 4 s --------> Joining
//! ```
//!
//! Another gateway has gone if it is not heard for 4 s while own hellos come back. If these do not either, it is not known
//! who is there. And if what NATS has held up comes all at once, nobody is gone whose hellos come after the own ones.
//!
//! Who has just been started does not know of others that stand still for a moment. So it waits until a member is heard whose
//! others have all been heard, or until whoever is not heard counts as gone.
//!
//! Each gateway says hello twice in a second, and at once when one asks who is there by a hello that says `joining`. A
//! gateway that was away, or alone, may have missed something: it has to look again ([`Change::Missed`]). So have those who
//! hear that another one joins again, as that could not pass on what it was told.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    time::{Duration, Instant},
};

use super::wire::Hello;
use crate::config::NodeName;

/// How often a gateway says hello.
pub const EACH: Duration = Duration::from_millis(500);
/// How long a gateway may be silent before it counts as gone.
pub const SILENCE: Duration = Duration::from_secs(4);
/// Own hellos that have come back meanwhile, at least, and the time between those that count.
const BEATS: u8 = 6;
const BEAT: Duration = Duration::from_millis(375);
/// How long a gateway may not hear its own hello. Less than [`SILENCE`], so that whoever counts as gone knows that it has missed
/// something.
pub const ALONE: Duration = Duration::from_secs(3);
/// How old a question may be. It names the latest hello that its sender had heard of this gateway, which is the older the
/// longer the question was on its way. Its sender gives up when it has been [`ALONE`], and what it has given up must not
/// be done afterwards. A hello may be said [`EACH`] later than another one, so this is so much less.
pub const FRESH: Duration = Duration::from_millis(2500);
/// Most own hellos whose time is remembered for that.
const REMEMBERED: usize = 64;
/// How long a gateway listens whether its name is free, once NATS is there.
pub const JOINING: Duration = Duration::from_millis(500);
/// How long it is remembered that a gateway has said goodbye: a hello may come after it.
const FAREWELL: Duration = Duration::from_secs(10);
/// And that one has gone without: for as long as anybody may be cut off.
const LOST: Duration = Duration::from_secs(3600);
/// Most members.
const MOST: usize = 256;

/// A gateway of the cluster, other than this one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its name.
    pub node: NodeName,
    /// The version of its program; `None` if it speaks another version of the protocol.
    pub version: Option<String>,
    /// How many sessions it had when it was heard last.
    pub sessions: u32,
    /// When it was started, since 1970, milliseconds; `None` as with the version.
    pub began: Option<u64>,
}

/// Why nobody can be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// NATS is not there, or it is not known yet who else is.
    Away,
    /// Another gateway has the name of this one.
    NameTaken,
}

/// What has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A gateway has come.
    Came(Member),
    /// A gateway has gone: said goodbye, or was not heard.
    Left(NodeName, Farewell),
    /// A gateway that was out of reach is there again. What it was asked before, and what it said, may be lost.
    Returned(NodeName),
    /// A gateway is not heard, as there are too many.
    NoRoom(NodeName),
    /// This gateway is a member now.
    Joined,
    /// NATS is not there any longer.
    Lost,
    /// This gateway may have missed what the others were told.
    Missed,
    /// Another gateway has the name: this one is no member.
    NameTaken,
    /// A gateway asks who is there: say hello.
    SayHello,
}

/// How a gateway has gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Farewell {
    /// In good order.
    Said,
    /// Nothing has been heard of it.
    Silent,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Joining {
        /// When the first own hello came back.
        heard: Option<Instant>,
        /// Whether something may have been missed before.
        again: bool,
        /// Whether all others are known.
        knows_all: bool,
    },
    Member,
    Refused {
        /// When the other was last heard.
        heard: Instant,
    },
}

#[derive(Debug)]
struct Known {
    incarnation: u64,
    number: u64,
    heard: Instant,
    /// Own hellos that have come back since then.
    beats: u8,
    /// It joins again, as it was out of reach.
    was_away: bool,
    member: Member,
}

/// A gateway that has gone.
#[derive(Debug)]
struct Gone {
    incarnation: u64,
    farewell: Farewell,
    /// When it was heard last.
    heard: Instant,
    /// `None` if it was no member.
    member: Option<Member>,
}

impl Gone {
    fn is_remembered(&self, now: Instant) -> bool {
        let limit = match self.farewell {
            Farewell::Said => FAREWELL,
            Farewell::Silent => LOST,
        };
        now.saturating_duration_since(self.heard) < limit
    }
}

/// Who is there.
#[derive(Debug)]
pub struct Members {
    own: NodeName,
    /// What this gateway has drawn at its start.
    incarnation: u64,
    /// When it was started, since 1970, milliseconds.
    began: u64,
    standing: Standing,
    others: BTreeMap<NodeName, Known>,
    /// Who has gone.
    gone: HashMap<NodeName, Gone>,
    /// When the last own hello came back.
    echo: Option<Instant>,
    /// When the last one came back that counts.
    beat: Option<Instant>,
    said: u64,
    /// When the latest own hellos were said, by number.
    fresh: VecDeque<(u64, Instant)>,
    ticked: Instant,
    due: Instant,
}

impl Members {
    /// Nobody is known yet. `incarnation` is drawn for each start; `began` is when that was, in milliseconds since 1970.
    pub fn new(own: NodeName, incarnation: u64, began: u64, now: Instant) -> Self {
        Self {
            own,
            incarnation,
            began,
            standing: Standing::Joining {
                heard: None,
                again: false,
                knows_all: false,
            },
            others: BTreeMap::new(),
            gone: HashMap::new(),
            echo: None,
            beat: None,
            said: 0,
            fresh: VecDeque::new(),
            ticked: now,
            due: now,
        }
    }

    /// The hello that is due, if it is.
    pub fn poll_hello(&mut self, sessions: usize, now: Instant) -> Option<Hello> {
        if now < self.due {
            return None;
        }
        Some(self.hello(sessions, now))
    }

    /// A hello of this gateway.
    pub fn hello(&mut self, sessions: usize, now: Instant) -> Hello {
        self.due = now + EACH;
        self.said += 1;
        if self.fresh.len() >= REMEMBERED {
            self.fresh.pop_front();
        }
        self.fresh.push_back((self.said, now));
        Hello {
            number: self.said,
            began: self.began,
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            joining: self.standing != Standing::Member,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            others: match self.standing {
                Standing::Member => self.others.keys().cloned().collect(),
                _ => Vec::new(),
            },
        }
    }

    /// Somebody says hello. `incarnation` is the id of the message.
    pub fn handle_hello(
        &mut self,
        from: &NodeName,
        incarnation: u64,
        hello: &Hello,
        now: Instant,
    ) -> Vec<Change> {
        if *from != self.own {
            let mut changes = Vec::new();
            if hello.joining {
                let known = self.others.get_mut(from);
                if let Some(known) = known.filter(|it| it.incarnation == incarnation) {
                    known.number = known.number.max(hello.number);
                    // It cannot be asked, but it is not gone.
                    (known.heard, known.beats) = (now, 0);
                    if !mem::replace(&mut known.was_away, true) {
                        // It could not pass on what it was told.
                        changes.extend([Change::Returned(from.clone()), Change::Missed]);
                    }
                }
                // Two that join would answer each other without end.
                if self.standing == Standing::Member {
                    changes.push(Change::SayHello);
                }
            } else {
                self.hear(from, incarnation, Some(hello), now, &mut changes);
                self.compare(hello);
            }
            return changes;
        }
        if incarnation == self.incarnation {
            self.echo = Some(now);
            self.beat(now);
            return self.advance(now);
        }
        self.handle_namesake(incarnation, hello, now)
    }

    /// Somebody who speaks another version says hello.
    pub fn handle_foreign(
        &mut self,
        from: &NodeName,
        incarnation: u64,
        now: Instant,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if *from == self.own {
            self.refuse(now, &mut changes);
        } else {
            self.hear(from, incarnation, None, now, &mut changes);
        }
        changes
    }

    /// Somebody says goodbye.
    pub fn handle_goodbye(
        &mut self,
        from: &NodeName,
        incarnation: u64,
        now: Instant,
    ) -> Option<Change> {
        let Some(known) = self.others.get_mut(from) else {
            // Its hello may still come.
            let gone = Gone {
                incarnation,
                farewell: Farewell::Said,
                heard: now,
                member: None,
            };
            self.remember(from, gone);
            return None;
        };
        if known.incarnation != incarnation {
            return None;
        }
        known.heard = now;
        Some(self.forget(from.clone(), Farewell::Said))
    }

    /// There is a connection to NATS.
    pub fn handle_connect(&mut self, now: Instant) {
        self.due = now;
    }

    /// The connection to NATS has broken.
    pub fn handle_disconnect(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        self.lose(now, &mut changes);
        changes
    }

    /// Time has passed; to be called several times in a second.
    pub fn handle_tick(&mut self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let passed = now.saturating_duration_since(self.ticked);
        self.ticked = now;
        let is_silent = |since: Instant| now.saturating_duration_since(since) >= SILENCE;
        let is_alone = |since: Instant| now.saturating_duration_since(since) >= ALONE;
        self.gone.retain(|_, gone| gone.is_remembered(now));
        let echo_lost = self.echo.is_none_or(is_alone);
        match self.standing {
            // Nothing has been read for so long, so whatever is known may be wrong.
            _ if passed >= ALONE => self.lose(now, &mut changes),
            Standing::Member if echo_lost => self.lose(now, &mut changes),
            Standing::Joining { heard: Some(_), .. } if echo_lost => self.lose(now, &mut changes),
            Standing::Refused { heard } if is_silent(heard) => {
                self.standing = Standing::Joining {
                    heard: None,
                    again: true,
                    knows_all: true,
                };
            }
            _ => {}
        }
        // Without NATS nobody is heard, and nobody has gone.
        if self.standing == Standing::Member {
            let is_gone = |it: &Known| is_silent(it.heard) && it.beats >= BEATS;
            let silent = self.others.iter().filter(|(_, it)| is_gone(it));
            let silent: Vec<_> = silent.map(|(node, _)| node.clone()).collect();
            for node in silent {
                changes.push(self.forget(node, Farewell::Silent));
            }
        }
        changes.extend(self.advance(now));
        changes
    }

    /// The others that are heard of.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.others.values().map(|it| &it.member)
    }

    /// Those that have gone without a goodbye, and have not come again; how long each has not been heard.
    pub fn lost(&self, now: Instant) -> impl Iterator<Item = (&Member, Duration)> {
        let gone = self.gone.values();
        let silent = gone.filter(|gone| gone.farewell == Farewell::Silent);
        silent.filter_map(move |gone| {
            let silence = now.saturating_duration_since(gone.heard);
            Some((gone.member.as_ref()?, silence))
        })
    }

    /// Whether a gateway of this name is heard of.
    pub fn knows(&self, node: &str) -> bool {
        self.others.contains_key(node)
    }

    /// The number of the latest hello of a gateway, if that is heard of: questions to it name that.
    pub fn heard_of(&self, node: &str) -> Option<u64> {
        self.others.get(node).map(|it| it.number)
    }

    /// Whether a question is recent enough to be answered, whose sender had heard this hello of ours.
    pub fn is_fresh(&self, heard: u64, now: Instant) -> bool {
        let mut fresh = self.fresh.iter().rev();
        let said = fresh.find(|(number, _)| *number == heard);
        said.is_some_and(|(_, said)| now.saturating_duration_since(*said) <= FRESH)
    }

    /// An own hello has come back. What comes at once after an outage counts once.
    fn beat(&mut self, now: Instant) {
        let is_early = |last: Instant| now.saturating_duration_since(last) < BEAT;
        if self.beat.is_some_and(is_early) {
            return;
        }
        self.beat = Some(now);
        for known in self.others.values_mut() {
            known.beats = known.beats.saturating_add(1);
        }
    }

    /// Why nobody can be asked.
    pub fn trouble(&self) -> Option<Trouble> {
        match self.standing {
            Standing::Member => None,
            Standing::Joining { .. } => Some(Trouble::Away),
            Standing::Refused { .. } => Some(Trouble::NameTaken),
        }
    }

    fn hear(
        &mut self,
        from: &NodeName,
        incarnation: u64,
        // None if it speaks another version.
        hello: Option<&Hello>,
        now: Instant,
        changes: &mut Vec<Change>,
    ) {
        let gone = self.gone.get(from);
        let gone = gone.filter(|gone| gone.incarnation == incarnation);
        if gone.is_some_and(|gone| gone.farewell == Farewell::Said) {
            return;
        }
        let has_returned = gone.is_some();
        let number = hello.map_or(u64::MAX, |hello| hello.number);
        let member = Member {
            node: from.clone(),
            version: hello.map(|hello| hello.version.clone()),
            sessions: hello.map_or(0, |hello| hello.sessions),
            began: hello.map(|hello| hello.began),
        };
        if let Some(known) = self.others.get_mut(from) {
            if known.incarnation == incarnation {
                (known.heard, known.beats) = (now, 0);
                // An earlier one may come later.
                if number >= known.number {
                    (known.number, known.member, known.was_away) = (number, member, false);
                }
                return;
            }
            changes.push(self.forget(from.clone(), Farewell::Silent));
        }
        if self.others.len() >= MOST {
            changes.push(Change::NoRoom(from.clone()));
            return;
        }
        self.gone.remove(from);
        let known = Known {
            incarnation,
            number,
            heard: now,
            beats: 0,
            was_away: false,
            member: member.clone(),
        };
        self.others.insert(from.clone(), known);
        changes.push(Change::Came(member));
        if has_returned {
            changes.push(Change::Missed);
        }
    }

    /// A member says whom it hears of.
    fn compare(&mut self, hello: &Hello) {
        let is_known = |node: &NodeName| *node == self.own || self.others.contains_key(node);
        if hello.others.iter().all(is_known)
            && let Standing::Joining { knows_all, .. } = &mut self.standing
        {
            *knows_all = true;
        }
    }

    /// Another gateway has the name of this one. Who was there first stays.
    fn handle_namesake(&mut self, incarnation: u64, hello: &Hello, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        let is_member = self.standing == Standing::Member;
        let yields = match (is_member, hello.joining) {
            (true, true) => false,
            (false, false) => true,
            _ => (self.began, self.incarnation) > (hello.began, incarnation),
        };
        if yields {
            self.refuse(now, &mut changes);
        } else {
            changes.push(Change::SayHello);
        }
        changes
    }

    fn refuse(&mut self, now: Instant, changes: &mut Vec<Change>) {
        if !matches!(self.standing, Standing::Refused { .. }) {
            changes.push(Change::NameTaken);
        }
        self.standing = Standing::Refused { heard: now };
    }

    fn lose(&mut self, now: Instant, changes: &mut Vec<Change>) {
        self.echo = None;
        let (again, knows_all) = match self.standing {
            Standing::Member => {
                changes.push(Change::Lost);
                (true, true)
            }
            Standing::Joining {
                again, knows_all, ..
            } => (again, knows_all),
            Standing::Refused { .. } => return,
        };
        self.standing = Standing::Joining {
            heard: None,
            again,
            knows_all,
        };
        // Says it as soon as it can.
        self.due = now;
    }

    /// Becomes a member when it is time.
    fn advance(&mut self, now: Instant) -> Vec<Change> {
        let Standing::Joining {
            heard,
            again,
            knows_all,
        } = self.standing
        else {
            return Vec::new();
        };
        let Some(since) = heard.or(self.echo) else {
            return Vec::new();
        };
        let wait = if knows_all { JOINING } else { SILENCE };
        if now.saturating_duration_since(since) < wait {
            self.standing = Standing::Joining {
                heard: Some(since),
                again,
                knows_all,
            };
            return Vec::new();
        }
        self.standing = Standing::Member;
        if knows_all {
            // Those that have gone meanwhile have as long as any other.
            for known in self.others.values_mut() {
                (known.heard, known.beats) = (now, 0);
            }
        }
        // The hello that says so tells the others that questions are listened to.
        let mut changes = vec![Change::Joined, Change::SayHello];
        if again {
            changes.push(Change::Missed);
        }
        changes
    }

    fn forget(&mut self, node: NodeName, farewell: Farewell) -> Change {
        if let Some(known) = self.others.remove(&node) {
            let gone = Gone {
                incarnation: known.incarnation,
                farewell,
                heard: known.heard,
                member: Some(known.member),
            };
            self.remember(&node, gone);
        }
        Change::Left(node, farewell)
    }

    fn remember(&mut self, node: &NodeName, gone: Gone) {
        if self.gone.len() < MOST || self.gone.contains_key(node) {
            self.gone.insert(node.clone(), gone);
        }
    }
}
