//! Stream management towards the server (XEP-0198), without resumption: which side owns which stanza.
//!
//! *From the server*: the gateway acknowledges a stanza when the web client has confirmed it, or when the gateway has
//! dealt with it alone. So the server still owns what is unconfirmed when a session ends, and stores it or sends it
//! elsewhere.
//!
//! *To the server*: the gateway remembers what the server has not acknowledged. When the stream breaks, the senders are
//! told.
//!
//! ```text
//!            Bound               <enabled/>
//!   (off) ----------> requested ------------> on
//!     ^-------------------+ <failed/>
//! ```
//!
//! The session counts the stanzas that it gives to the web client, those of the gateway included. This must not count
//! them itself.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Ledger, has_reached};
use crate::proto::{
    stanza::{IqType, Kind, MessageType, Stanza},
    xml::{Ns, write::Tag},
};

/// How long an answer waits while there is nothing new to acknowledge. ejabberd asks again as soon as it is answered,
/// so answers at once would never end; and it gives up a client that is silent for a minute.
const NOTHING_NEW: Duration = Duration::from_secs(15);
/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Least time between two questions, unless [`MANY`] stanzas are unacknowledged: each answer costs both sides as much
/// as a stanza.
const PACE: Duration = Duration::from_millis(100);
const MANY: usize = 32;
/// Stanzas of the client, and their bytes, that may wait for the server's acknowledgement.
const MAX_OUTSTANDING: usize = 512;
const MAX_OUTSTANDING_SIZE: usize = 4 << 20;

const ENABLE: Bytes = Bytes::from_static(b"<enable xmlns='urn:xmpp:sm:3'/>");
const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

/// The counters of one stream, in both directions.
#[derive(Debug, Default)]
pub struct StreamManagement {
    state: State,
    /// What the server has sent, and how much of it may be acknowledged.
    ledger: Ledger,
    /// The `h` that was sent last.
    acknowledged: u32,
    /// Since when the server has been waiting for an answer.
    asked: Option<Instant>,
    /// Stanzas sent, and how many of them the server has acknowledged, modulo 2^32.
    sent: u32,
    settled: u32,
    /// Stanzas sent in all, before stream management was on as well.
    sent_total: u64,
    /// Somebody waits until everything is settled.
    is_awaited: bool,
    /// Stanzas that the server has not acknowledged, in order.
    outstanding: VecDeque<Outstanding>,
    /// How many of them are kept, and their size in bytes.
    kept: usize,
    kept_size: usize,
    /// Since when we have been waiting for an answer.
    asking: Option<Instant>,
    /// When we may ask again.
    asks_again: Option<Instant>,
    /// The latest question that [`Self::ask`] has given out.
    wanted: Question,
    /// The latest question that has been sent.
    questioned: Question,
    /// The latest question that has been answered.
    answered: Question,
}

/// Names a question to the server (`<r/>`). All that is asked before it is sent shares it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Question(u64);

#[derive(Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Off,
    Requested,
    On,
}

/// Something sent.
#[derive(Debug)]
enum Outstanding {
    /// A stanza whose sender has to hear if it is lost.
    Kept(Stanza),
    /// That many stanzas whose loss nobody has to be told of.
    Others(u32),
}

impl StreamManagement {
    /// Whether the server offers it.
    pub fn is_offered(features: &Stanza) -> bool {
        features.may_have(Ns::Sm3) && features.children().any(|child| child.is(Ns::Sm3, "sm"))
    }

    /// The resource is bound: what to send before anything else.
    pub fn enable(&mut self) -> Bytes {
        self.state = State::Requested;
        ENABLE
    }

    /// Whether the server owns what the client has not confirmed.
    pub fn is_on(&self) -> bool {
        self.state == State::On
    }

    /// Whether it is neither on nor about to be.
    pub fn is_off(&self) -> bool {
        self.state == State::Off
    }

    // === From the server ===

