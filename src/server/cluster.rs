//! Cluster: this gateway among others, if there are any. Joins them, has their questions answered, and looks again at what it
//! may have missed, or a gateway that has died.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use tracing::info;

use super::{RunError, gateway::Gateway};
use crate::{
    cluster::{Answers, Cluster, NodeName, Question, own_name},
    config::Config,
    front::elsewhere,
    session::Registry,
};

/// How long another gateway may take to answer what it has missed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sessions' registry, which knows what this gateway is called, and the others, if it is one of several.
pub(super) async fn begin(
    config: &Config,
) -> Result<(Arc<Registry>, Option<Arc<Cluster>>), RunError> {
    let mut registry = Registry::default();
    if !config.cluster.is_on() {
        return Ok((Arc::new(registry), None));
    }
    let node = own_name(&config.cluster)?;
    registry.node = Some(node.as_str().into());
    let registry = Arc::new(registry);
    let cluster = Cluster::new(&config.cluster, node, Arc::clone(&registry)).await?;
    Ok((registry, Some(cluster)))
}

/// Joins the others.
pub(super) async fn join(gateway: &Arc<Gateway>) -> Result<(), RunError> {
    let Some(cluster) = &gateway.cluster else {
        return Ok(());
    };
    let answers = Arc::new(Own(Arc::downgrade(gateway)));
    cluster.start(answers).await?;
    elsewhere::run_errands(&gateway.registry, cluster);
    tokio::spawn(look_again(Arc::clone(cluster), Arc::downgrade(gateway)));
    Ok(())
}

/// Revalidates all lists whenever something may have been missed, and tells others what they have missed. The sites have to
/// look again then, and when a gateway has died, as what it would have told them is lost.
async fn look_again(cluster: Arc<Cluster>, gateway: Weak<Gateway>) {
    loop {
        let has_missed = tokio::select! {
            () = cluster.missed() => true,
            () = cluster.bereaved() => false,
        };
        let Some(gateway) = gateway.upgrade() else {
            return;
        };
        gateway.miss_events();
        if !has_missed {
            continue;
        }
        let ((), users) = tokio::join!(cluster.settle(PATIENCE), gateway.revalidate());
        info!(
            users,
            "contact lists fetched again, as the site may have told others of changes"
        );
    }
}

/// What this gateway answers others with.
struct Own(Weak<Gateway>);

impl Answers for Own {
    fn answer(
        &self,
        from: &NodeName,
        question: Question,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let Some(gateway) = self.0.upgrade() else {
            return Box::pin(ready(Err("it stops".to_owned())));
        };
        match question {
            Question::Bosh => Box::pin(gateway.answer_bosh(body)),
            Question::EndSleeping => {
                let registry = Arc::clone(&gateway.registry);
                Box::pin(elsewhere::answer_of_sleeping(registry, body))
            }
            Question::Refresh
            | Question::Put
            | Question::EndSessions
            | Question::Presence
            | Question::Sessions
            | Question::Roster
            | Question::Status
            | Question::Spend
            | Question::LetIn => gateway.admin().answer_other(from, question, body),
        }
    }
}
