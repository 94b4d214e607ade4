//! What members have to be told that are not heard: those that were only cut off are told when they are heard again.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    clock::now,
    cluster::{Member, NodeName, Question},
};

/// How long it is remembered: as long as that a member is not heard.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Most that is remembered; the oldest is forgotten.
const MOST: usize = 10_000;

/// What a member has to be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owed {
    pub(super) node: NodeName,
    /// Which start of it: one that is started again has nothing of before.
    began: Option<u64>,
    pub(super) question: Question,
    pub(super) body: Bytes,
}

/// All of that.
#[derive(Debug, Default)]
pub(super) struct Debts(VecDeque<(Instant, Owed)>);

impl Debts {
    /// Remembers that `member` is to be told this.
    pub(super) fn add(&mut self, member: &Member, question: Question, body: Bytes) {
        let owed = Owed {
            node: member.node.clone(),
            began: member.began,
            question,
            body,
        };
        self.push(owed, now());
    }

    fn push(&mut self, owed: Owed, now: Instant) {
        if self.0.iter().any(|(_, known)| *known == owed) {
            return;
        }
        let is_old = |since: &Instant| now.saturating_duration_since(*since) >= REMEMBERED;
        while self
            .0
            .front()
            .is_some_and(|(since, _)| is_old(since) || self.0.len() >= MOST)
        {
            self.0.pop_front();
        }
        self.0.push_back((now, owed));
    }

    /// Takes out what can be told now, as these are heard.
    pub(super) fn due(&mut self, members: &[Member]) -> Vec<Owed> {
        let member_of = |owed: &Owed| members.iter().find(|it| it.node == owed.node);
        let (heard, others) = mem::take(&mut self.0)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, owed)| member_of(owed).is_some());
        self.0 = others;
        let is_same = |owed: &Owed| member_of(owed).is_some_and(|it| it.began == owed.began);
        let heard = heard.into_iter().map(|(_, owed)| owed);
        heard.filter(is_same).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, began: u64) -> Member {
        Member {
            node: NodeName::new(name).unwrap(),
            version: None,
            sessions: 0,
            began: Some(began),
        }
    }

    #[test]
    fn it_is_for_the_same_start_of_the_same_member_and_for_an_hour() {
        let mut debts = Debts::default();
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        for name in ["a", "b", "b"] {
            debts.add(&member(name, 1), Question::EndSessions, body("john"));
        }
        let told = |debts: &mut Debts, members: &[Member]| -> Vec<_> {
            let due = debts.due(members).into_iter();
            due.map(|it| it.node.to_string()).collect()
        };
        assert_eq!(told(&mut debts, &[member("c", 1)]), [""; 0]);
        assert_eq!(told(&mut debts, &[member("b", 1)]), ["b"]);
        assert_eq!(told(&mut debts, &[member("b", 1)]), [""; 0]);
        assert_eq!(told(&mut debts, &[member("a", 2)]), [""; 0]);
        assert_eq!(told(&mut debts, &[member("a", 1)]), [""; 0], "it has gone");

        debts.add(&member("a", 1), Question::EndSessions, body("john"));
        let later = now() + REMEMBERED;
        let mut owed = debts.0[0].1.clone();
        owed.body = body("marie");
        debts.push(owed.clone(), later);
        assert_eq!(debts.due(&[member("a", 1)]), [owed.clone()]);
        for number in 0..=MOST {
            owed.body = Bytes::from(number.to_string());
            debts.push(owed.clone(), later);
        }
        assert_eq!(debts.0.len(), MOST);
    }
}