    /// Deals with an element of stream management; false if `element` is none.
    pub fn handle_nonza(&mut self, element: &Stanza, now: Instant) -> bool {
        if element.kind() != Kind::Nonza || element.ns() != Ns::Sm3 {
            return false;
        }
        match element.local() {
            "enabled" if self.state == State::Requested => self.state = State::On,
            "failed" if self.state == State::Requested => self.reset(),
            "r" if self.is_on() => self.asked = self.asked.or(Some(now)),
            "a" if self.is_on() => {
                self.asking = None;
                self.answered = self.questioned;
                if let Some(h) = element.attribute("h").and_then(|h| h.parse().ok()) {
                    self.settle(h);
                }
            }
            _ => {}
        }
        true
    }

    /// A stanza of the server has been dealt with. By now, the web client has been given `given` stanzas in all, those
    /// included that this one led to.
    pub fn handle_stanza(&mut self, given: u64) {
        if self.is_on() {
            self.ledger.receive(given);
        }
    }

    /// The web client has confirmed the first `given` stanzas.
    pub fn handle_confirmation(&mut self, given: u64) {
        self.ledger.confirm(given);
    }

    /// How many stanzas the server still owns.
    pub fn unconfirmed(&self) -> u32 {
        self.ledger.unconfirmed()
    }

    // === To the server ===

    /// A stanza is being sent.
    pub fn sent(&mut self, stanza: &Stanza) {
        match stanza.kind() {
            Kind::Message(MessageType::Other) | Kind::Iq(IqType::Get | IqType::Set)
                if self.state != State::Off =>
            {
                self.sent = self.sent.wrapping_add(1);
                self.sent_total = self.sent_total.saturating_add(1);
                self.kept = self.kept.saturating_add(1);
                self.kept_size = self.kept_size.saturating_add(stanza.footprint());
                self.outstanding
                    .push_back(Outstanding::Kept(stanza.clone()));
            }
            Kind::Message(_) | Kind::Iq(_) | Kind::Presence(_) => self.sent_others(1),
            Kind::Features | Kind::StreamError | Kind::Nonza => {}
        }
    }

    /// `count` stanzas are being sent whose loss nobody has to be told of.
    pub fn sent_others(&mut self, count: u32) {
        self.sent_total = self.sent_total.saturating_add(count.into());
        if self.state == State::Off {
            return;
        }
        self.sent = self.sent.wrapping_add(count);
        if let Some(Outstanding::Others(others)) = self.outstanding.back_mut() {
            *others = others.saturating_add(count);
        } else {
            // All that there is in an idle session: no room for more.
            self.outstanding.reserve_exact(1);
            self.outstanding.push_back(Outstanding::Others(count));
        }
    }

    /// Wants a question sent to the server: at once, or as soon as the one before is answered.
    ///
    /// The server keeps to the order of the stream. So when the question [is answered](Self::is_answered), the gateway
    /// has read all that the server had sent by now.
    pub fn ask(&mut self) -> Question {
        self.wanted = Question(self.questioned.0.saturating_add(1));
        self.wanted
    }

    /// How many stanzas have been sent, modulo 2^32.
    pub fn sent_count(&self) -> u32 {
        self.sent
    }

    /// Whether the server has acknowledged the first `sent` stanzas. A server may acknowledge without being asked, so
    /// that it [has answered](Self::is_answered) does not tell.
    pub fn has_acknowledged(&self, sent: u32) -> bool {
        has_reached(self.settled, sent)
    }

    /// How many stanzas have been sent in all, with stream management or without.
    pub fn sent_total(&self) -> u64 {
        self.sent_total
    }

    /// How many of them nobody has to care for any more. Without stream management, that is each that is sent; after
    /// [`Self::take_outstanding`], it is each that has been taken as well.
    pub fn settled_total(&self) -> u64 {
        let outstanding = self.sent.wrapping_sub(self.settled);
        self.sent_total.saturating_sub(outstanding.into())
    }

    /// Wants the server asked, at the usual pace, until it has acknowledged everything. By itself, the gateway asks only
    /// about what somebody would miss.
    pub fn ask_to_settle(&mut self) {
        self.is_awaited = self.is_on() && self.sent != self.settled;
    }

