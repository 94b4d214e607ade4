//! Answers to other gateways. They are bounded as requests are: by the length of a body, the deadline, and turns.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::debug;

use crate::{
    admin::{
        Admin,
        gateways::Share,
        others::{
            Others,
            end::Ending,
            login::{Spend, Welcome},
            presence::Wanted,
        },
        refresh::{Answer, Call},
        sessions::{self, Filter},
    },
    backend::ContactSource,
    cluster::{NodeName, Question},
};

impl<S: ContactSource + 'static> Admin<S> {
    /// Answers a question of another gateway, which has checked who calls.
    pub fn answer_other(
        self,
        from: &NodeName,
        question: Question,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, String>> {
        let from = from.clone();
        Box::pin(async move {
            let answer = self.answer_asked(question, body).await;
            let error = answer.as_ref().err();
            debug!(%from, question = question.as_str(), error, "asked by another gateway");
            answer
        })
    }

    async fn answer_asked(self, question: Question, body: Bytes) -> Result<Bytes, String> {
        match question {
            Question::Refresh => {
                let (call, users) = self.call::<Vec<String>>(&body)?;
                drop(body);
                encode(&call.refresh_own(&users).await)
            }
            Question::Put => {
                let end = memchr::memchr(b'\n', &body).ok_or("no list follows")?;
                let (call, (owner, as_of)) = self.call::<(String, Duration)>(&body[..end])?;
                encode(
                    &call
                        .put_own(&owner, as_of, body.slice(end + 1..))
                        .await
                        .map_err(text)?,
                )
            }
            Question::EndSessions => {
                let (call, ending) = self.call::<Ending>(&body)?;
                let ended = call.end_own(&self.sessions, &ending).await;
                encode(&ended.map_err(text)?)
            }
            Question::Presence => {
                let (call, wanted) = self.call::<Wanted>(&body)?;
                match wanted {
                    Wanted::Users(jids) => encode(&call.seen_own(jids)),
                    Wanted::Available {
                        domain,
                        after,
                        limit,
                    } => {
                        let page = call.available_own(&domain, after.as_deref(), limit);
                        encode(&page.map_err(text)?)
                    }
                    Wanted::InDoubt { domain, came, left } => {
                        let had = call.has_own(&domain, &came, &left);
                        encode(&had.map_err(text)?)
                    }
                }
            }
            Question::Sessions => {
                let (_, filter) = self.call::<Filter>(&body)?;
                encode(&sessions::own(&self.sessions, &filter))
            }
            Question::Status => encode(&Share::own(&self.sessions)),
            Question::Roster => {
                let (call, jid) = self.call::<String>(&body)?;
                encode(&call.known_own(&jid).map_err(text)?)
            }
            Question::Spend => {
                let (call, token) = self.call::<Spend>(&body)?;
                encode(&call.spend_own(&token))
            }
            Question::LetIn => {
                let (_, account) = self.call::<Welcome>(&body)?;
                self.sessions.shut_out.lift(account.0.as_str());
                encode(&())
            }
            Question::Bosh | Question::EndSleeping => Err("it does not know that".to_owned()),
        }
    }

    /// The call that a question makes, and what is asked.
    fn call<T: for<'a> Deserialize<'a>>(&self, body: &[u8]) -> Result<(Call<S>, T), String> {
        let (within, asked): (u64, T) = serde_json::from_slice(body).map_err(text)?;
        let after = self.config.deadline.min(Duration::from_millis(within));
        let call = Call {
            table: self.hosts.table(),
            path_domain: None,
            host: None,
            caller: None,
            after,
            deadline: Instant::now() + after,
            metrics: Arc::clone(&self.sessions.metrics),
            turns: Arc::clone(&self.turns),
            stop: self.stop.watch(),
            answer: Answer::WhenDone,
            others: Others::default(),
        };
        Ok((call, asked))
    }
}

fn encode(answer: &impl Serialize) -> Result<Bytes, String> {
    serde_json::to_vec(answer).map(Bytes::from).map_err(text)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
