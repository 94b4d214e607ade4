//! Revalidation of all lists, where notifications may have been missed.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Rosters;
use crate::{backend::ContactSource, roster::Username};

impl<S: ContactSource + 'static> Rosters<S> {
    /// Fetches the lists of all users with sessions again, as many at once as a refresh of many would, and says of how
    /// many. A list that has not changed is not sent again by a backend that knows validators.
    pub async fn revalidate(self: &Arc<Self>) -> usize {
        let (mut users, mut under_way) = (0, JoinSet::new());
        for shard in &self.users {
            // The users of a shard at a time.
            let names: Vec<Username> = shard.lock().keys().cloned().collect();
            for user in names {
                if under_way.len() >= self.options.concurrency {
                    under_way.join_next().await;
                }
                if let Some(refreshing) = self.begin_refresh(&user) {
                    users += 1;
                    // Whoever cannot be fetched is told of as any failed fetch is.
                    under_way.spawn(async move { drop(refreshing.await) });
                }
            }
        }
        while under_way.join_next().await.is_some() {}
        users
    }
}