    /// Whether the server has answered a question.
    pub fn is_answered(&self, question: Question) -> bool {
        self.answered >= question
    }

    /// True while so much is unacknowledged that the client should not be heard.
    pub fn is_full(&self) -> bool {
        self.kept >= MAX_OUTSTANDING || self.kept_size >= MAX_OUTSTANDING_SIZE
    }

    /// Takes the stanzas that the server has not acknowledged and whose senders have to be told.
    pub fn take_outstanding(&mut self) -> impl Iterator<Item = Stanza> + use<> {
        let outstanding = std::mem::take(&mut self.outstanding);
        self.reset();
        outstanding.into_iter().filter_map(|sent| match sent {
            Outstanding::Kept(stanza) => Some(stanza),
            Outstanding::Others(_) => None,
        })
    }

    /// Goes back to where nothing has been asked for.
    fn reset(&mut self) {
        *self = Self {
            sent_total: self.sent_total,
            ..Self::default()
        };
    }

    /// The server has handled `h` stanzas in all. An `h` that cannot be true is ignored.
    fn settle(&mut self, h: u32) {
        let mut count = h.wrapping_sub(self.settled);
        if count > self.sent.wrapping_sub(self.settled) {
            return;
        }
        self.settled = h;
        self.is_awaited &= self.sent != self.settled;
        while count > 0 {
            match self.outstanding.front_mut() {
                Some(Outstanding::Others(others)) if *others > count => {
                    *others = others.saturating_sub(count);
                    return;
                }
                Some(Outstanding::Others(others)) => count = count.saturating_sub(*others),
                Some(Outstanding::Kept(stanza)) => {
                    count = count.saturating_sub(1);
                    self.kept = self.kept.saturating_sub(1);
                    self.kept_size = self.kept_size.saturating_sub(stanza.footprint());
                }
                None => return,
            }
            self.outstanding.pop_front();
        }
    }

    // === What to do next ===

    /// What to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if !self.is_on() {
            return None;
        }
        let mut out = Vec::new();
        let overdue = self.answer_at().is_some_and(|at| at <= now);
        if self.ledger.acknowledgeable() != self.acknowledged || overdue {
            self.acknowledged = self.ledger.acknowledgeable();
            self.asked = None;
            let h = self.ledger.acknowledgeable();
            Tag::within(&mut out, "a").ns(Ns::Sm3).plain("h", h).empty();
        }
        let may_ask = self.kept >= MANY || self.asks_again.is_none_or(|at| at <= now);
        let is_awaited = self.wanted > self.questioned && self.asking.is_none();
        if is_awaited || self.wants_to_ask() && may_ask {
            self.asking = Some(now);
            self.questioned = self.wanted;
            self.asks_again = now.checked_add(PACE);
            out.extend_from_slice(REQUEST);
        }
        (!out.is_empty()).then(|| out.into())
    }

    /// When to call [`Self::poll_transmit`] and [`Self::is_unanswered`], if nothing else happens first.
    /// The latter only makes sense while the server is being read.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [self.answer_at(), self.ask_at(), self.give_up_at()];
        due.into_iter().flatten().min()
    }

    /// True when the server has not answered for so long that it will not.
    pub fn is_unanswered(&self, now: Instant) -> bool {
        self.give_up_at().is_some_and(|at| at <= now)
    }

    /// The server was not read for a while: its time to answer begins anew.
    pub fn excuse_server(&mut self, now: Instant) {
        self.asking = self.asking.map(|_| now);
    }

    fn answer_at(&self) -> Option<Instant> {
        self.asked?.checked_add(NOTHING_NEW)
    }

    /// When to ask the server what it has, if not at once.
    fn ask_at(&self) -> Option<Instant> {
        self.asks_again.filter(|_| self.wants_to_ask())
    }

    fn wants_to_ask(&self) -> bool {
        (self.kept > 0 || self.is_awaited) && self.asking.is_none()
    }

    fn give_up_at(&self) -> Option<Instant> {
        self.asking?.checked_add(ANSWER)
    }
}

