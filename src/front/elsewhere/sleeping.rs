//! Sessions that sleep in other gateways, as their clients have come to this one: has those gateways asked, and answers
//! them. What happens to a session is for `session` to say.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use tracing::debug;

use super::wire::Unreadable;
use crate::{
    cluster::{Cluster, Question},
    session::{Errand, MAX_ERRANDS, Registry, Sleeper, Wish},
};

/// How long the other gateway may take. Its session may need some seconds for its end.
const PATIENCE: Duration = Duration::from_secs(5);

const SECURE: u8 = 1;
const NAMED: u8 = 1 << 1;

const SESSION: u8 = 1;
const ENDED: u8 = 2;
const STRANGERS: u8 = 3;
const INSECURE: u8 = 4;
const NOTHING: u8 = 5;

/// Has the sessions of `registry` ask the other gateways of the cluster from now on.
pub fn run_errands(registry: &Registry, cluster: &Arc<Cluster>) {
    let (sender, errands) = mpsc::channel(MAX_ERRANDS);
    if registry.errands.set(sender).is_ok() {
        tokio::spawn(run(errands, Arc::clone(cluster)));
    }
}

async fn run(mut errands: mpsc::Receiver<Errand>, cluster: Arc<Cluster>) {
    while let Some(Errand { node, wish, reply }) = errands.recv().await {
        let body = encode_wish(&wish);
        let sent = cluster.send_question(&node, Question::EndSleeping, body, PATIENCE);
        match sent.await {
            // As many as the cluster lets be asked at once.
            Ok(asked) => drop(tokio::spawn(async move {
                let sleeper = match asked.await {
                    Ok(answer) => decode_sleeper(answer).ok(),
                    Err(unanswered) => {
                        debug!(node, %unanswered, "session of another gateway not ended");
                        None
                    }
                };
                if let Some(sleeper) = sleeper {
                    // If the session that asks is gone, so is its client.
                    let _ = reply.send(sleeper);
                }
            })),
            Err(unanswered) => debug!(node, %unanswered, "session of another gateway not ended"),
        }
    }
}

/// Answers another gateway.
pub async fn answer(registry: Arc<Registry>, question: Bytes) -> Result<Bytes, String> {
    let wish = decode_wish(question).map_err(|unreadable| unreadable.to_string())?;
    Ok(encode_sleeper(&registry.end_sleeping(wish).await))
}

fn encode_wish(wish: &Wish) -> Bytes {
    let Wish {
        previd,
        h,
        secure,
        account,
    } = wish;
    let mut flags = 0;
    if *secure {
        flags |= SECURE;
    }
    if account.is_some() {
        flags |= NAMED;
    }
    let mut bytes = BytesMut::new();
    bytes.put_u8(flags);
    bytes.put_u32(*h);
    // An SM-ID that names a gateway is short.
    bytes.put_u8(u8::try_from(previd.len()).unwrap_or_default());
    bytes.put_slice(previd.as_bytes());
    bytes.put_slice(account.as_deref().unwrap_or_default().as_bytes());
    bytes.freeze()
}

fn decode_wish(mut bytes: Bytes) -> Result<Wish, Unreadable> {
    let flags = bytes.try_get_u8().map_err(|_| Unreadable)?;
    let h = bytes.try_get_u32().map_err(|_| Unreadable)?;
    let length = usize::from(bytes.try_get_u8().map_err(|_| Unreadable)?);
    if bytes.len() < length {
        return Err(Unreadable);
    }
    let previd = text(&bytes.split_to(length))?;
    let account = text(&bytes)?;
    Ok(Wish {
        previd,
        h,
        secure: flags & SECURE != 0,
        account: (flags & NAMED != 0).then_some(account),
    })
}

fn encode_sleeper(sleeper: &Sleeper) -> Bytes {
    let mut bytes = BytesMut::new();
    match sleeper {
        Sleeper::Session { resource } => {
            bytes.put_u8(SESSION);
            bytes.put_slice(resource.as_bytes());
        }
        Sleeper::Ended(taken) => {
            bytes.put_u8(ENDED);
            bytes.put_u32(*taken);
        }
        Sleeper::Strangers => bytes.put_u8(STRANGERS),
        Sleeper::Insecure => bytes.put_u8(INSECURE),
        Sleeper::Nothing => bytes.put_u8(NOTHING),
    }
    bytes.freeze()
}

fn decode_sleeper(mut bytes: Bytes) -> Result<Sleeper, Unreadable> {
    Ok(match bytes.try_get_u8().map_err(|_| Unreadable)? {
        SESSION => Sleeper::Session {
            resource: text(&bytes)?,
        },
        ENDED => Sleeper::Ended(bytes.try_get_u32().map_err(|_| Unreadable)?),
        STRANGERS => Sleeper::Strangers,
        INSECURE => Sleeper::Insecure,
        NOTHING => Sleeper::Nothing,
        _ => return Err(Unreadable),
    })
}

fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable)?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_wish_arrives_as_it_was_sent(
            previd in "[ -~]{0,60}",
            h: u32,
            secure: bool,
            account in proptest::option::of(".{0,80}"),
        ) {
            let wish = Wish { previd, h, secure, account };
            prop_assert_eq!(decode_wish(encode_wish(&wish)), Ok(wish));
        }

        #[test]
        fn so_does_what_an_sm_id_names(resource in ".{0,80}", taken: u32) {
            for sleeper in [
                Sleeper::Session { resource },
                Sleeper::Ended(taken),
                Sleeper::Strangers,
                Sleeper::Insecure,
                Sleeper::Nothing,
            ] {
                prop_assert_eq!(decode_sleeper(encode_sleeper(&sleeper)), Ok(sleeper));
            }
        }

        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode_wish(bytes.clone().into());
            let _ = decode_sleeper(bytes.into());
        }
    }
}
