//! HTTP client of the site's backend: asks it for one user's contacts.
//!
//! `GET` of the roster URL with the percent-encoded username for `%s`; the answer is a JSON object
//! of contact JID to data, which [`decode`] reads. What becomes of each shape:
//!
//! | answer | result |
//! |---|---|
//! | 200, object | the contacts in it |
//! | 200, `{}` or `[]` | an empty roster |
//! | 200, object with entries of which none is a contact (`{"error": "down"}`) | failed fetch |
//! | the same with domains only, if anything is beside them, or they have neither an object, `[]` nor `null` (`{"error.code": 5}`) | failed fetch |
//! | 200, any other JSON, broken JSON, text after it | failed fetch |
//! | 304 to a conditional request; 200, the same bytes, `ETag` and `Last-Modified` as before | unchanged |
//! | the connection, used before, closes before a byte of the answer | asked once more, on a new one |
//! | any other status, 304 to an unconditional request | failed fetch |
//! | a redirect: it is not followed | failed fetch, whose reason names `Location` |
//!
//! `Last-Modified` counts in seconds. Where the answer is not at least a second younger than it, the list may change
//! once more without a new `Last-Modified`; then neither it nor the `ETag` is sent back (see [`Validators`]).
//!
//! Answers take memory while they are read, and what is made of them does. Small ones have room in any
//! case, since their number is bounded; larger ones share [`LARGE_UNDER_WAY`], and wait for each other.

use std::{
    error::Error,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{
        self, ACCEPT, AUTHORIZATION, DATE, ETAG, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LAST_MODIFIED, LOCATION,
    },
};
use http_body_util::Empty;
use hyper::body::Incoming;
use jid::{BareJid, DomainPart, NodePart};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{debug, warn};

use super::{
    ContactSource, FetchError, Fetched, Room,
    decode::{self, Contacts, NoContacts},
    instead::{Instead, LOOKED_AT},
    off_thread,
    omissions::{Incomplete, Omissions},
};
use crate::{
    clock::{since_1970, wall_clock},
    config::{Backend, RosterUrl, without_secrets_of_url},
    net::{
        body::{Limited, ReadError},
        http_client::{Broken, HttpClient, Options, USER_AGENT, path_segment},
        tls::Trust,
    },
    roster::{Username, left_out::LeftOut, snapshot::Validators},
};

/// Longest answer that is read on a thread of the runtime, bytes: about 1,000 contacts.
const LARGE: usize = 96 << 10;

/// Longest answer that is read without a permit for its memory, bytes.
const SMALL: usize = 256 << 10;
/// Bytes of longer answers of one host that are read, or made a list of, at once.
pub const LARGE_UNDER_WAY: usize = 32 << 20;
/// Unit of the permits for memory, bytes.
const UNIT: usize = 1 << 10;

/// Resolution of `Last-Modified`.
const ONE_SECOND: Duration = Duration::from_secs(1);

/// Longest validator that is sent back, bytes.
const LONGEST_VALIDATOR: usize = 1024;

/// Number of sources that have been made.
static SOURCES: AtomicU64 = AtomicU64::new(1);

/// Longest part of a `Location` that is shown, characters.
const LONGEST_LOCATION: usize = 256;

/// What an answer is that is none.
fn other_status(response: &Response<Incoming>) -> FetchError {
    let status = response.status();
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION);
    match location.and_then(|location| location.to_str().ok()) {
        Some(location) if is_redirect => FetchError::Redirect {
            status,
            location: shown_location(location),
        },
        _ => FetchError::Status { status },
    }
}

/// A `Location` without user, password, query and parameters: some servers write a session ID as one.
fn shown_location(location: &str) -> String {
    let shown = without_secrets_of_url(location);
    let before_parameters = shown.chars().take_while(|&c| c != ';');
    before_parameters.take(LONGEST_LOCATION).collect()
}

/// The validators of an answer that may be sent back; `received` is the time by the gateway's clock.
///
/// Many servers make their `ETag` of the same time in seconds (Nginx, of that and the size), so both go together.
fn validators(headers: &HeaderMap, received: SystemTime) -> [Option<HeaderValue>; 2] {
    if is_settled(headers, received) {
        [ETAG, LAST_MODIFIED].map(|name| validator(headers, name))
    } else {
        [None, None]
    }
}

/// Whether a later change must get another `Last-Modified`, if there is one (RFC 9110 §8.8.2.2).
fn is_settled(headers: &HeaderMap, received: SystemTime) -> bool {
    let Some(modified) = headers.get(LAST_MODIFIED) else {
        return true;
    };
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let answered = headers.get(DATE).and_then(date).unwrap_or(received);
    let age = date(modified).and_then(|modified| answered.duration_since(modified).ok());
    age.is_some_and(|age| age >= ONE_SECOND)
}

/// A header, if it is not too long. A copy: it lives as long as the list, and would keep all of the answer's head.
fn validator(headers: &HeaderMap, name: HeaderName) -> Option<HeaderValue> {
    let value = headers.get(name)?.as_bytes();
    (value.len() <= LONGEST_VALIDATOR).then(|| HeaderValue::from_bytes(value).ok())?
}

