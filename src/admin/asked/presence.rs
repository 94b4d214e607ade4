//! Presence of users whose sessions are at other gateways.

use crate::{
    admin::{
        others::{
            Words,
            presence::{Available, Numbers, Seen, Wanted},
        },
        refresh::Call,
        respond::Failure,
    },
    availability::{
        queue::MAX_BATCH,
        users::{Doubts, View},
    },
    backend::ContactSource,
    cluster::Question,
    roster::Username,
};

impl<S> Call<S> {
    /// What the others see of these users.
    pub(in crate::admin) async fn seen_elsewhere(&self, jids: Vec<String>) -> Words<Seen> {
        if jids.is_empty() {
            return Words::default();
        }
        let wanted = Wanted::Users(jids);
        let question = Question::Presence;
        self.others.ask_all(question, &wanted, self.deadline).await
    }

    /// Who is available at the others.
    pub(in crate::admin) async fn available_elsewhere(
        &self,
        domain: String,
        after: Option<String>,
        limit: usize,
    ) -> Words<Available> {
        let wanted = Wanted::Available {
            domain,
            after,
            limit,
        };
        let question = Question::Presence;
        self.others.ask_all(question, &wanted, self.deadline).await
    }
}

impl<S: ContactSource + 'static> Call<S> {
    /// What is seen here of these users.
    pub(super) fn seen_own(&self, jids: Vec<String>) -> Seen {
        let view = |jid: &str| {
            let (domain, user) = self.user(jid, None)?;
            Ok::<_, Failure>(self.table.served(&domain)?.availability.view(&user))
        };
        let views = jids.into_iter().filter_map(|jid| {
            let view = view(&jid).ok().filter(|view| *view != View::default())?;
            Some((jid, view))
        });
        views.collect()
    }

    /// Which of the users in doubt are here.
    pub(super) fn has_own(
        &self,
        domain: &str,
        came: &[String],
        left: &[String],
    ) -> Result<Vec<String>, Failure> {
        let domain = crate::admin::domain(domain).ok_or(Failure::UnknownDomain)?;
        let availability = &self.table.served(&domain)?.availability;
        let users = |names: &[String]| {
            let users = names.iter().take(MAX_BATCH);
            users.filter_map(|it| Username::prepare(it)).collect()
        };
        let doubts = Doubts {
            came: users(came),
            left: users(left),
        };
        let had = availability.has(&doubts);
        Ok(had.iter().map(ToString::to_string).collect())
    }

    /// Who is available here.
    pub(super) fn available_own(
        &self,
        domain: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Available, Failure> {
        let domain = crate::admin::domain(domain).ok_or(Failure::UnknownDomain)?;
        let availability = &self.table.served(&domain)?.availability;
        let after = after.and_then(Username::prepare);
        let page = availability.list(after.as_ref(), limit.min(1000));
        let is_whole = page.users.len() == page.total;
        let users = page.users.into_iter();
        Ok(Available {
            numbers: match is_whole {
                true => None,
                false => Numbers::of(availability, page.total),
            },
            users: users.map(|(user, view)| (user.to_string(), view)).collect(),
            has_more: page.has_more,
            total: page.total,
        })
    }
}
