mod access;
mod refresh;
mod requests;
mod respond_async;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::HeaderValue;
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use super::*;
use crate::{
    backend::{
        FetchError, Fetched,
        refresh::{Lease, Options, Rosters},
        testing::{Script, TestBackend, domain, source, user},
    },
    config::{self, Secret},
    net::wake_flag::WakeFlag,
    roster::{Username, left_out::LeftOut, snapshot::Validators},
};

const MARIE: &str = r#"{"marie@example.org": {"name": "Marie"}}"#;

fn settings() -> config::Admin {
    config::Admin::default()
}

fn join<S: ContactSource>(rosters: &Arc<Rosters<S>>, name: &str) -> Lease<S> {
    rosters.join(user(name), Arc::default())
}

/// A gateway for `example.org` with a backend of its own; john and aaron are online.
struct Setup {
    backend: TestBackend,
    john: Lease<HttpSource>,
    _aaron: Lease<HttpSource>,
    admin: Admin,
}

impl Setup {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(edit: impl FnOnce(&mut config::Admin)) -> Self {
        let backend = TestBackend::start().await;
        backend.on("/contacts/john", Script::json(MARIE));
        backend.on("/contacts/aaron", Script::json(MARIE));
        let rosters = Rosters::new(backend.source(|_| ()), Options::default());
        let (john, _aaron) = (join(&rosters, "john"), join(&rosters, "aaron"));
        let hosts = Hosts::new([(domain("example.org"), Some(rosters.into()).into())]);
        let mut config = settings();
        edit(&mut config);
        let admin = Admin::new(&config, hosts, Arc::default());
        Self {
            backend,
            john,
            _aaron,
            admin,
        }
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        let request = request("POST", "/roster_admin/refresh", body);
        said(call(&self.admin, request).await).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        said(call(&self.admin, request("GET", path, "")).await).await
    }
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "example.org:5290")
        .extension(Peer(([127, 0, 0, 1], 40000).into()))
        .body(Full::from(body.to_owned()))
        .unwrap()
}

async fn call<S, B>(admin: &Admin<S>, request: Request<B>) -> Response<Full<Bytes>>
where
    S: ContactSource + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
{
    admin.clone().oneshot(request).await.unwrap()
}

/// Status and JSON of an answer, which is what every answer has to be.
async fn said(response: Response<Full<Bytes>>) -> (u16, Value) {
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["cache-control"], "no-store");
    let cors = |name: &http::HeaderName| name.as_str().starts_with("access-control");
    assert!(!headers.keys().any(cors), "{headers:?}");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let word = match status {
        200 => "ok",
        202 => "accepted",
        _ => "error",
    };
    assert_eq!(body["status"], word, "{body}");
    assert!(body["message"].is_string(), "{body}");
    (status, body)
}

fn all_good(updated: usize) -> (u16, Value) {
    let message = "roster update complete";
    let body = json!({"status": "ok", "message": message, "updated": updated, "errors": 0});
    (200, body)
}

/// Answers two at a time, each after 30 ms, and gives up after 100 ms, as `HttpSource` would.
struct Slow(Semaphore);

impl ContactSource for Slow {
    async fn contacts(&self, _: &Username, _: Option<&Validators>) -> Result<Fetched, FetchError> {
        let after = Duration::from_millis(100);
        let answer = async {
            let _permit = self.0.acquire().await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        let answered = tokio::time::timeout(after, answer).await;
        answered.map_err(|_| FetchError::Timeout { after })?;
        Ok(Fetched::New {
            contacts: vec![],
            validators: Validators::default(),
            left_out: LeftOut::default(),
            room: None,
        })
    }

    fn address(&self, _: &Username) -> Option<String> {
        None
    }
}
