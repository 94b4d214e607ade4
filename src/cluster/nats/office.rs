//! Office: the task that reads everything which comes over NATS. It waits for nothing but messages and time. Questions
//! are answered in tasks of their own, which end when nobody waits any longer.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Event, connection::State};
use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::{
    task::AbortHandle,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tracing::{debug, error, info, warn};

use super::{
    Answers, Asked, Cluster, Inbox, LARGE, NameTaken, PROMPT, Unanswered,
    connect::News,
    incoming::Incoming,
    told::{Losses, Moves, Outage},
};
use crate::{
    clock::now,
    cluster::{
        answering::{self, Answering, Begun},
        assembly::{self, Assembly, Joined},
        members::{Change, Farewell, Member, Trouble},
        wire::{Hello, Message, Outcome, PART, Part, Question, Said, Unreadable},
    },
    config::NodeName,
};

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(250);
/// How long the last answers of a member may take that has said goodbye: it had sent them before.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long after a refusal it is asked again for what is subscribed to: NATS does not say when it permits more.
const AGAIN: Duration = Duration::from_secs(5);

/// Reads everything that comes.
pub(super) struct Office {
    cluster: Arc<Cluster>,
    answers: Arc<dyn Answers>,
    inbox: Inbox,
    hellos: Option<Incoming>,
    /// What is for this gateway, while it is a member.
    own: Option<Incoming>,
    questions: Assembly,
    replies: Assembly,
    answering: Arc<Mutex<Answering<AbortHandle>>>,
    tick: Interval,
    outage: Outage,
    /// When NATS has refused something, since the last subscription.
    refused: Option<Instant>,
    /// Messages that were lost and not counted yet.
    lost: Arc<AtomicU64>,
    losses: Losses,
    moves: Moves,
}

impl Office {
    pub(super) fn new(cluster: Arc<Cluster>, answers: Arc<dyn Answers>, inbox: Inbox) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            cluster,
            answers,
            inbox,
            hellos: None,
            own: None,
            questions: Assembly::new(assembly::Bounds::default()),
            replies: Assembly::new(assembly::Bounds::default()),
            answering: Arc::new(Mutex::new(Answering::new(answering::Bounds::default()))),
            tick,
            outage: Outage::default(),
            refused: None,
            lost: Arc::default(),
            losses: Losses::default(),
            moves: Moves::default(),
        }
    }

    pub(super) async fn run(mut self) {
        let cluster = Arc::clone(&self.cluster);
        let mut leaving = pin!(cluster.leaving.notified());
        self.hellos = self.subscribe(cluster.hello_subject()).await;
        loop {
            tokio::select! {
                () = &mut leaving => break,
                _ = self.tick.tick() => self.handle_tick().await,
                Some(news) = self.inbox.news.recv() => match news {
                    News::Event(event) => self.handle_event(event).await,
                    News::Failed(failure) => self.outage.tell_failure(&failure),
                },
                Some((node, id)) = self.inbox.cancels.recv() => {
                    let cancel = cluster.message(id, Said::Cancel);
                    cluster.send_now(cluster.subject_of(&node), &cancel);
                }
                Some(bytes) = next(&mut self.hellos) => self.handle_hello(bytes).await,
                Some(bytes) = next(&mut self.own) => self.handle_own(bytes),
            }
        }
        let ended = self.answering.lock().end_all();
        ended.iter().for_each(AbortHandle::abort);
        cluster.fail(&Unanswered::Away, |_| true);
    }

    async fn subscribe(&self, subject: String) -> Option<Incoming> {
        let subscribed = self.cluster.client.subscribe(subject).await;
        let subscriber = subscribed
            .inspect_err(|error| error!(%error, "NATS takes no subscription"))
            .ok()?;
        Some(Incoming::new(subscriber, Arc::clone(&self.lost)))
    }

    /// Subscribes once more, as NATS may have refused that.
    async fn subscribe_again(&mut self) {
        let cluster = Arc::clone(&self.cluster);
        self.hellos = self.subscribe(cluster.hello_subject()).await;
        if self.own.is_some() {
            self.own = self.subscribe(cluster.subject_of(&cluster.node)).await;
        }
    }

    async fn handle_tick(&mut self) {
        let now = now();
        let is_due = |since: &mut Instant| now.saturating_duration_since(*since) >= AGAIN;
        if self.refused.take_if(is_due).is_some() {
            self.subscribe_again().await;
        }
        let is_over = |left: Instant| now.saturating_duration_since(left) >= LAST_WORDS;
        self.cluster
            .fail(&Unanswered::Gone, |asked| asked.left.is_some_and(is_over));
        for (node, id) in self.questions.expire(now) {
            debug!(%node, id, "a question has not come whole");
        }
        for (node, id) in self.replies.expire(now) {
            debug!(%node, id, "an answer has not come whole");
        }
        self.losses.add(self.lost.swap(0, Ordering::Relaxed));
        self.losses.tell(now);
        let changes = self.cluster.members.lock().handle_tick(now);
        self.apply(changes).await;
        let sessions = self.cluster.registry.len();
        let hello = self.cluster.members.lock().poll_hello(sessions, now);
        if let Some(hello) = hello {
            self.say(hello);
        }
    }

    fn say(&self, hello: Hello) {
        let cluster = &self.cluster;
        let hello = cluster.message(cluster.incarnation, Said::Hello(hello));
        cluster.send_now(cluster.hello_subject(), &hello);
    }

    async fn handle_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                // The next tick says hello.
                self.cluster.members.lock().handle_connect(now());
            }
            Event::Disconnected | Event::Closed => {
                self.outage.tell(&"the connection is lost");
                let changes = self.cluster.members.lock().handle_disconnect(now());
                self.apply(changes).await;
            }
            Event::ServerError(error) => {
                self.refused.get_or_insert_with(now);
                self.outage.tell_refusal(&error);
            }
            Event::SlowConsumer(_) => self.losses.add(1),
            // Why it cannot connect, it says itself.
            Event::ClientError(_) | Event::LameDuckMode | Event::Draining => {}
        }
    }

    async fn handle_hello(&mut self, bytes: Bytes) {
        let now = now();
        let read = Message::decode(bytes);
        let changes = {
            let mut members = self.cluster.members.lock();
            match read {
                Ok(Message { id, from, said }) => match said {
                    Said::Hello(hello) => members.handle_hello(&from, id, &hello, now),
                    Said::Goodbye => members.handle_goodbye(&from, id, now).into_iter().collect(),
                    _ => Vec::new(),
                },
                Err(Unreadable::Foreign { id, from }) => members.handle_foreign(&from, id, now),
                Err(_) => Vec::new(),
            }
        };
        self.apply(changes).await;
    }

    async fn apply(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            self.apply_one(change).await;
        }
        let cluster = &self.cluster;
        let (trouble, others) = {
            let members = cluster.members.lock();
            (members.trouble(), members.others().count())
        };
        let members = if trouble.is_none() { others + 1 } else { 0 };
        let is_connected = trouble.is_none();
        cluster
            .registry
            .set_namesake(trouble == Some(Trouble::NameTaken));
        let metrics = &cluster.registry.metrics;
        metrics.cluster(cluster.node.as_str(), members, is_connected);
        cluster.standing.send_replace(trouble);
    }

    async fn apply_one(&mut self, change: Change) {
        let cluster = Arc::clone(&self.cluster);
        match change {
            Change::Came(Member { node, version, .. }) if self.moves.is_told(now()) => {
                match version {
                    Some(version) => info!(%node, version, "gateway has come"),
                    None => {
                        warn!(%node, "gateway has come that speaks another version: it cannot be asked")
                    }
                }
            }
            Change::Came(_) => {}
            Change::Left(node, farewell) => {
                let said_goodbye = farewell == Farewell::Said;
                match farewell {
                    _ if !self.moves.is_told(now()) => {}
                    Farewell::Said => info!(%node, said_goodbye, "gateway has gone"),
                    Farewell::Silent => warn!(%node, said_goodbye, "gateway has gone"),
                }
                match farewell {
                    // Its last answers come by another subscription, and may be read after the goodbye.
                    Farewell::Said => cluster.note_left(&node),
                    Farewell::Silent => {
                        cluster.bereaved.notify_one();
                        cluster.fail(&Unanswered::Gone, |asked| asked.node == node);
                        self.replies.forget_member(&node);
                    }
                }
                let ended = self.answering.lock().end_all_of(&node);
                ended.iter().for_each(AbortHandle::abort);
                self.questions.forget_member(&node);
            }
            Change::Returned(node) => cluster.fail(&Unanswered::Late, |asked| asked.node == node),
            Change::NoRoom(node) => {
                if self.moves.is_told(now()) {
                    warn!(%node, "gateway is not heard: there are too many");
                }
            }
            Change::Joined => {
                self.own = self.subscribe(cluster.subject_of(&cluster.node)).await;
                let again = self.outage.end();
                let (name, node) = (&cluster.name, &cluster.node);
                info!(cluster = name, %node, again, "member of the cluster");
            }
            Change::Lost => {
                self.outage.tell(&"own messages do not come back");
                cluster.fail(&Unanswered::Away, |_| true);
                if cluster.client.connection_state() == State::Connected {
                    let _ = cluster.client.force_reconnect().now_or_never();
                }
            }
            Change::Missed => cluster.missed.notify_one(),
            Change::NameTaken => {
                self.own = None;
                let taken = NameTaken {
                    cluster: cluster.name.clone(),
                    node: cluster.node.clone(),
                };
                error!(error = %taken, "no member of the cluster");
                cluster.fail(&Trouble::NameTaken.into(), |_| true);
            }
            Change::SayHello => {
                let sessions = cluster.registry.len();
                let hello = cluster.members.lock().hello(sessions, now());
                self.say(hello);
            }
        }
    }

    /// Something that is for this gateway.
    fn handle_own(&mut self, bytes: Bytes) {
        let cluster = &self.cluster;
        let Message { id, from, said } = match Message::decode(bytes) {
            Ok(message) => message,
            Err(Unreadable::Unknown { id, from }) => {
                debug!(%from, id, "not understood");
                let unknown = cluster.message(id, Said::Unknown);
                return cluster.send_now(cluster.subject_of(&from), &unknown);
            }
            Err(_) => return,
        };
        match said {
            Said::Question {
                question,
                heard,
                patience,
                part,
            } => {
                // Whoever has asked so long ago has given up, and may have done something else since then.
                if part.index == 0 && !cluster.members.lock().is_fresh(heard, now()) {
                    return self.refuse(&from, id, "the question has come too late");
                }
                match self.questions.join(&from, id, part, now()) {
                    Joined::Whole(body) => self.handle_question(from, id, question, patience, body),
                    Joined::Waiting => {}
                    Joined::Lost => self.refuse(&from, id, "too much is asked at once"),
                }
            }
            Said::Receipt => {
                let mut asked = cluster.asked.lock();
                let asked = asked.get_mut(&id).filter(|it| it.node == from);
                if let Some(receipt) = asked.and_then(|it| it.receipt.take()) {
                    let _ = receipt.send(());
                }
            }
            Said::Answer { outcome, part } => {
                let is_awaited = |it: &Asked| it.node == from;
                if !cluster.asked.lock().get(&id).is_some_and(is_awaited) {
                    return;
                }
                let answer = match self.replies.join(&from, id, part, now()) {
                    Joined::Whole(body) => match outcome {
                        Outcome::Answered => Ok(body),
                        Outcome::Refused => {
                            let why = String::from_utf8_lossy(&body).into_owned();
                            Err(Unanswered::Refused(why))
                        }
                    },
                    Joined::Waiting => return,
                    Joined::Lost => Err(Unanswered::Refused("the answer is too long".to_owned())),
                };
                self.settle(&from, id, answer);
            }
            Said::Unknown => {
                let why = "it is of another version, and does not understand that";
                self.settle(&from, id, Err(Unanswered::Refused(why.to_owned())));
            }
            Said::Cancel => {
                let ended = self.answering.lock().end(&(from, id));
                if let Some(handle) = ended {
                    handle.abort();
                }
            }
            Said::Hello(_) | Said::Goodbye => {}
        }
    }

    fn settle(&self, from: &NodeName, id: u64, answer: Result<Bytes, Unanswered>) {
        let mut all = self.cluster.asked.lock();
        if all.get(&id).is_some_and(|it| it.node == *from)
            && let Some(asked) = all.remove(&id)
        {
            drop(all);
            let _ = asked.answer.send(answer);
        }
    }

    fn refuse(&self, to: &NodeName, id: u64, why: &'static str) {
        let part = Part {
            index: 0,
            count: 1,
            bytes: Bytes::from_static(why.as_bytes()),
        };
        let outcome = Outcome::Refused;
        let cluster = &self.cluster;
        let refusal = cluster.message(id, Said::Answer { outcome, part });
        cluster.send_now(cluster.subject_of(to), &refusal);
    }

    fn handle_question(
        &self,
        from: NodeName,
        id: u64,
        question: Question,
        patience: Duration,
        body: Bytes,
    ) {
        let cluster = Arc::clone(&self.cluster);
        let metrics = &cluster.registry.metrics;
        let key = (from.clone(), id);
        let begun = self.answering.lock().begin(&key, body.len());
        match begun {
            Begun::Already => return,
            Begun::Full => {
                metrics.question_answered(question.as_str(), "refused");
                return self.refuse(&from, id, "too much is asked at once");
            }
            Begun::Yes => {}
        }
        if body.len() > LARGE {
            // So that the next one may come.
            let receipt = cluster.message(id, Said::Receipt);
            cluster.send_now(cluster.subject_of(&from), &receipt);
        }
        let answer = self.answers.answer(&from, question, body);
        cluster.answering.fetch_add(1, Ordering::Relaxed);
        let done = Done {
            answering: Arc::clone(&self.answering),
            key: key.clone(),
            cluster: Arc::clone(&cluster),
            question,
            is_answered: AtomicBool::new(false),
        };
        let task = tokio::spawn(async move {
            let reply = timeout(patience, async {
                let mut answer = answer;
                let prompt = timeout(PROMPT, &mut answer).await;
                let answered = match prompt {
                    Ok(answered) => answered,
                    Err(_) => {
                        let receipt = cluster.message(id, Said::Receipt);
                        cluster.send_now(cluster.subject_of(&from), &receipt);
                        answer.await
                    }
                };
                let (outcome, body) = match answered {
                    Ok(body) => (Outcome::Answered, body),
                    Err(why) => (Outcome::Refused, why.into()),
                };
                let parts = Part::of(body, cluster.part_size());
                let too_long = Bytes::from_static(b"the answer is too long");
                let refusal = || Part::of(too_long, PART);
                let (outcome, parts) = match parts {
                    Some(parts) => (outcome, Some(parts)),
                    None => (Outcome::Refused, refusal()),
                };
                for part in parts.into_iter().flatten() {
                    let said = Said::Answer { outcome, part };
                    if !cluster.answer(&from, id, said).await {
                        return false;
                    }
                }
                true
            });
            let is_answered = reply.await.unwrap_or(false);
            done.is_answered.store(is_answered, Ordering::Relaxed);
        });
        self.answering.lock().started(&key, task.abort_handle());
    }
}

/// The next message. Waits for ever where nothing is subscribed to, or no more comes.
async fn next(incoming: &mut Option<Incoming>) -> Option<Bytes> {
    let next = match incoming {
        Some(it) => it.next().await,
        None => pending().await,
    };
    if next.is_none() {
        *incoming = None;
    }
    next
}

/// Counts the end of an answer, however it comes.
struct Done {
    answering: Arc<Mutex<Answering<AbortHandle>>>,
    key: answering::Key,
    cluster: Arc<Cluster>,
    question: Question,
    is_answered: AtomicBool,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.answering.lock().end(&self.key);
        if self.cluster.answering.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.cluster.all_answered.notify_waiters();
        }
        let outcome = match self.is_answered.load(Ordering::Relaxed) {
            true => "answered",
            false => "unanswered",
        };
        let metrics = &self.cluster.registry.metrics;
        metrics.question_answered(self.question.as_str(), outcome);
    }
}
