//! Questions of XMPP servers about passwords, in the protocol of Prosody's `mod_auth_http`, MongooseIM's `auth.http`
//! and ejabberd's `ejabberd_auth_http`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /xmpp_auth/check_password?user=&server=&pass=` | whether this is the user's password: a token of the gateway's, or what the site takes |
//! | `GET /xmpp_auth/user_exists?user=&server=` | whether there is such a user, as the site says |
//!
//! The answer is `true` or `false`, in plain text. A token is used up by the question. Only a program on this machine
//! may ask, or whoever may use the rest of the API; the token of that can also be the password of Basic.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use jid::DomainPart;
use subtle::ConstantTimeEq as _;
use tracing::{info, warn};

use super::{
    Table, access,
    local::{self, Intent},
    others::Others,
    respond::Failure,
};
use crate::{
    config::{self, AUTH_PATH, Secret},
    login::{Login, Question, Verdict},
    metrics::Metrics,
    net::answer,
    roster::Username,
};

/// What is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    CheckPassword,
    UserExists,
}

/// Whether a path is one of those where servers ask.
pub(super) fn serves(path: &str) -> bool {
    path.strip_prefix(AUTH_PATH)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a request may ask.
pub(super) fn check<B>(
    config: &config::Admin,
    request: &Request<B>,
    is_domain: impl Fn(&DomainPart) -> bool,
) -> Result<(), Failure> {
    let token = config.token.as_ref();
    if token.is_some_and(|token| has_password(request.headers(), token))
        || local::check(request, &is_domain, Intent::Change).is_ok()
    {
        return Ok(());
    }
    access::check(config, request, is_domain, Intent::Change)
}

/// Whether the password of Basic (RFC 7617) is `token`.
fn has_password(headers: &HeaderMap, token: &Secret) -> bool {
    let value = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let Some((scheme, encoded)) = value.and_then(|it| it.split_at_checked("Basic ".len())) else {
        return false;
    };
    let decoded = BASE64_STANDARD.decode(encoded.trim_ascii());
    let decoded = decoded.unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':');
    let password = colon.and_then(|at| decoded.get(at + 1..));
    scheme.eq_ignore_ascii_case(b"Basic ")
        && password.is_some_and(|it| bool::from(it.ct_eq(token.expose().as_bytes())))
}

/// Longest localpart (RFC 7622 §3.3), bytes.
const LONGEST: usize = 1023;

/// The parameters of a question.
#[derive(Default)]
struct Parameters<'a> {
    user: Option<Cow<'a, str>>,
    server: Option<Cow<'a, str>>,
    pass: Option<Cow<'a, str>>,
}

impl<'a> Parameters<'a> {
    fn read(query: &'a str) -> Self {
        let mut it = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "user" => it.user = Some(value),
                "server" => it.server = Some(value),
                "pass" => it.pass = Some(value),
                // Versions of the protocol may have more.
                _ => {}
            }
        }
        it
    }
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::Parameter {
        name: name.to_owned(),
        expected: "missing",
    })
}

/// What answers need.
pub(super) struct Asker<'a, S> {
    pub(super) table: &'a Table<S>,
    pub(super) metrics: &'a Metrics,
    pub(super) others: &'a Others,
}

/// Answers a question; access has been checked.
pub(super) async fn answer<S>(
    method: &Method,
    path: &str,
    query: &str,
    asker: Asker<'_, S>,
) -> Result<Response<Full<Bytes>>, Failure> {
    let asked = match path.strip_prefix(AUTH_PATH) {
        Some("/check_password") => Asked::CheckPassword,
        Some("/user_exists") => Asked::UserExists,
        _ => return Err(Failure::NotFound),
    };
    if *method != Method::GET {
        return Err(Failure::Method { allowed: "GET" });
    }
    let Parameters { user, server, pass } = Parameters::read(query);
    let (user, server) = (needed(user, "user")?, needed(server, "server")?);
    let domain = super::domain(&server).ok_or(Failure::UnknownDomain)?;
    let login = asker.table.served(&domain)?.login.as_ref();
    let login = login.filter(|login| login.is_asked());
    let login = login.ok_or(Failure::NoLogin)?;
    let is_so = match asked {
        // Nobody has such a name, and it would be passed on and logged.
        _ if user.len() > LONGEST => false,
        Asked::CheckPassword => {
            let pass = needed(pass, "pass")?;
            asker.check_password(login, &user, &domain, &pass).await?
        }
        Asked::UserExists => match login.ask(Question::UserExists, &user).await {
            Some(answer) => answer?,
            // Whomever the site lets in exists, and nobody here knows who that is.
            None => Username::prepare(&user).is_some(),
        },
    };
    Ok(answer::not_to_be_stored(answer::text(
        StatusCode::OK,
        if is_so { "true" } else { "false" },
    )))
}

impl<S> Asker<'_, S> {
    async fn check_password(
        &self,
        login: &Login,
        user: &str,
        domain: &DomainPart,
        password: &str,
    ) -> Result<bool, Failure> {
        let (is_right, outcome) = match login.spend(user, password) {
            Verdict::Good => (Ok(true), "token"),
            Verdict::Elsewhere(node) => {
                match self.others.spend(&node, user, domain, password).await {
                    Ok(()) => (Ok(true), "token"),
                    Err(why) => {
                        info!(user, %domain, %node, why, "token refused");
                        (Ok(false), "bad_token")
                    }
                }
            }
            Verdict::Bad(why) => {
                info!(user, %domain, why, "token refused");
                (Ok(false), "bad_token")
            }
            Verdict::Unknown => match login.ask(Question::CheckPassword(password), user).await {
                Some(Ok(true)) => (Ok(true), "password"),
                Some(Ok(false)) => (Ok(false), "wrong"),
                Some(Err(error)) => {
                    warn!(%domain, %error, "the site cannot be asked about a password");
                    (Err(error), "failed")
                }
                None => (Ok(false), "wrong"),
            },
        };
        self.metrics.password_checked(domain.as_str(), outcome);
        Ok(is_right?)
    }
}
