use super::*;
use crate::{
    proto::{
        stanza::scan_body,
        stream::initiator::{Event, Stream},
        xml::Limits,
    },
    roster::{Contact, Subscription},
};

mod blocking;
mod features;
mod messages;
mod passing;
mod presence;
mod presence_again;
mod presence_model;
mod roster;

const FULL: &str = "john@example.org/web";
const BARE: &str = "john@example.org";

/// A pipe with readable effects.
struct Harness(Pipe);

fn stanza(text: &str) -> Stanza {
    Stanza::parse(text.to_owned()).unwrap()
}

fn text(stanza: &Stanza) -> String {
    String::from_utf8(stanza.chunks().flatten().collect()).unwrap()
}

fn contact(jid: &str, subscription: Subscription) -> Contact {
    Contact {
        jid: jid.parse().unwrap(),
        name: None,
        groups: Vec::new(),
        subscription,
    }
}

fn roster(contacts: &[(&str, Subscription)]) -> Arc<Roster> {
    Arc::new(Roster::new(
        contacts
            .iter()
            .map(|(jid, sub)| contact(jid, *sub))
            .collect(),
    ))
}

fn friends(jids: &[&str]) -> Arc<Roster> {
    Arc::new(Roster::new(
        jids.iter()
            .map(|jid| contact(jid, Subscription::Both))
            .collect(),
    ))
}

impl Harness {
    fn unbound(rules: Rules) -> Self {
        Self(Pipe::new(rules, "example.org"))
    }

    fn new(rules: Rules) -> Self {
        let mut harness = Self::unbound(rules);
        let effects = harness.server(&format!(
            "<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{FULL}</jid>\
             </bind></iq>"
        ));
        assert_eq!(effects.last().map(String::as_str), Some("bound"));
        harness
    }

    fn bound() -> Self {
        Self::new(Rules {
            rosters: true,
            directed: true,
            manages_streams: false,
            contacts_only: false,
        })
    }

    /// A client that is available and has its roster.
    fn online(roster: &Arc<Roster>) -> Self {
        let mut harness = Self::bound();
        harness.client("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        harness.ready(roster);
        harness.client("<presence/>");
        harness
    }

    fn client(&mut self, text: &str) -> Vec<String> {
        self.0.client_stanza(stanza(text));
        self.effects()
    }

    fn server(&mut self, text: &str) -> Vec<String> {
        self.0.server_stanza(stanza(text));
        self.effects()
    }

    fn ready(&mut self, roster: &Arc<Roster>) -> Vec<String> {
        self.0.roster_ready(roster);
        self.effects()
    }

    fn anew(&mut self) -> Vec<String> {
        self.0.begin_anew();
        self.effects()
    }

    fn effects(&mut self) -> Vec<String> {
        // Until there is nothing more, however many steps it takes.
        let next = || loop {
            let effect = self.0.poll_effect(true);
            if effect.is_some() || !self.0.is_telling() {
                return effect;
            }
        };
        std::iter::from_fn(next)
            .map(|effect| match effect {
                Effect::Bound => "bound".into(),
                Effect::NeedRoster => "need".into(),
                Effect::ToClient(stanza) => format!("C {}", text(&stanza)),
                Effect::ToServer(stanza) => format!("S {}", text(&stanza)),
                Effect::Refused { answer, sender } => {
                    let answer = answer.as_ref().map(text);
                    format!("refused to {sender:?}: {}", answer.unwrap_or_default())
                }
                Effect::IfWelcome { other, .. } => format!("if {other} agrees"),
                Effect::TellAccount(change) => format!("tell {:?}", change.act()),
                Effect::Block(stanza, change) => {
                    format!("{:?} {}", change.act(), text(&stanza))
                }
                Effect::ToServerMany { bytes, .. } => {
                    format!("S {}", String::from_utf8_lossy(&bytes))
                }
            })
            .map(|text| text.replace(" xmlns='jabber:client'", ""))
            .collect()
    }
}

const GET: &str = "<iq type='get' id='r1'><query xmlns='jabber:iq:roster' ver='x'/></iq>";

fn push(number: u32, item: &str) -> String {
    format!(
        "C <iq type='set' id='rostergate-push-{number}' to='{FULL}'>\
         <query xmlns='jabber:iq:roster'>{item}</query></iq>"
    )
}

/// What announces the client to a contact.
fn hello(jid: &str, says: &str) -> String {
    format!("S {}", marked("hello", jid, says))
}

/// What tells a contact of the client's presence and needs no answer.
fn news(jid: &str, says: &str) -> String {
    format!("S {}", marked("news", jid, says))
}

fn marked(mark: &str, jid: &str, says: &str) -> String {
    let head = format!("<presence to='{jid}' id='rostergate-{mark}'");
    match says {
        "" => format!("{head}/>"),
        says => format!("{head}>{says}</presence>"),
    }
}

fn unavailable_from(jid: &str) -> String {
    format!("C <presence type='unavailable' from='{jid}' to='{FULL}'/>")
}
