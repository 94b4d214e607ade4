//! Events of several gateways: before one tells a site of users, it asks the others whether they have them.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::debug;

use super::{Others, Words, presence::Wanted};
use crate::{
    availability::users::Doubts,
    cluster::{Cluster, Question},
    events::{Elsewhere, Had},
    roster::Username,
};

/// The other gateways, as far as events need them.
pub fn elsewhere(cluster: &Arc<Cluster>) -> Arc<dyn Elsewhere> {
    Arc::new(Others::new(Some(Arc::clone(cluster))))
}

impl Elsewhere for Others {
    fn have(&self, domain: &str, doubts: Doubts, within: Duration) -> BoxFuture<'_, Had> {
        let names = |users: Vec<Username>| users.iter().map(ToString::to_string).collect();
        let wanted = Wanted::InDoubt {
            domain: domain.to_owned(),
            came: names(doubts.came),
            left: names(doubts.left),
        };
        Box::pin(async move {
            let deadline = Instant::now() + within;
            let asked = self.ask_all(Question::Presence, &wanted, deadline);
            let Words::<Vec<String>> { said, failures } = asked.await;
            for failure in &failures {
                debug!(%failure, "events are told without knowing what another gateway has");
            }
            let users: Vec<String> = said.into_iter().flat_map(|(_, users)| users).collect();
            Had {
                users: users
                    .iter()
                    .filter_map(|it| Username::prepare(it))
                    .collect(),
                is_complete: failures.is_empty(),
            }
        })
    }
}
