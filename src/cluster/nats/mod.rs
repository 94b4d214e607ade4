//! Cluster over NATS: says hello, asks, waits, answers. Who is a member, and what bytes mean, others know (`members`,
//! `wire`, `assembly`).
//!
//! | subject | what is sent there |
//! |---|---|
//! | `NAME.hello` | hello and goodbye, to all |
//! | `NAME.to.NODE` | questions to a gateway, and answers to its questions |

mod connect;
mod incoming;
mod office;
mod owed;
mod told;

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, connection::State};
use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

use tracing::{field::display, info};

use self::{
    connect::{News, connect, draw, drawn_name},
    office::Office,
    owed::Debts,
};
use super::{
    members::{Member, Members, Trouble},
    wire::{self, Message, PART, Part, Question, Said},
};
use crate::{
    clock::{now, since_1970},
    config::{self, NodeName},
    session::Registry,
};

/// How long a member may take to answer a question, or to say that it has it.
const RECEIPT: Duration = Duration::from_secs(5);
/// How long an answer may take before the member says that it has the question.
const PROMPT: Duration = Duration::from_secs(2);
/// How long the start of the gateway waits for NATS.
const START: Duration = Duration::from_millis(2500);
/// And, if that is there, until it is known who else is, and that the name is free.
const SETTLED: Duration = Duration::from_secs(6);
/// How often a member is told what it has missed, until it has answered.
const TRIES: usize = 3;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Most questions to others that are open.
const MOST_ASKED: usize = 65_536;
/// A body that is longer waits for its turn, and so many have it: a question until its member has it, an answer until NATS
/// has it. What is short, hellos first of all, is not to wait behind many of them.
const LARGE: usize = 64 << 10;
const MOST_LARGE: usize = 8;
/// Messages that may wait for NATS.
const WAITING: usize = 1024;
/// Messages of NATS that its client has read and nobody has taken yet: as many as one look at the network may bring.
const READ: usize = 65_536;

/// Why a question was not answered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// There is no such member, or it has gone.
    #[error("it is gone")]
    Gone,
    /// NATS is not there.
    #[error("NATS is away")]
    Away,
    /// The answer did not come in time.
    #[error("it did not answer")]
    Late,
    /// It was refused.
    #[error("{0}")]
    Refused(String),
}

impl Unanswered {
    /// The same in one word.
    fn as_str(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Away => "away",
            Self::Late => "late",
            Self::Refused(_) => "refused",
        }
    }
}

impl From<Trouble> for Unanswered {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Away => Self::Away,
            Trouble::NameTaken => {
                Self::Refused("another gateway has the name of this one".to_owned())
            }
        }
    }
}

/// Another gateway of the same cluster has the name of this one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "another gateway of the cluster {cluster:?} is called {node:?}: give each a cluster.node of its own"
)]
pub struct NameTaken {
    cluster: String,
    node: NodeName,
}

/// Why there can be no cluster.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The client of NATS refuses its settings.
    #[error("NATS: {0}")]
    Nats(String),
}

/// What this gateway is called: as it is configured, or a name that is drawn.
///
/// # Errors
///
/// When there are no random numbers.
pub fn own_name(config: &config::Cluster) -> Result<NodeName, SetupError> {
    match &config.node {
        Some(node) => Ok(node.clone()),
        None => drawn_name(),
    }
}

/// What a gateway answers others with.
pub trait Answers: Send + Sync + 'static {
    /// Answers a question of `from`. The future is dropped when nobody waits any longer.
    fn answer(
        &self,
        from: &NodeName,
        question: Question,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>>;
}

/// This gateway among the others.
pub struct Cluster {
    name: String,
    node: NodeName,
    incarnation: u64,
    client: Client,
    members: Mutex<Members>,
    asked: Mutex<HashMap<u64, Asked>>,
    next: AtomicU64,
    cancels: mpsc::Sender<(NodeName, u64)>,
    large_questions: Arc<Semaphore>,
    large_answers: Semaphore,
    /// What the office begins with.
    inbox: Mutex<Option<Inbox>>,
    standing: watch::Sender<Option<Trouble>>,
    missed: Notify,
    bereaved: Notify,
    leaving: Notify,
    /// How many questions of others are being answered.
    answering: AtomicUsize,
    /// None is any longer.
    all_answered: Notify,
    /// What those that are not heard have to be told.
    debts: Mutex<Debts>,
    registry: Arc<Registry>,
}

struct Inbox {
    news: mpsc::Receiver<News>,
    cancels: mpsc::Receiver<(NodeName, u64)>,
}