/// The backend of one host.
#[derive(Debug)]
pub struct HttpSource {
    client: HttpClient<Empty<Bytes>>,
    url: RosterUrl,
    backend: Backend,
    domain: DomainPart,
    authorization: Option<HeaderValue>,
    host: Option<HeaderValue>,
    permits: Arc<Semaphore>,
    /// Permits for the memory of large answers.
    room: Arc<Semaphore>,
    /// Hashes answers. Its key is secret, so that nobody can make two lists with the same hash.
    hasher: RandomState,
    /// Number of this source among all.
    number: u64,
    omissions: Arc<Omissions>,
}

impl HttpSource {
    /// A client for one backend. Loads the system's root certificates if the URL is `https` and the configuration
    /// names no others.
    pub fn new(url: RosterUrl, backend: Backend, domain: DomainPart) -> Self {
        let trust = match &backend.authorities {
            Some(roots) => Trust::Roots(Arc::clone(roots)),
            None if url.is_https() => Trust::system(),
            None => Trust::nobody(),
        };
        let options = Options {
            connect_timeout: None,
            most_idle: backend.concurrency,
        };
        let client = HttpClient::new(trust, options).expect("ring supports the default versions");
        let authorization = backend.credentials.as_ref().and_then(|credentials| {
            let value = HeaderValue::try_from(credentials.header().expose());
            let mut value = value
                .inspect_err(|_| warn!("backend credentials cannot be sent in a header"))
                .ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let host = backend.host.as_deref().and_then(|host| host.parse().ok());
        Self {
            client,
            url,
            permits: Arc::new(Semaphore::new(
                backend.concurrency.clamp(1, Semaphore::MAX_PERMITS),
            )),
            room: Arc::new(Semaphore::new(LARGE_UNDER_WAY / UNIT)),
            backend,
            domain,
            authorization,
            host,
            hasher: RandomState::new(),
            number: SOURCES.fetch_add(1, Ordering::Relaxed),
            omissions: Arc::default(),
        }
    }

    /// Asks the backend; `None` if what is known still holds.
    async fn ask(
        &self,
        user: &Username,
        known: Option<&Validators>,
    ) -> Result<Option<Answer>, FetchError> {
        let request = self.request(user, known)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| FetchError::Abandoned)?;
        let response = self
            .client
            .send_repeatable(request)
            .await
            .map_err(|error| {
                debug!(%user, error = &error as &dyn Error, "backend request broke");
                Broken::from(&error)
            })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.is_some_and(|known| !known.is_empty()) => {
                return Ok(None);
            }
            _ => return Err(other_status(&response)),
        }
        let [etag, last_modified] = validators(response.headers(), wall_clock());
        let validators = Validators {
            source: self.number,
            etag,
            last_modified,
            digest: None,
        };
        let (json, room) = self.body(response).await?;
        Ok(Some(Answer {
            json,
            validators,
            room,
            _permit: permit,
        }))
    }

    /// Reads contacts from an answer, without a deadline: the backend has no part in that time, a read on another
    /// thread cannot be stopped, and the length of the answer bounds it.
    async fn read(
        &self,
        answer: Answer,
        user: &Username,
        known: Option<&Validators>,
    ) -> Result<Fetched, FetchError> {
        let owner = NodePart::new(user.as_str()).map_err(|_| FetchError::Url)?;
        let owner = BareJid::from_parts(Some(&owner), &self.domain);
        let is_large = answer.json.len() > LARGE;
        // As it came: reading replaces what is no text.
        let mut beginning = [0; LOOKED_AT];
        let length = answer.json.len().min(LOOKED_AT);
        beginning[..length].copy_from_slice(&answer.json[..length]);
        let read = off_thread(is_large, {
            let (owner, known, hasher) = (owner.clone(), known.cloned(), self.hasher.clone());
            move || answer.read(&owner, known.as_ref(), &hasher)
        });
        let fetched = read.await?.map_err(|error| {
            debug!(%user, %error, "answer is no roster");
            match error {
                NoContacts::Json(error) => {
                    FetchError::NotAnObject(Instead::of(&beginning[..length], &error))
                }
                NoContacts::NoneOfThem => FetchError::NoContacts,
            }
        })?;
        let Fetched::New { left_out, .. } = &fetched else {
            return Ok(fetched);
        };
        self.note_left_out(user, left_out);
        Ok(fetched)
    }

