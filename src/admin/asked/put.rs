//! Lists that the site brings, for the sessions at other gateways.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jid::BareJid;

use crate::{
    admin::{
        Lists,
        others::{Words, encode},
        put,
        refresh::Call,
        respond::Failure,
    },
    backend::ContactSource,
    cluster::Question,
};

impl<S: ContactSource + 'static> Call<S> {
    /// Hands the list of `owner` to the others, which the site had at the time `as_of`.
    pub(in crate::admin) async fn put_elsewhere(
        &self,
        owner: &BareJid,
        as_of: Duration,
        list: &[u8],
    ) -> Words<()> {
        let head = match encode(&(owner.as_str(), as_of), self.deadline) {
            Ok(head) => head,
            Err(failure) => return failure.into(),
        };
        let mut body = BytesMut::with_capacity(head.len() + 1 + list.len());
        body.extend_from_slice(&head);
        body.extend_from_slice(b"\n");
        body.extend_from_slice(list);
        let (question, body) = (Question::Put, body.freeze());
        self.others
            .ask_all_with(question, body, self.deadline)
            .await
    }

    /// Takes the list of `owner` for the sessions here, for another gateway.
    pub(super) async fn put_own(
        &self,
        owner: &str,
        as_of: Duration,
        list: Bytes,
    ) -> Result<(), Failure> {
        let (domain, user) = self.user(owner, None)?;
        let lists = self.table.rosters(&domain)?.clone();
        if matches!(lists, Lists::Server(_)) {
            // Whoever asks has it written.
            return Ok(());
        }
        let _turn = self.in_time(self.turns.of_others(list.len())).await?;
        let owner = put::owner(&user, &domain)?;
        let read = put::read(list, &owner).await?;
        self.in_time(lists.put(&user, read.contacts, &read.left_out, as_of))
            .await?
    }
}
