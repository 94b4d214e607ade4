//! Exchange of requests and answers with a BOSH session of this gateway, as its client has it over HTTP. It must not know
//! what is said.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::super::prebind_error::PrebindError;
use crate::{
    clock::now,
    proto::{
        bosh::{
            Rid,
            body::{Creation, Request},
            terms::Policy,
        },
        stanza::{Stanza, scan_body},
        xml::{Limits, Ns},
    },
    session::{self, Admission, Command, Downstream, Host, Mailbox, Origin, Registry, bosh},
};

/// The version of BOSH that is spoken.
const VERSION: (u32, u32) = (1, 11);

/// The client's side of a session, which ends with it unless it is handed over.
pub(super) struct Exchange {
    /// `None` once the session is somebody else's.
    mailbox: Option<Mailbox>,
    sid: Bytes,
    /// The latest request's.
    rid: Rid,
    requests: u64,
}

/// What a new session needs to know.
pub(super) struct Opening<'a> {
    pub(super) registry: &'a Arc<Registry>,
    pub(super) admission: &'a Admission,
    pub(super) policy: &'a Policy,
    pub(super) host: &'a Arc<Host>,
    pub(super) origin: Origin,
}

impl Exchange {
    /// Has a session created; gives what its server says first.
    pub(super) async fn open(it: Opening<'_>) -> Result<(Self, Vec<Stanza>), PrebindError> {
        let creation = creation(&it.host.domain)?;
        let Opening {
            registry,
            admission,
            host,
            ..
        } = it;
        let admitted = admission.admit(host, it.origin, registry)?;
        let (reply, answer) = oneshot::channel();
        let side = bosh::Side::open(&creation, it.policy, &host.limits, reply, now());
        session::spawn(registry, admitted, None, Downstream::Bosh(Box::new(side)))?;
        let answer = Answer::read(answer.await.ok())?;
        let sid = answer.sid.ok_or(PrebindError::Malformed)?;
        let found = std::str::from_utf8(&sid)
            .ok()
            .and_then(|sid| registry.find(sid));
        let exchange = Self {
            mailbox: Some(found.ok_or(PrebindError::Ended(None))?.mailbox),
            sid,
            rid: creation.rid,
            requests: 0,
        };
        Ok((exchange, answer.stanzas))
    }

    /// Sends `stanza`, if there is one; gives what comes back.
    pub(super) async fn send(
        &mut self,
        stanza: Option<Stanza>,
    ) -> Result<Vec<Stanza>, PrebindError> {
        self.request(stanza, false).await
    }

    /// Restarts the stream; gives what comes back.
    pub(super) async fn restart(&mut self) -> Result<Vec<Stanza>, PrebindError> {
        self.request(None, true).await
    }

    async fn request(
        &mut self,
        stanza: Option<Stanza>,
        restart: bool,
    ) -> Result<Vec<Stanza>, PrebindError> {
        self.rid = self.rid.plus(1);
        self.requests += 1;
        let request = Request {
            sid: self.sid.clone(),
            rid: self.rid,
            ack: None,
            key: None,
            newkey: None,
            pause: None,
            restart,
            terminate: false,
            payload: SmallVec::from_iter(stanza),
            // None is ever sent twice.
            digest: self.requests,
            page: None,
        };
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Bosh { request, reply }).await?;
        Ok(Answer::read(answer.await.ok())?.stanzas)
    }

    /// Leaves the session to a client that gets its sid, and the rid to go on with.
    pub(super) async fn hand_over(mut self) -> Result<(String, Rid), PrebindError> {
        self.tell(Command::HandOver).await?;
        self.mailbox = None;
        let sid = String::from_utf8_lossy(&self.sid).into_owned();
        Ok((sid, self.rid.plus(1)))
    }

    async fn tell(&self, command: Command) -> Result<(), PrebindError> {
        let mailbox = self.mailbox.as_ref().ok_or(PrebindError::Ended(None))?;
        let told = mailbox.send(Box::new(command)).await;
        told.map_err(|_| PrebindError::Ended(None))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(mailbox) = &self.mailbox {
            // A session that cannot be told ends by itself, as nobody comes.
            let _ = mailbox.try_send(Box::new(Command::Abandon));
        }
    }
}

fn creation(domain: &str) -> Result<Creation, PrebindError> {
    // Whoever guesses the rid still lacks the sid; but clients of the same site should not begin alike.
    let rid = getrandom::u32().map_err(|_| PrebindError::NoRandomness)?;
    let rid = Rid::parse(&(u64::from(rid) + 1).to_string());
    Ok(Creation {
        rid: rid.ok_or(PrebindError::NoRandomness)?,
        to: Some(domain.to_owned()),
        wait: None,
        hold: Some(1),
        ver: Some(VERSION),
        content: None,
        acks: false,
        lang: None,
        newkey: None,
    })
}

/// What an answer carries.
struct Answer {
    /// That of the first has it.
    sid: Option<Bytes>,
    stanzas: Vec<Stanza>,
}

impl Answer {
    fn read(reply: Option<bosh::Reply>) -> Result<Self, PrebindError> {
        let document = match reply.ok_or(PrebindError::Ended(None))? {
            bosh::Reply::Document { document, .. } => document,
            bosh::Reply::Unreachable => return Err(PrebindError::Unreachable),
        };
        let document = document.into_chunks().concat();
        let body = scan_body(document.into(), &Limits::default());
        let body = body.map_err(|_| PrebindError::Malformed)?;
        let attribute = |name: &str| {
            let mut attributes = body.attributes.iter();
            attributes.find(|it| it.ns == Ns::None && it.local() == name)
        };
        if attribute("type").is_some_and(|it| it.value() == "terminate") {
            let condition = attribute("condition").map(|it| it.value().into_owned());
            return Err(PrebindError::Ended(condition));
        }
        Ok(Self {
            sid: attribute("sid").map(|it| it.raw.clone()),
            stanzas: body.children.into_iter().collect(),
        })
    }
}