    fn request(
        &self,
        user: &Username,
        known: Option<&Validators>,
    ) -> Result<Request<Empty<Bytes>>, FetchError> {
        let mut request = Request::get(self.uri(user)?)
            .header(ACCEPT, "application/json")
            .header(header::USER_AGENT, USER_AGENT);
        let optional = [
            (AUTHORIZATION, self.authorization.as_ref()),
            (HOST, self.host.as_ref()),
            (IF_NONE_MATCH, known.and_then(|k| k.etag.as_ref())),
            (
                IF_MODIFIED_SINCE,
                known.and_then(|k| k.last_modified.as_ref()),
            ),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request.body(Empty::new()).map_err(|_| FetchError::Url)
    }

    fn uri(&self, user: &Username) -> Result<Uri, FetchError> {
        let name = path_segment(user.as_str());
        let url = [&*self.url.before, &name, &*self.url.after].concat();
        url.parse().map_err(|_| FetchError::Url)
    }

    /// The whole body; reads no further than the limit. A large one waits until there is room.
    async fn body(
        &self,
        response: Response<Incoming>,
    ) -> Result<(BytesMut, Option<Room>), FetchError> {
        let limit = self.backend.max_body;
        let mut body = Limited::new(response.into_body(), limit)?;
        let stated = body.stated();
        let mut room = None;
        if stated > SMALL {
            room = Some(self.room(stated).await?);
        }
        let mut bytes = BytesMut::with_capacity(stated);
        while let Some(data) = body.next().await? {
            // The answer does not say how long it is. If permits were taken bit by bit, several answers might wait for
            // each other for ever.
            if room.is_none() && bytes.len() + data.len() > SMALL {
                room = Some(self.room(limit).await?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, room))
    }

    /// A permit for an answer's memory; for an answer larger than all permits, all of them.
    async fn room(&self, bytes: usize) -> Result<Room, FetchError> {
        let units = bytes.min(LARGE_UNDER_WAY).div_ceil(UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        room.map_err(|_| FetchError::Abandoned)
    }
}

/// Answer that has been received, with the permit that it holds until it has been read.
struct Answer {
    json: BytesMut,
    validators: Validators,
    room: Option<Room>,
    _permit: OwnedSemaphorePermit,
}

impl Answer {
    /// The contacts; unchanged if this is the known version.
    fn read(
        mut self,
        owner: &BareJid,
        known: Option<&Validators>,
        hasher: &RandomState,
    ) -> Result<Fetched, NoContacts> {
        self.validators.digest = Some(hasher.hash_one(&*self.json));
        if known == Some(&self.validators) {
            return Ok(Fetched::Unchanged);
        }
        let Contacts { contacts, left_out } = decode::contacts(&mut self.json, owner)?;
        Ok(Fetched::New {
            contacts,
            validators: self.validators,
            left_out,
            room: self.room,
        })
    }
}

impl ContactSource for HttpSource {
    async fn contacts(
        &self,
        user: &Username,
        known: Option<&Validators>,
    ) -> Result<Fetched, FetchError> {
        let known = known.filter(|known| known.source == self.number);
        let after = self.backend.timeout;
        let asked = timeout(after, self.ask(user, known)).await;
        match asked.unwrap_or(Err(FetchError::Timeout { after }))? {
            Some(answer) => self.read(answer, user, known).await,
            None => Ok(Fetched::Unchanged),
        }
    }

    /// The URL without its query: keys are kept there.
    fn address(&self, user: &Username) -> Option<String> {
        let uri = self.uri(user).ok()?;
        let (scheme, authority) = (uri.scheme()?, uri.authority()?);
        Some(format!("{scheme}://{authority}{}", uri.path()))
    }

    fn note_left_out(&self, user: &Username, left_out: &LeftOut) {
        self.omissions.note(user, since_1970(), left_out);
        if left_out.count() > 0 {
            let user = format_args!("{user}@{}", self.domain);
            warn!(%user, count = left_out.count(), %left_out, "unusable contacts left out");
        }
    }

    fn incomplete(&self) -> Vec<Incomplete> {
        self.omissions.all()
    }
}

/// An [`HttpSource`] that a reload of the configuration can replace. Fetches under way keep the one
/// they began with.
#[derive(Debug)]
pub struct Replaceable(ArcSwap<HttpSource>);

impl Replaceable {
    /// Begins with `source`.
    pub fn new(source: HttpSource) -> Self {
        Self(ArcSwap::from_pointee(source))
    }

    /// Asks `source` from now on.
    pub fn replace(&self, mut source: HttpSource) {
        source.omissions = Arc::clone(&self.0.load().omissions);
        self.0.store(Arc::new(source));
    }
}

impl ContactSource for Replaceable {
    async fn contacts(
        &self,
        user: &Username,
        known: Option<&Validators>,
    ) -> Result<Fetched, FetchError> {
        let source = self.0.load_full();
        source.contacts(user, known).await
    }

    fn address(&self, user: &Username) -> Option<String> {
        self.0.load().address(user)
    }

    fn note_left_out(&self, user: &Username, left_out: &LeftOut) {
        self.0.load().note_left_out(user, left_out);
    }

    fn incomplete(&self) -> Vec<Incomplete> {
        self.0.load().incomplete()
    }
}

impl From<ReadError<hyper::Error>> for FetchError {
    fn from(error: ReadError<hyper::Error>) -> Self {
        match error {
            ReadError::TooLarge { limit } => Self::TooLarge { limit },
            ReadError::Broken(error) => {
                debug!(error = &error as &dyn Error, "backend answer broke");
                Self::BrokenOff
            }
        }
    }
}

impl From<Broken> for FetchError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Off => Self::BrokenOff,
            Broken::NotHttp => Self::NotHttp,
            Broken::Refused => Self::Refused,
            Broken::Tls => Self::Tls,
            Broken::Unreachable => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests;
