//! Presence of users whose sessions are at several gateways.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    availability::users::View,
    cluster::NodeName,
    events::{Availability, Page, number},
    roster::Username,
};

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
    /// A number for each who is available, wherever it comes in the order; left out where `users` are all of them, and where
    /// they are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) numbers: Option<Numbers>,
}

/// Most users of a gateway of whom those at other gateways are told apart, when they are counted.
const MOST_NUMBERS: usize = 1 << 18;

/// Numbers of users, as a text.
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::admin) struct Numbers(String);

impl Numbers {
    /// Those of one gateway, which has so many users.
    pub(in crate::admin) fn of(availability: &Availability, total: usize) -> Option<Self> {
        if total > MOST_NUMBERS {
            return None;
        }
        let numbers = availability.numbers().into_iter();
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        Some(Self(BASE64_STANDARD.encode(bytes)))
    }

    fn read(&self) -> Option<Vec<u64>> {
        let bytes = BASE64_STANDARD.decode(&self.0).ok()?;
        let numbers = bytes.chunks_exact(8);
        numbers
            .map(|it| Some(u64::from_le_bytes(it.try_into().ok()?)))
            .collect()
    }
}

/// How many different users are available in all; `None` if some of them are not known.
fn distinct(own: &Availability, total: usize, said: &[(NodeName, Available)]) -> Option<usize> {
    if total > MOST_NUMBERS {
        return None;
    }
    let mut all = own.numbers();
    for (_, available) in said {
        match &available.numbers {
            Some(numbers) => all.extend(numbers.read()?),
            None if available.users.len() == available.total => {
                let names = available.users.iter();
                all.extend(
                    names.filter_map(|(name, _)| Username::prepare(name).map(|it| number(&it))),
                );
            }
            None => return None,
        }
    }
    all.sort_unstable();
    all.dedup();
    Some(all.len())
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

/// The page that the gateways' pages make. Where there are too many users, one at two of them is counted twice beyond it.
pub(in crate::admin) fn join_pages(
    availability: &Availability,
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
    let distinct = match said.is_empty() {
        true => None,
        false => distinct(availability, total, &said),
    };
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
        total: distinct.unwrap_or(total),
        event,
    }
}