#[cfg(test)]
impl StreamManagement {
    /// Lets the counters begin elsewhere than at 0: the server's stanzas, and ours.
    pub(super) fn count_from(&mut self, received: u32, sent: u32) {
        (self.ledger.received, self.ledger.acknowledgeable) = (received, received);
        self.acknowledged = received;
        (self.sent, self.settled) = (sent, sent);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests {
    use super::*;

    fn stanza(text: &'static str) -> Stanza {
        Stanza::parse(text).unwrap()
    }

    fn message(id: u32) -> Stanza {
        Stanza::parse(format!("<message id='{id}' to='a@b'/>")).unwrap()
    }

    fn on(now: Instant) -> StreamManagement {
        let mut sm = StreamManagement::default();
        assert_eq!(sm.enable(), ENABLE);
        assert!(sm.handle_nonza(&stanza("<enabled xmlns='urn:xmpp:sm:3'/>"), now));
        sm
    }

    fn told(sm: &mut StreamManagement, now: Instant) -> String {
        let bytes = sm.poll_transmit(now).unwrap_or_default();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn asks(sm: &mut StreamManagement, now: Instant) {
        assert!(sm.handle_nonza(&stanza("<r xmlns='urn:xmpp:sm:3'/>"), now));
    }

    fn acknowledges(sm: &mut StreamManagement, h: u32, now: Instant) {
        let a = Stanza::parse(format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")).unwrap();
        assert!(sm.handle_nonza(&a, now));
    }

    fn outstanding(sm: &mut StreamManagement) -> Vec<String> {
        let ids = sm
            .take_outstanding()
            .map(|stanza| stanza.id().unwrap().into_owned());
        ids.collect()
    }

    #[test]
    fn the_server_is_told_what_the_client_has_confirmed() {
        let now = Instant::now();
        let mut sm = on(now);
        // Seven were given before the server counted. Then one passes, one is consumed, two pass.
        for given in [8, 8, 9, 10] {
            sm.handle_stanza(given);
        }
        assert_eq!(sm.unconfirmed(), 4);
        assert_eq!(told(&mut sm, now), "");
        sm.handle_confirmation(8);
        assert_eq!(told(&mut sm, now), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
        assert_eq!(told(&mut sm, now), "", "once is enough");
        sm.handle_confirmation(10);
        assert_eq!(told(&mut sm, now), "<a xmlns='urn:xmpp:sm:3' h='4'/>");
        assert_eq!(sm.unconfirmed(), 0);
    }

    #[test]
    fn a_consumed_stanza_is_acknowledged_after_those_before_it() {
        let now = Instant::now();
        let mut sm = on(now);
        sm.handle_stanza(1);
        sm.handle_stanza(1);
        sm.handle_confirmation(0);
        assert_eq!(told(&mut sm, now), "");
        sm.handle_confirmation(1);
        assert_eq!(told(&mut sm, now), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
        sm.handle_stanza(1);
        sm.handle_confirmation(1);
        assert_eq!(told(&mut sm, now), "<a xmlns='urn:xmpp:sm:3' h='3'/>");
    }

    #[test]
    fn a_server_that_asks_in_vain_is_answered_in_time_and_not_at_once() {
        let now = Instant::now();
        let mut sm = on(now);
        sm.handle_stanza(1);
        asks(&mut sm, now);
        assert_eq!(told(&mut sm, now), "");
        assert_eq!(sm.poll_timeout(), Some(now + NOTHING_NEW));
        let later = now + NOTHING_NEW;
        assert_eq!(told(&mut sm, later), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
        asks(&mut sm, later);
        assert_eq!(told(&mut sm, later), "");
        sm.handle_confirmation(1);
        assert_eq!(told(&mut sm, later), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
        assert_eq!(sm.poll_timeout(), None);
    }

    #[test]
    fn unacknowledged_stanzas_come_back() {
        let now = Instant::now();
        let mut sm = StreamManagement::default();
        sm.sent(&message(0));
        sm.enable();
        sm.sent(&message(1));
        sm.handle_nonza(&stanza("<enabled xmlns='urn:xmpp:sm:3'/>"), now);
        sm.sent(&stanza("<presence/>"));
        sm.sent_others(3);
        sm.sent(&message(2));
        sm.sent(&message(3));
        assert_eq!(told(&mut sm, now), "<r xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(told(&mut sm, now), "", "one question at a time");
        acknowledges(&mut sm, 6, now);
        assert_eq!(outstanding(&mut sm), ["3"]);
    }

    #[test]
    fn the_server_is_not_asked_all_the_time_unless_there_is_much_to_ask_for() {
        const ASKED: &str = "<r xmlns='urn:xmpp:sm:3'/>";
        let now = Instant::now();
        let mut sm = on(now);
        sm.sent(&message(1));
        assert_eq!(told(&mut sm, now), ASKED);
        acknowledges(&mut sm, 1, now);
        assert_eq!(sm.poll_timeout(), None, "all is settled");

        sm.sent(&message(2));
        assert_eq!(told(&mut sm, now), "");
        assert_eq!(sm.poll_timeout(), Some(now + PACE));
        assert_eq!(told(&mut sm, now + PACE), ASKED);
        let now = now + PACE;
        acknowledges(&mut sm, 2, now);

        for id in 0..31 {
            sm.sent(&message(id));
        }
        assert_eq!(told(&mut sm, now), "");
        sm.sent(&message(31));
        assert_eq!(told(&mut sm, now), ASKED);
    }

    #[test]
    fn part_of_a_burst_may_be_acknowledged_and_nonsense_may_not() {
        let now = Instant::now();
        let mut sm = on(now);
        sm.sent_others(5);
        sm.sent(&message(1));
        acknowledges(&mut sm, 7, now);
        acknowledges(&mut sm, 3, now);
        acknowledges(&mut sm, 2, now);
        acknowledges(&mut sm, 5, now);
        assert_eq!(outstanding(&mut sm), ["1"]);
    }

    #[test]
    fn only_the_answer_to_a_question_sent_later_counts() {
        const ASKED: &str = "<r xmlns='urn:xmpp:sm:3'/>";
        let now = Instant::now();
        let mut sm = on(now);
        sm.sent(&message(1));
        assert_eq!(told(&mut sm, now), ASKED);
        let first = sm.ask();
        assert_eq!(told(&mut sm, now), "", "one question at a time");
        acknowledges(&mut sm, 1, now);
        assert!(!sm.is_answered(first), "that was asked before");
        assert_eq!(told(&mut sm, now), ASKED, "at once");
        let second = sm.ask();
        assert_eq!(sm.ask(), second, "which has not been sent");
        acknowledges(&mut sm, 1, now);
        assert!(sm.is_answered(first) && !sm.is_answered(second));
        assert_eq!(told(&mut sm, now), ASKED);
        acknowledges(&mut sm, 1, now);
        assert!(sm.is_answered(second));
        assert_eq!(told(&mut sm, now), "");
    }

    #[test]
    fn the_server_may_be_asked_where_nothing_was_sent_that_anybody_would_miss() {
        let now = Instant::now();
        let mut sm = on(now);
        sm.sent_others(2);
        assert_eq!(told(&mut sm, now), "");
        let question = sm.ask();
        let sent = sm.sent_count();
        assert_eq!(told(&mut sm, now), "<r xmlns='urn:xmpp:sm:3'/>");
        assert!(!sm.is_answered(question));
        acknowledges(&mut sm, 1, now);
        assert!(!sm.has_acknowledged(sent), "that was said unasked");
        acknowledges(&mut sm, 2, now);
        assert!(sm.is_answered(question) && sm.has_acknowledged(sent));
    }

    #[test]
    fn what_is_sent_and_settled_in_all_is_counted_with_and_without_stream_management() {
        let now = Instant::now();
        let mut sm = StreamManagement::default();
        let totals = |sm: &StreamManagement| (sm.sent_total(), sm.settled_total());
        sm.sent(&stanza("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"));
        sm.sent(&stanza("<iq type='set' id='bind'/>"));
        assert_eq!(totals(&sm), (1, 1));
        sm.enable();
        (sm.sent, sm.settled) = (u32::MAX, u32::MAX);
        sm.sent(&message(1));
        assert!(sm.handle_nonza(&stanza("<enabled xmlns='urn:xmpp:sm:3'/>"), now));
        sm.sent_others(3);
        assert_eq!(totals(&sm), (5, 1));
        acknowledges(&mut sm, 1, now);
        assert_eq!(totals(&sm), (5, 3));
        assert_eq!(sm.take_outstanding().count(), 0);
        assert_eq!(totals(&sm), (5, 5), "nobody misses the rest");
        sm.sent(&message(2));
        assert_eq!(totals(&sm), (6, 6));
    }

    #[test]
    fn a_refusal_changes_no_total() {
        let now = Instant::now();
        let mut sm = StreamManagement::default();
        sm.sent(&message(1));
        sm.enable();
        sm.sent(&message(2));
        assert!(sm.handle_nonza(&stanza("<failed xmlns='urn:xmpp:sm:3'/>"), now));
        assert_eq!((sm.sent_total(), sm.settled_total()), (2, 2));
    }

    #[test]
    fn the_server_is_asked_until_all_is_settled_if_somebody_waits_for_that() {
        const ASKED: &str = "<r xmlns='urn:xmpp:sm:3'/>";
        let now = Instant::now();
        let mut sm = on(now);
        sm.ask_to_settle();
        assert_eq!(told(&mut sm, now), "", "all is settled");
        sm.sent_others(2);
        assert_eq!(told(&mut sm, now), "");
        sm.ask_to_settle();
        assert_eq!(told(&mut sm, now), ASKED);
        acknowledges(&mut sm, 1, now);
        assert_eq!(told(&mut sm, now), "", "not all the time");
        assert_eq!(sm.poll_timeout(), Some(now + PACE));
        assert_eq!(told(&mut sm, now + PACE), ASKED);
        acknowledges(&mut sm, 2, now);
        sm.sent_others(1);
        assert_eq!(told(&mut sm, now + 9 * PACE), "");
        assert_eq!(sm.poll_timeout(), None);
    }

    #[test]
    fn counters_wrap() {
        let now = Instant::now();
        let mut sm = on(now);
        (sm.sent, sm.settled) = (u32::MAX, u32::MAX);
        sm.sent(&message(1));
        sm.sent(&message(2));
        acknowledges(&mut sm, 0, now);
        assert_eq!(outstanding(&mut sm), ["2"]);
    }

    #[test]
    fn a_server_that_will_not_have_it_is_not_counted_for() {
        let now = Instant::now();
        let mut sm = StreamManagement::default();
        sm.enable();
        sm.sent(&message(1));
        assert!(sm.handle_nonza(&stanza("<failed xmlns='urn:xmpp:sm:3'/>"), now));
        sm.sent(&message(2));
        sm.handle_stanza(1);
        assert_eq!((sm.is_on(), sm.unconfirmed()), (false, 0));
        assert_eq!(told(&mut sm, now), "");
        assert!(outstanding(&mut sm).is_empty());
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up() {
        let now = Instant::now();
        let mut sm = on(now);
        sm.sent(&message(1));
        told(&mut sm, now);
        assert!(!sm.is_unanswered(now));
        assert!(sm.is_unanswered(now + ANSWER));
        sm.excuse_server(now + ANSWER);
        assert!(!sm.is_unanswered(now + ANSWER));
        acknowledges(&mut sm, 1, now);
        assert!(!sm.is_unanswered(now + 3 * ANSWER));
    }

    #[test]
    fn too_much_unacknowledged_is_noticed() {
        let now = Instant::now();
        let mut sm = on(now);
        for id in 0..511 {
            sm.sent(&message(id));
        }
        assert!(!sm.is_full());
        sm.sent(&message(511));
        assert!(sm.is_full());
        acknowledges(&mut sm, 1, now);
        assert!(!sm.is_full());
    }
}
