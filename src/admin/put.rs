//! A contact list that the site brings itself: nothing is fetched.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use jid::{BareJid, DomainPart, NodePart};
use tokio::join;
use tracing::{field::display, info};

use super::{
    Lists,
    others::Words,
    refresh::Call,
    respond::{Failure, LeftOut as Unusable, Outcome, Put},
};
use crate::{
    backend::{
        ContactSource,
        decode::{self, Contacts, NoContacts},
        off_thread,
    },
    net::answer,
    roster::{Contact, Username, left_out::LeftOut},
};

/// Longest body that is read at once; a longer one would delay other tasks, bytes.
const LARGE: usize = 96 << 10;

impl<S: ContactSource + 'static> Lists<S> {
    /// What time it is for a list of `user` that the site brings now. Where the server has the lists, it does not matter.
    fn time_of(&self, user: &Username) -> Duration {
        match self {
            Self::Gateway(rosters) => rosters.time_of(user),
            Self::Server(_) => Duration::ZERO,
        }
    }

    pub(super) async fn put(
        &self,
        user: &Username,
        contacts: Vec<Contact>,
        left_out: &LeftOut,
        as_of: Duration,
    ) -> Result<(), Failure> {
        match self {
            Self::Gateway(rosters) => {
                let left_out = left_out.clone();
                rosters.put(user, contacts, left_out, as_of).await?;
            }
            Self::Server(rosters) => rosters.put(user, contacts, left_out).await?,
        }
        Ok(())
    }
}

impl<S: ContactSource + 'static> Call<S> {
    /// Publishes the list of a user as a refresh would, or writes it into the server.
    pub(super) async fn put<B>(
        self,
        name: &str,
        body: B,
        limit: usize,
    ) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let default = self.default_domain([name])?;
        let (domain, user) = self.user(name, default.as_ref())?;
        let lists = self.table.rosters(&domain)?.clone();
        let body = self.body(body, limit).await?;
        let _turn = self.long_turn(&body).await?;
        let owner = owner(&user, &domain)?;
        let is_shared = self.others.may_exist() && matches!(lists, Lists::Gateway(_));
        let shared = is_shared.then(|| body.clone());
        let Contacts { contacts, left_out } = read(body, &owner).await?;
        let count = contacts.len();
        let as_of = lists.time_of(&user);
        let elsewhere = async {
            match shared {
                Some(body) => self.put_elsewhere(&owner, as_of, &body).await,
                None => Words::default(),
            }
        };
        let putting = async { join!(lists.put(&user, contacts, &left_out, as_of), elsewhere) };
        let put = self.in_time(putting).await;
        let put = put.and_then(|(put, words)| {
            put?;
            words.failures.into_iter().next().map_or(Ok(()), Err)
        });
        let updated = usize::from(put.is_ok());
        self.metrics.refreshed(updated, 1 - updated);
        let caller = self.caller.map(|peer| display(peer.0.ip()));
        let error = put.as_ref().err().map(display);
        info!(caller, user = %owner, contacts = count, error, "contact list put");
        put?;
        let first = left_out.first();
        let summary = Put {
            outcome: Outcome::ok(),
            updated: 1,
            errors: 0,
            left_out: first.iter().map(Unusable::new).collect(),
            left_out_omitted: left_out.count() - first.len(),
        };
        Ok(answer::json(StatusCode::OK, &summary))
    }
}

/// Whose list a user's is.
pub(super) fn owner(user: &Username, domain: &DomainPart) -> Result<BareJid, Failure> {
    let node = NodePart::new(user.as_str()).map_err(|_| Failure::Username)?;
    Ok(BareJid::from_parts(Some(&node), domain))
}

/// Reads the list that a body is.
pub(super) async fn read(body: Bytes, owner: &BareJid) -> Result<Contacts, Failure> {
    let is_large = body.len() > LARGE;
    let owner = owner.clone();
    let read = off_thread(is_large, move || {
        decode::contacts(&mut BytesMut::from(body), &owner)
    });
    Ok(read.await??)
}

impl From<NoContacts> for Failure {
    fn from(error: NoContacts) -> Self {
        Self::List {
            problem: error.to_string(),
        }
    }
}
