//! HTTP interface of an XMPP server: JSON over connections that are kept. What is asked, and what an answer means, is up
//! to the caller.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tracing::debug;

use super::{WriteError, error::Asked};
use crate::{
    backend::off_thread,
    config::WriterEndpoint,
    net::{
        body::{Limited, ReadError},
        http_client::{self, Broken, HttpClient, Options},
        tls::Trust,
    },
};

/// Longest time for one answer: a list of 100,000 contacts takes its time. Whoever has asked for the refresh is to hear
/// that this was the reason, even if the site has taken all of its time as well.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer, bytes.
const MAX_ANSWER: usize = 64 << 20;
/// Longest answer that need not wait for other long ones, bytes.
const SMALL: usize = 256 << 10;

/// Client of one server's interface.
#[derive(Debug)]
pub(super) struct Api {
    /// Which kind of server it is, for errors.
    server: &'static str,
    client: HttpClient<Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
    host: Option<HeaderValue>,
    /// Long answers are read one after the other.
    large: Semaphore,
}

/// Answer of the server.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) asked: Asked,
    pub(super) status: StatusCode,
    body: Vec<u8>,
}

impl Api {
    /// The interface of a `server` at `endpoint`; `host` is sent as the `Host`, in place of that of the URL.
    pub(super) fn new(
        server: &'static str,
        endpoint: &WriterEndpoint,
        host: Option<&str>,
        connections: usize,
    ) -> Self {
        let trust = match endpoint.url.is_https() {
            true => Trust::system(),
            false => Trust::nobody(),
        };
        let options = Options {
            connect_timeout: Some(TIMEOUT),
            most_idle: connections,
        };
        let credentials = endpoint.credentials.as_ref();
        let authorization = credentials.and_then(|credentials| {
            let value = HeaderValue::try_from(credentials.header().expose());
            let mut value = value.ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            server,
            client: HttpClient::new(trust, options).expect("ring supports the default versions"),
            base: endpoint.url.as_str().to_owned(),
            authorization,
            host: host.and_then(|host| host.parse().ok()),
            large: Semaphore::new(1),
        }
    }

    /// Asks what is called `request` in errors. A path begins with a slash.
    pub(super) async fn call(
        &self,
        request: &'static str,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, WriteError> {
        let after = TIMEOUT;
        let asked = Asked {
            server: self.server,
            request,
        };
        let answer = timeout(after, self.ask(asked, method, path, body)).await;
        answer.unwrap_or(Err(WriteError::Timeout { asked, after }))
    }

    async fn ask(
        &self,
        asked: Asked,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, WriteError> {
        let json = body.map(serde_json::to_vec).transpose();
        let json = json.map_err(|_| WriteError::Answer { asked })?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, http_client::USER_AGENT);
        let optional = [(AUTHORIZATION, &self.authorization), (HOST, &self.host)];
        for (header, value) in optional {
            if let Some(value) = value {
                request = request.header(header, value);
            }
        }
        let request = request.body(Full::from(json.unwrap_or_default()));
        let request = request.map_err(|_| WriteError::Answer { asked })?;
        let response = self.client.send_repeatable(request).await;
        let response = response.map_err(|error| {
            debug!(error = &error as &dyn Error, "request to the server broke");
            WriteError::Broken {
                asked,
                broken: Broken::from(&error),
            }
        })?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(WriteError::Denied { asked, status });
        }
        let answer_error = |error: ReadError<hyper::Error>| match error {
            ReadError::TooLarge { .. } => WriteError::Answer { asked },
            ReadError::Broken(_) => WriteError::Broken {
                asked,
                broken: Broken::Off,
            },
        };
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let mut body = body.map_err(answer_error)?;
        let mut bytes = Vec::new();
        let mut room: Option<SemaphorePermit<'_>> = None;
        while let Some(data) = body.next().await.map_err(answer_error)? {
            if room.is_none() && bytes.len() + data.len() > SMALL {
                room = self.large.acquire().await.ok();
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Answer {
            asked,
            status,
            body: bytes,
        })
    }
}

impl Answer {
    /// The failure that any status but 200 is.
    pub(super) fn expect_ok(self) -> Result<Self, WriteError> {
        match self.status {
            StatusCode::OK => Ok(self),
            status => Err(WriteError::Status {
                asked: self.asked,
                status,
            }),
        }
    }

    /// Whether it is an error about this argument.
    pub(super) fn is_about(&self, argument: &str) -> bool {
        self.body
            .windows(argument.len())
            .any(|window| window == argument.as_bytes())
    }

    /// What `read` makes of its JSON.
    pub(super) async fn read<J, T>(
        self,
        read: impl FnOnce(J) -> T + Send + 'static,
    ) -> Result<T, WriteError>
    where
        J: DeserializeOwned,
        T: Send + 'static,
    {
        let asked = self.asked;
        let is_large = self.body.len() > SMALL;
        let json = off_thread(is_large, move || {
            serde_json::from_slice(&self.body).map(read)
        });
        json.await?.map_err(|_| WriteError::Answer { asked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Backend};

    #[test]
    fn the_reason_is_known_before_the_callers_time_is_over() {
        let all = Backend::default().timeout + TIMEOUT;
        assert!(all < config::Admin::default().deadline);
    }
}
