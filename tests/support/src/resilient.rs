//! Resilient client: gets its messages through, whatever the network does.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    bosh::Bosh,
    http::{Connection, Endpoint, Response},
    xml::{CLIENT, Element, PING, message},
};

/// Most requests that are open at once.
const WINDOW: u64 = 2;
/// Longest time that the client holds a request back on purpose.
const HESITATION: Duration = Duration::from_millis(20);

/// What it has done on purpose, and browsers and their pages do by accident.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    /// Requests sent after a later one.
    pub swapped: usize,
    /// Requests sent twice at once.
    pub doubled: usize,
    /// Requests sent again because they got no answer.
    pub repeated: usize,
}

pub struct Resilient {
    session: Bosh,
    acknowledges: bool,
    dice: fastrand::Rng,
    /// By rid: requests that are unanswered or have copies on their way.
    open: BTreeMap<u64, Open>,
    attempts: JoinSet<(u64, Option<Response>)>,
    next_answer: u64,
    early: BTreeMap<u64, Element>,
    /// What has come, in order.
    inbox: Vec<Element>,
    mischief: Mischief,
}

struct Open {
    document: String,
    answered: bool,
    /// Copies on their way.
    copies: usize,
}

impl Resilient {
    /// Takes over a session that has no open request.
    pub fn new(session: Bosh, acknowledges: bool, seed: u64) -> Self {
        Self {
            next_answer: session.rid + 1,
            session,
            acknowledges,
            dice: fastrand::Rng::with_seed(seed),
            open: BTreeMap::new(),
            attempts: JoinSet::new(),
            early: BTreeMap::new(),
            inbox: Vec::new(),
            mischief: Mischief::default(),
        }
    }

    /// Sends these texts, waits for as many, and stays until `all` have done so. Returns the texts that have come by
    /// then.
    pub async fn chat(
        mut self,
        to: &str,
        texts: Vec<String>,
        done: watch::Sender<usize>,
        all: usize,
    ) -> (Vec<String>, Mischief) {
        let wanted = texts.len();
        let mut texts = texts.into_iter().peekable();
        let mut watcher = done.subscribe();
        let mut reported = false;
        let mut pinged = false;
        while !self.has_pong() {
            while texts.peek().is_some() && self.may_ask() {
                let count = self.dice.usize(1..=4);
                let some = texts.by_ref().take(count);
                let payload: String = some.map(|text| message(to, &text)).collect();
                self.request(&payload);
            }
            let is_done = texts.peek().is_none() && self.messages().len() >= wanted;
            if is_done && !reported {
                reported = true;
                done.send_modify(|count| *count += 1);
            }
            let everybody = *watcher.borrow_and_update() == all;
            if everybody && !pinged && self.may_ask() {
                pinged = true;
                self.request(&format!(
                    "<iq xmlns='{CLIENT}' type='get' id='last'><ping xmlns='{PING}'/></iq>"
                ));
            }
            if self.open.is_empty() {
                self.request("");
            }
            tokio::select! {
                attempt = self.attempts.join_next() => {
                    let (rid, response) = attempt.expect("one is out").expect("no panic");
                    self.take(rid, response);
                }
                changed = watcher.changed(), if !everybody => changed.expect("we hold one"),
            }
        }
        (self.messages(), self.mischief)
    }

    fn has_pong(&self) -> bool {
        self.inbox.iter().any(|element| element.is_reply_to("last"))
    }

    fn messages(&self) -> Vec<String> {
        self.inbox.iter().filter_map(Element::body).collect()
    }

    /// The service keeps the answers to the latest requests only, so that no copy may be older.
    fn may_ask(&self) -> bool {
        let lowest = self.open.keys().next();
        lowest.is_none_or(|lowest| self.session.rid + 1 - lowest < WINDOW)
    }

    /// Makes the next request, and sends it now or a little later, once or twice.
    fn request(&mut self, payload: &str) {
        self.session.rid += 1;
        let rid = self.session.rid;
        let attributes = if self.acknowledges {
            // The service forgets an answer that is acknowledged, so that no copy of its request may be on its way.
            let oldest = self.open.keys().next().copied().unwrap_or(rid);
            format!("ack='{}'", oldest.min(self.next_answer) - 1)
        } else {
            String::new()
        };
        let open = Open {
            document: self.session.request(rid, &attributes, payload),
            answered: false,
            copies: 0,
        };
        self.open.insert(rid, open);
        let waits = self.dice.u8(0..4) == 0;
        self.mischief.swapped += usize::from(waits);
        self.send(rid, waits);
        if self.dice.u8(0..8) == 0 {
            self.mischief.doubled += 1;
            self.send(rid, true);
        }
    }

    fn send(&mut self, rid: u64, waits: bool) {
        let open = self.open.get_mut(&rid).expect("it is open");
        open.copies += 1;
        let hesitation = if waits {
            HESITATION.mul_f64(self.dice.f64())
        } else {
            Duration::ZERO
        };
        let (endpoint, document) = (self.session.endpoint.clone(), open.document.clone());
        self.attempts.spawn(async move {
            tokio::time::sleep(hesitation).await;
            (rid, post(&endpoint, &document).await)
        });
    }

    fn take(&mut self, rid: u64, response: Option<Response>) {
        let open = self.open.get_mut(&rid).expect("it is open");
        open.copies -= 1;
        let body = response.map(|response| {
            assert_eq!(response.status(), 200, "{response:?}");
            response.xml()
        });
        // An error loses nothing: the request is sent again.
        let body = body.filter(|body| body.attr("type") != Some("error"));
        match body {
            Some(body) if !open.answered => {
                assert_eq!(body.attr("type"), None, "the session goes on: {body}");
                open.answered = true;
                self.early.insert(rid, body);
            }
            None if !open.answered && open.copies == 0 => {
                self.mischief.repeated += 1;
                self.send(rid, true);
            }
            _ => {}
        }
        let over = |open: &Open| open.answered && open.copies == 0;
        self.open.retain(|_, open| !over(open));
        while let Some(body) = self.early.remove(&self.next_answer) {
            self.next_answer += 1;
            self.inbox.extend(body.children().cloned());
        }
    }
}

/// `None` if the connection ends before the whole answer has come.
pub(crate) async fn post(endpoint: &Endpoint, document: &str) -> Option<Response> {
    let mut connection = Connection::try_open(endpoint).await?;
    let headers = [("Content-Type", "text/xml; charset=utf-8")];
    connection
        .send("POST", &endpoint.path, &headers, document)
        .await;
    connection.try_response().await
}
