//! Presence of users whose sessions are at several gateways.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{availability::users::View, cluster::NodeName, events::Page, roster::Username};

/// Whose presence is asked for.
#[derive(Deserialize, Serialize)]
pub(in crate::admin) enum Wanted {
    /// Of these bare JIDs.
    Users(Vec<String>),
    /// Of all who are available, by name.
    Available {
        domain: String,
        after: Option<String>,
        limit: usize,
    },
    /// Whom of these it has, of whom the site is about to be told; by name.
    InDoubt {
        domain: String,
        came: Vec<String>,
        left: Vec<String>,
    },
}

/// A part of those who are available.
#[derive(Deserialize, Serialize)]
pub(in crate::admin) struct Available {
    pub(in crate::admin) users: Vec<(String, View)>,
    pub(in crate::admin) has_more: bool,
    pub(in crate::admin) total: usize,
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
