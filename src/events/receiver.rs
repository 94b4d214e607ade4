//! Receiver of a site's events: where they are sent, and what its answers mean.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT},
};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::timeout;
use tracing::debug;

use crate::{
    config::{EventsEndpoint, without_secrets_of_url},
    net::{
        body,
        http_client::{self, Broken, HttpClient, Options},
        tls::Trust,
    },
};

/// Longest time for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest answer that is read to its end, bytes. What it says does not matter.
const MAX_ANSWER: usize = 64 << 10;
/// Longest part of a `Location` that is shown, characters.
const LONGEST_LOCATION: usize = 256;

/// Where the events of a host are sent.
#[derive(Debug)]
pub struct Receiver {
    client: HttpClient<Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
}

/// Why a batch is not delivered. The texts name neither the URL nor anything that the receiver sent, but where a
/// redirect leads to, without what may be secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PostError {
    /// There is no whole answer.
    #[error("receiver of events {}", in_words(*.0))]
    Broken(Broken),
    /// It sends us somewhere else.
    #[error("receiver of events answered {}, a redirect to {location}", status.as_u16())]
    Redirect {
        /// The status that it sent.
        status: StatusCode,
        /// What may be shown of `Location`.
        location: String,
    },
    /// Any other status but 2xx.
    #[error("receiver of events answered {}", status.as_u16())]
    Status {
        /// The one it sent.
        status: StatusCode,
    },
    /// No answer in time.
    #[error("receiver of events did not answer within {}", humantime::format_duration(*after))]
    Timeout {
        /// The time that it had.
        after: Duration,
    },
}

fn in_words(broken: Broken) -> &'static str {
    match broken {
        Broken::Off => "broke off the connection",
        Broken::NotHttp => "answered with something that is not HTTP",
        Broken::Refused => "refused the connection",
        Broken::Tls => "has no trusted certificate, or no TLS",
        Broken::Unreachable => "cannot be reached",
    }
}

impl PostError {
    /// The same in a word or two.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Broken(Broken::Off) => "broken_off",
            Self::Broken(Broken::NotHttp) => "not_http",
            Self::Broken(Broken::Refused) => "refused",
            Self::Broken(Broken::Tls) => "tls",
            Self::Broken(Broken::Unreachable) => "unreachable",
            Self::Redirect { .. } => "redirect",
            Self::Status { .. } => "status",
            Self::Timeout { .. } => "timeout",
        }
    }

    /// Whether fewer events at once may help.
    pub(super) fn is_too_much(&self) -> bool {
        match self {
            Self::Status { status } => *status == StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout { .. } => true,
            Self::Broken(_) | Self::Redirect { .. } => false,
        }
    }
}

impl Receiver {
    /// The receiver at `endpoint`. Loads the system's root certificates if its URL is `https` and the configuration
    /// names no others.
    pub fn new(endpoint: &EventsEndpoint) -> Self {
        let trust = match &endpoint.authorities {
            Some(roots) => Trust::Roots(Arc::clone(roots)),
            None if endpoint.url.is_https() => Trust::system(),
            None => Trust::nobody(),
        };
        let options = Options {
            connect_timeout: Some(TIMEOUT),
            most_idle: 1,
        };
        let authorization = endpoint.credentials.as_ref().and_then(|credentials| {
            let value = HeaderValue::try_from(credentials.header().expose());
            let mut value = value.ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            client: HttpClient::new(trust, options).expect("ring supports the default versions"),
            url: endpoint.url.uri().clone(),
            authorization,
        }
    }

    /// Whether both have the same URL.
    pub(super) fn is_at_the_place_of(&self, other: &Self) -> bool {
        self.url == other.url
    }

    /// Sends a batch; done when the receiver says that it has it.
    pub(super) async fn post(&self, batch: Bytes) -> Result<(), PostError> {
        let after = TIMEOUT;
        let posted = timeout(after, self.try_post(batch)).await;
        posted.unwrap_or(Err(PostError::Timeout { after }))
    }

    async fn try_post(&self, batch: Bytes) -> Result<(), PostError> {
        let mut request = Request::new(Full::from(batch));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, http_client::USER_AGENT);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        // What comes twice has the same ids, so that this may be repeated.
        let response = self.client.send_repeatable(request).await;
        let response = response.map_err(|error| {
            debug!(error = &error as &dyn Error, "delivery of events broke");
            PostError::Broken(Broken::from(&error))
        })?;
        let outcome = outcome(&response);
        body::discard(response.into_body(), MAX_ANSWER).await;
        outcome
    }
}

fn outcome(response: &Response<Incoming>) -> Result<(), PostError> {
    let status = response.status();
    let location = response.headers().get(LOCATION);
    match location.and_then(|location| location.to_str().ok()) {
        _ if status.is_success() => Ok(()),
        Some(location) if status.is_redirection() => {
            let shown = without_secrets_of_url(location);
            let before_parameters = shown.chars().take_while(|&c| c != ';');
            let location = before_parameters.take(LONGEST_LOCATION).collect();
            Err(PostError::Redirect { status, location })
        }
        _ => Err(PostError::Status { status }),
    }
}
