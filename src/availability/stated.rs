//! What a client says of itself by its presence (RFC 6121 §4.7).

use serde::{Deserialize, Serialize};

use crate::proto::{stanza::Stanza, xml::Ns};

/// Longest text that is kept, bytes.
const MAX_STATUS: usize = 512;

/// `<show/>`: how available somebody is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Show {
    /// Wants to talk.
    Chat,
    /// Away for a short time.
    Away,
    /// Away for an extended time.
    Xa,
    /// Does not want to be disturbed.
    Dnd,
}

impl Show {
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "chat" => Some(Self::Chat),
            "away" => Some(Self::Away),
            "xa" => Some(Self::Xa),
            "dnd" => Some(Self::Dnd),
            _ => None,
        }
    }

    /// In the words of the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Away => "away",
            Self::Xa => "xa",
            Self::Dnd => "dnd",
        }
    }
}

/// What an available presence says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stated {
    /// How available; `None`: simply there.
    pub show: Option<Show>,
    /// The text beside it, never empty.
    pub status: Option<Box<str>>,
    /// `<priority/>`: of two resources, the one with the higher one speaks for the user.
    pub priority: i8,
}

impl Stated {
    /// Reads a presence. What is no show or priority counts as absent; of several texts, the first counts.
    pub fn of(presence: &Stanza) -> Self {
        let mut stated = Self::default();
        for child in presence.children().filter(|child| child.ns == Ns::Client) {
            match child.local() {
                "show" => stated.show = stated.show.or_else(|| Show::parse(&child.text())),
                "status" if stated.status.is_none() => stated.status = cut(child.text().trim()),
                "priority" => stated.priority = child.text().trim().parse().unwrap_or_default(),
                _ => {}
            }
        }
        stated
    }

    /// Orders resources of one user: the highest speaks for the user. Whoever is there comes before whoever is away.
    pub(super) fn rank(&self) -> (i8, u8) {
        let show = match self.show {
            Some(Show::Xa) => 0,
            Some(Show::Away) => 1,
            Some(Show::Dnd) => 2,
            None => 3,
            Some(Show::Chat) => 4,
        };
        (self.priority, show)
    }

    /// Whether people see the same.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        (self.show, &self.status) == (other.show, &other.status)
    }
}

/// The text, as much of it as is kept; `None` for an empty one.
fn cut(text: &str) -> Option<Box<str>> {
    let end = text.floor_char_boundary(MAX_STATUS);
    let text = text.get(..end).unwrap_or_default();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(content: &str) -> Stated {
        let presence = format!("<presence xmlns='jabber:client'>{content}</presence>");
        Stated::of(&Stanza::parse(presence).unwrap())
    }

    #[test]
    fn a_presence_is_read() {
        assert_eq!(stated(""), Stated::default());
        let all = stated(
            "<priority>5</priority><status xml:lang='de'>Mittag &amp; Kaffee</status>\
             <status>lunch</status><show> away </show><x xmlns='jabber:x'><status>no</status></x>",
        );
        assert_eq!(all.show.map(Show::as_str), Some("away"));
        assert_eq!(all.status.as_deref(), Some("Mittag & Kaffee"));
        assert_eq!(all.priority, 5);
        for show in ["chat", "away", "xa", "dnd"] {
            let read = stated(&format!("<show>{show}</show>")).show;
            assert_eq!(read.map(Show::as_str), Some(show));
        }
    }

    #[test]
    fn what_makes_no_sense_counts_as_absent() {
        let odd = "<show>busy</show><priority>999</priority><status> </status>\
                   <show xmlns='jabber:x'>away</show>";
        assert_eq!(stated(odd), Stated::default());
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let long = stated(&format!("<status>a{}</status>", "ü".repeat(MAX_STATUS)));
        let kept = long.status.unwrap();
        assert_eq!(kept.len(), MAX_STATUS - 1);
        assert!(kept.ends_with('ü'));
    }

    #[test]
    fn the_one_with_the_priority_speaks_and_then_the_one_who_is_there() {
        let of = |show: &str, priority: i8| {
            stated(&format!("{show}<priority>{priority}</priority>")).rank()
        };
        assert!(of("<show>xa</show>", 1) > of("<show>chat</show>", 0));
        let order = ["xa", "away", "dnd", "", "chat"];
        let ranks = order.map(|show| of(&format!("<show>{show}</show>"), 0));
        assert!(ranks.is_sorted(), "{ranks:?}");
    }
}
