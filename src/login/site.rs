//! Client of the site's own interface for logins, which is asked about passwords that are no tokens. It has the
//! protocol of Prosody's `mod_auth_http` and MongooseIM's `auth.http`.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, USER_AGENT},
};
use http_body_util::Empty;
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;

use crate::{
    config::{BaseUrl, Credentials},
    net::{
        body,
        http_client::{self, Broken, HttpClient, Options},
        tls::Trust,
    },
};

/// Longest time for one answer, the wait for a turn included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most requests at once.
const AT_ONCE: usize = 32;
/// Longest answer, bytes: it is one word.
const LONGEST: usize = 1 << 10;

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Question<'a> {
    /// Whether this is the user's password.
    CheckPassword(&'a str),
    /// Whether there is such a user.
    UserExists,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SiteError {
    /// There was none in time.
    #[error(
        "auth_url did not answer within {}",
        humantime::format_duration(TIMEOUT)
    )]
    Timeout,
    /// The request got no answer.
    #[error("auth_url {}", in_words(*.0))]
    Broken(Broken),
    /// It answered with another status than 200.
    #[error("auth_url answered {status}")]
    Status {
        /// That status.
        status: StatusCode,
    },
    /// It answered neither `true` nor `false`.
    #[error("auth_url answered neither true nor false")]
    Answer,
}

fn in_words(broken: Broken) -> &'static str {
    match broken {
        Broken::Off => "broke off the connection",
        Broken::NotHttp => "answered with something that is not HTTP",
        Broken::Refused => "refused the connection",
        Broken::Tls => "has no trusted certificate",
        Broken::Unreachable => "cannot be reached",
    }
}

/// The site's interface for logins.
#[derive(Debug)]
pub(super) struct Site {
    client: HttpClient<Empty<Bytes>>,
    base: BaseUrl,
    authorization: Option<HeaderValue>,
    turns: Semaphore,
}

impl Site {
    pub(super) fn new(base: &BaseUrl, credentials: Option<&Credentials>) -> Self {
        let trust = match base.is_https() {
            true => Trust::system(),
            false => Trust::nobody(),
        };
        let options = Options {
            connect_timeout: None,
            most_idle: AT_ONCE,
        };
        let authorization = credentials.and_then(|credentials| {
            let mut value = HeaderValue::try_from(credentials.header().expose()).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            client: HttpClient::new(trust, options).expect("ring supports the default versions"),
            base: base.clone(),
            authorization,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        user: &str,
        domain: &str,
    ) -> Result<bool, SiteError> {
        let asking = self.answer(question, user, domain);
        timeout(TIMEOUT, asking)
            .await
            .unwrap_or(Err(SiteError::Timeout))
    }

    async fn answer(
        &self,
        question: Question<'_>,
        user: &str,
        domain: &str,
    ) -> Result<bool, SiteError> {
        let url = self.url(question, user, domain);
        let mut request = Request::get(url).header(USER_AGENT, http_client::USER_AGENT);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Empty::new()).map_err(|_| SiteError::Answer)?;
        // It is never closed.
        let _turn = self.turns.acquire().await.ok();
        let response = self
            .client
            .send_repeatable(request)
            .await
            .map_err(|error| {
                debug!(error = &error as &dyn Error, "request to auth_url broke");
                SiteError::Broken(Broken::from(&error))
            })?;
        match response.status() {
            StatusCode::OK => {}
            status => return Err(SiteError::Status { status }),
        }
        let word = body::read(response.into_body(), LONGEST).await;
        match word.map_err(|_| SiteError::Answer)?.trim_ascii() {
            b"true" => Ok(true),
            b"false" => Ok(false),
            _ => Err(SiteError::Answer),
        }
    }

    fn url(&self, question: Question<'_>, user: &str, domain: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("user", user)
            .append_pair("server", domain);
        let path = match question {
            Question::CheckPassword(password) => {
                query.append_pair("pass", password);
                "check_password"
            }
            Question::UserExists => "user_exists",
        };
        format!("{}/{path}?{}", self.base.as_str(), query.finish())
    }
}
