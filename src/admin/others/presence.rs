//! Presence of users whose sessions are at several gateways.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::Words;
use crate::{
    admin::{refresh::Call, respond::Failure},
    availability::users::View,
    cluster::{NodeName, Question},
    events::Page,
    roster::Username,
};

/// Whose presence is asked for.
#[derive(Deserialize, Serialize)]
pub(super) enum Wanted {
    /// Of these bare JIDs.
    Users(Vec<String>),
    /// Of all who are available, by name.
    Available {
        domain: String,
        after: Option<String>,
        limit: usize,
    },
}

/// A part of those who are available.
#[derive(Deserialize, Serialize)]
pub(in crate::admin) struct Available {
    users: Vec<(String, View)>,
    has_more: bool,
    total: usize,
}

/// What is seen of the users, by bare JID, where anything is.
pub(in crate::admin) type Seen = HashMap<String, View>;

/// What all others see together.
pub(in crate::admin) fn join_seen(said: Vec<(NodeName, Seen)>) -> Seen {
    let mut joined = Seen::new();
    for (jid, view) in said.into_iter().flat_map(|(_, seen)| seen) {
        let known = joined.remove(&jid).unwrap_or_default();
        joined.insert(jid, known.join(view));
    }
    joined
}

/// The page that the gateways' pages make. A user at two of them is counted twice beyond it.
pub(in crate::admin) fn join_pages(
    own: Page,
    said: Vec<(NodeName, Available)>,
    limit: usize,
) -> Page {
    let Page {
        users,
        mut has_more,
        mut total,
        event,
    } = own;
    let mut joined: BTreeMap<Username, View> = users.into_iter().collect();
    for (_, available) in said {
        has_more |= available.has_more;
        total += available.total;
        for (name, view) in available.users {
            let Some(user) = Username::prepare(&name) else {
                continue;
            };
            match joined.remove(&user) {
                Some(known) => {
                    total -= 1;
                    joined.insert(user, known.join(view));
                }
                None => {
                    joined.insert(user, view);
                }
            }
        }
    }
    has_more |= joined.len() > limit;
    let users = joined.into_iter().take(limit).collect();
    Page {
        users,
        has_more,
        total,
        event,
    }
}

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

impl<S: crate::backend::ContactSource + 'static> Call<S> {
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
        let users = page.users.into_iter();
        Ok(Available {
            users: users.map(|(user, view)| (user.to_string(), view)).collect(),
            has_more: page.has_more,
            total: page.total,
        })
    }
}