/// An open question.
struct Asked {
    node: NodeName,
    receipt: Option<oneshot::Sender<()>>,
    answer: oneshot::Sender<Result<Bytes, Unanswered>>,
    /// When the member has said goodbye.
    left: Option<std::time::Instant>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// A gateway that begins to look for NATS. It is no member before [`Self::start`]. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// When there are no random numbers, or the settings are refused. That NATS is not there is none.
    pub async fn new(
        config: &config::Cluster,
        node: NodeName,
        registry: Arc<Registry>,
    ) -> Result<Arc<Self>, SetupError> {
        let incarnation = draw()?;
        let (news, news_of_client) = mpsc::channel(64);
        // All may be given up at once, as a balancer in front of their clients dies.
        let (cancels, cancels_of_questions) = mpsc::channel(MOST_ASKED);
        let client = connect(config, &node, news).await?;
        let began = u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX);
        let members = Members::new(node.clone(), incarnation, began, now());
        registry.metrics.cluster(node.as_str(), 0, false);
        Ok(Arc::new(Self {
            name: config.name.clone(),
            node,
            incarnation,
            client,
            members: Mutex::new(members),
            asked: Mutex::default(),
            next: AtomicU64::new(draw()?),
            cancels,
            large_questions: Arc::new(Semaphore::new(MOST_LARGE)),
            large_answers: Semaphore::new(MOST_LARGE),
            inbox: Mutex::new(Some(Inbox {
                news: news_of_client,
                cancels: cancels_of_questions,
            })),
            standing: watch::channel(Some(Trouble::Away)).0,
            missed: Notify::new(),
            bereaved: Notify::new(),
            leaving: Notify::new(),
            answering: AtomicUsize::new(0),
            all_answered: Notify::new(),
            debts: Mutex::default(),
            registry,
        }))
    }

    /// Joins the others, and answers their questions with `answers` from now on. Waits a little for NATS; if that is not
    /// there yet, the gateway joins when it is.
    ///
    /// # Errors
    ///
    /// When another gateway has the name.
    pub async fn start(self: &Arc<Self>, answers: Arc<dyn Answers>) -> Result<(), NameTaken> {
        let Some(inbox) = self.inbox.lock().take() else {
            return Ok(());
        };
        let mut standing = self.standing.subscribe();
        tokio::spawn(Office::new(Arc::clone(self), answers, inbox).run());
        let mut settled = pin!(standing.wait_for(|it| *it != Some(Trouble::Away)));
        let mut outcome = timeout(START, &mut settled).await;
        if outcome.is_err() && self.client.connection_state() == State::Connected {
            outcome = timeout(SETTLED, settled).await;
        }
        match outcome {
            Ok(Ok(trouble)) if trouble.is_some() => Err(NameTaken {
                cluster: self.name.clone(),
                node: self.node.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Says goodbye, so that the others do not wait. The last answers go before that.
    pub async fn leave(&self) {
        let answered = async {
            loop {
                let all_answered = self.all_answered.notified();
                if self.answering.load(Ordering::Relaxed) == 0 {
                    return;
                }
                all_answered.await;
            }
        };
        let _ = timeout(GOODBYE, answered).await;
        let goodbye = self.message(self.incarnation, Said::Goodbye);
        let said = async {
            if self.send(self.hello_subject(), goodbye.encode()).await {
                let _ = self.client.flush().await;
            }
        };
        let _ = timeout(GOODBYE, said).await;
        self.leaving.notify_one();
    }

    /// What this gateway is called.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The others that are heard of.
    pub fn members(&self) -> Vec<Member> {
        self.members.lock().others().cloned().collect()
    }

    /// Those that have gone without a goodbye in the last hour, and have not come again; how long each has not been heard.
    pub fn lost(&self) -> Vec<(Member, Duration)> {
        let members = self.members.lock();
        let lost = members.lost(now());
        lost.map(|(member, silence)| (member.clone(), silence))
            .collect()
    }

    /// Why it cannot be known what the others have; `None` if they can be asked.
    pub fn trouble(&self) -> Option<Unanswered> {
        self.members.lock().trouble().map(Unanswered::from)
    }

    /// Waits until this gateway may have missed what the others were told: NATS was away, or members could not be heard.
    pub async fn missed(&self) {
        self.missed.notified().await;
    }

    /// Waits until a member has gone without a goodbye.
    pub async fn bereaved(&self) {
        self.bereaved.notified().await;
    }

    /// Asks a member. Dropping the future tells it that nobody waits any more.
    ///
    /// # Errors
    ///
    /// Why there is no answer.
    pub async fn ask(
        self: &Arc<Self>,
        node: &str,
        question: Question,
        body: Bytes,
        patience: Duration,
    ) -> Result<Bytes, Unanswered> {
        let asked = self.send_question(node, question, body, patience).await;
        asked?.await
    }

    /// Asks a member, in two steps: the question has been sent when this returns, and the answer is what the result
    /// brings. Dropping that tells the member that nobody waits any more.
    ///
    /// # Errors
    ///
    /// Why it could not be sent.
    pub async fn send_question(
        self: &Arc<Self>,
        node: &str,
        question: Question,
        body: Bytes,
        patience: Duration,
    ) -> Result<impl Future<Output = Result<Bytes, Unanswered>> + Send + use<>, Unanswered> {
        let by = Instant::now() + patience;
        let sent = timeout_at(by, self.pose(node, question, body, patience)).await;
        let sent = sent.unwrap_or(Err(Unanswered::Late));
        let waiting = sent.inspect_err(|unanswered| self.count(question, unanswered.as_str()))?;
        Ok(async move {
            let cluster = Arc::clone(&waiting.open.cluster);
            let answer = timeout_at(by, waiting.answer()).await;
            let answer = answer.unwrap_or(Err(Unanswered::Late));
            let outcome = answer.as_ref().err().map_or("answered", Unanswered::as_str);
            cluster.count(question, outcome);
            answer
        })
    }

    fn count(&self, question: Question, outcome: &'static str) {
        self.registry
            .metrics
            .question_asked(question.as_str(), outcome);
    }

    /// Asks all other members at once.
    pub async fn ask_all(
        self: &Arc<Self>,
        question: Question,
        body: Bytes,
        patience: Duration,
    ) -> Vec<(NodeName, Result<Bytes, Unanswered>)> {
        let members = self.members();
        let asking = members.into_iter().map(|member| {
            let body = body.clone();
            async move {
                let node = member.node;
                let answer = self.ask(node.as_str(), question, body, patience).await;
                (node, answer)
            }
        });
        join_all(asking).await
    }

    /// Has those told that have gone without a goodbye, if they were only cut off and are heard again: `body` is a question
    /// whose answer matters to nobody.
    pub fn owe(&self, question: Question, body: &Bytes) {
        for (member, _) in self.lost() {
            self.debts.lock().add(&member, question, body.clone());
        }
    }

    /// Tells those of them that are heard now.
    pub async fn settle(self: &Arc<Self>, patience: Duration) {
        let members = self.members();
        let due = self.debts.lock().due(&members);
        let telling = due.into_iter().map(|owed| async move {
            let (node, question) = (owed.node.as_str(), owed.question);
            let mut told = Ok(Bytes::new());
            for _ in 0..TRIES {
                told = self.ask(node, question, owed.body.clone(), patience).await;
                if told.is_ok() {
                    break;
                }
            }
            let (question, error) = (question.as_str(), told.err().map(display));
            info!(node, question, error, "told what it has missed");
        });
        join_all(telling).await;
    }

    async fn pose(
        self: &Arc<Self>,
        node: &str,
        question: Question,
        body: Bytes,
        patience: Duration,
    ) -> Result<Waiting, Unanswered> {
        let (node, _) = self.reach(node)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let is_large = body.len() > LARGE;
        let Some(parts) = Part::of(body, self.part_size()) else {
            return Err(Unanswered::Refused("the question is too long".to_owned()));
        };
        let (receipt, received) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            node: node.clone(),
            receipt: Some(receipt),
            answer,
            left: None,
        };
        let open = Open::new(self, id, asked)?;
        let mut standing = self.standing.subscribe();
        let mut turn = None;
        let sending = async {
            if is_large {
                turn = Arc::clone(&self.large_questions).acquire_owned().await.ok();
            }
            // Not before it is its turn, or the question would be an old one.
            let (_, heard) = self.reach(node.as_str())?;
            for part in parts {
                let said = Said::Question {
                    question,
                    heard,
                    patience,
                    part,
                };
                let message = self.message(id, said).encode();
                if !self.send(self.subject_of(&node), message).await {
                    return Err(Unanswered::Away);
                }
            }
            Ok(())
        };
        tokio::select! {
            biased;
            sent = sending => sent,
            _ = standing.wait_for(Option::is_some) => Err(Unanswered::Away),
        }?;
        Ok(Waiting {
            open,
            turn,
            received,
            answered,
        })
    }

    /// A member, and which hello of it was heard last.
    fn reach(&self, node: &str) -> Result<(NodeName, u64), Unanswered> {
        let members = self.members.lock();
        if let Some(trouble) = members.trouble() {
            return Err(trouble.into());
        }
        let heard = members.heard_of(node);
        NodeName::new(node).zip(heard).ok_or(Unanswered::Gone)
    }

    /// As long as NATS takes them.
    fn part_size(&self) -> usize {
        let most = self.client.max_payload().saturating_sub(wire::OVERHEAD);
        if most == 0 { PART } else { most.min(PART) }
    }

    fn message(&self, id: u64, said: Said) -> Message {
        Message {
            id,
            from: self.node.clone(),
            said,
        }
    }

    fn hello_subject(&self) -> String {
        format!("{}.hello", self.name)
    }

    fn subject_of(&self, node: &NodeName) -> String {
        format!("{}.to.{node}", self.name)
    }

    /// Sends a part of an answer. `false`: NATS does not take it.
    async fn answer(&self, node: &NodeName, id: u64, said: Said) -> bool {
        let bytes = self.message(id, said).encode();
        let _turn = match bytes.len() > LARGE {
            true => self.large_answers.acquire().await.ok(),
            false => None,
        };
        self.send(self.subject_of(node), bytes).await
    }

    /// Sends a message, and waits until NATS has it if it is long. `false`: NATS does not take it.
    async fn send(&self, subject: String, bytes: Bytes) -> bool {
        if self.client.connection_state() != State::Connected {
            return false;
        }
        let is_large = bytes.len() > LARGE;
        let is_sent = self.client.publish(subject, bytes).await.is_ok();
        is_sent && (!is_large || self.client.flush().await.is_ok())
    }

    /// Sends a short message without waiting. It may be lost, as any may.
    fn send_now(&self, subject: String, message: &Message) {
        if self.client.connection_state() == State::Connected {
            let sent = pin!(self.client.publish(subject, message.encode()));
            let _ = sent.now_or_never();
        }
    }

    /// A member has said goodbye.
    fn note_left(&self, node: &NodeName) {
        let mut all = self.asked.lock();
        for asked in all.values_mut().filter(|it| it.node == *node) {
            asked.left.get_or_insert_with(now);
        }
    }

    /// Settles open questions.
    fn fail(&self, why: &Unanswered, of: impl Fn(&Asked) -> bool) {
        let failed = self
            .asked
            .lock()
            .extract_if(|_, it| of(it))
            .collect::<Vec<_>>();
        for (_, asked) in failed {
            let _ = asked.answer.send(Err(why.clone()));
        }
    }
}

/// A question that has been sent.
struct Waiting {
    open: Open,
    /// Of a large question, until its member has it.
    turn: Option<OwnedSemaphorePermit>,
    received: oneshot::Receiver<()>,
    answered: oneshot::Receiver<Result<Bytes, Unanswered>>,
}

impl Waiting {
    async fn answer(mut self) -> Result<Bytes, Unanswered> {
        let heard = timeout(RECEIPT, async {
            tokio::select! {
                biased;
                answer = &mut self.answered => Some(answer),
                _ = &mut self.received => None,
            }
        });
        let heard = heard.await;
        drop(self.turn.take());
        let answer = match heard {
            Ok(Some(answer)) => answer,
            Ok(None) => self.answered.await,
            Err(_) => return Err(Unanswered::Late),
        };
        self.open.settle();
        answer.unwrap_or(Err(Unanswered::Gone))
    }
}

/// An open question, for as long as somebody waits.
struct Open {
    cluster: Arc<Cluster>,
    id: u64,
    node: NodeName,
    is_settled: bool,
}

impl Open {
    fn new(cluster: &Arc<Cluster>, id: u64, asked: Asked) -> Result<Self, Unanswered> {
        let node = asked.node.clone();
        let mut all = cluster.asked.lock();
        if all.len() >= MOST_ASKED {
            return Err(Unanswered::Refused(
                "too many questions are open".to_owned(),
            ));
        }
        all.insert(id, asked);
        drop(all);
        Ok(Self {
            cluster: Arc::clone(cluster),
            id,
            node,
            is_settled: false,
        })
    }

    fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cluster.asked.lock().remove(&self.id);
        if !self.is_settled {
            // If that is full, the member waits as long as its patience lasts.
            let _ = self.cluster.cancels.try_send((self.node.clone(), self.id));
        }
    }
}
