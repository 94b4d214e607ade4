//! What a request's path names, and which methods go with it.

use http::Method;
use percent_encoding::percent_decode_str;

use super::{local::Intent, respond::Failure};
use crate::net::answer;

/// What a path names.
pub(super) struct Target {
    pub(super) domain: Option<String>,
    pub(super) what: What,
}

pub(super) enum What {
    /// The users are in the body.
    RefreshMany,
    Refresh(String),
    Roster(String),
    Presence,
    Sessions,
    Status,
    /// The user is in the body.
    Token,
    /// The same.
    Prebind,
    /// Nothing but the page.
    Asset,
}

impl Target {
    /// Reads what follows `config.path`.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        // Bytes that are no UTF-8 make a username that nobody has, not another path.
        let decoded = |segment| percent_decode_str(segment).decode_utf8_lossy();
        let segments: Vec<_> = path.split('/').map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        let (domain, what) = match segments[..] {
            ["sessions"] => (None, What::Sessions),
            ["presence"] => (None, What::Presence),
            ["status"] => (None, What::Status),
            ["token"] => (None, What::Token),
            ["prebind"] => (None, What::Prebind),
            ["" | "status.js" | "status.css"] => (None, What::Asset),
            ["refresh"] => (None, What::RefreshMany),
            ["refresh", user] if !user.is_empty() => (None, What::Refresh(user.into())),
            ["rosters", user] if !user.is_empty() => (None, What::Roster(user.into())),
            [domain, "refresh"] => (Some(domain), What::RefreshMany),
            [domain, "refresh", user] if !user.is_empty() => {
                (Some(domain), What::Refresh(user.into()))
            }
            [domain, "presence"] => (Some(domain), What::Presence),
            [domain, "token"] => (Some(domain), What::Token),
            [domain, "prebind"] => (Some(domain), What::Prebind),
            [domain, "rosters", user] if !user.is_empty() => {
                (Some(domain), What::Roster(user.into()))
            }
            _ => return None,
        };
        Some(Self {
            domain: domain.map(String::from),
            what,
        })
    }

    /// The methods that go with it, as `Allow` lists them.
    pub(super) fn allowed(&self) -> &'static str {
        match self.what {
            What::RefreshMany | What::Token | What::Prebind => "POST",
            What::Sessions => "GET, DELETE",
            What::Roster(_) => "GET, PUT",
            What::Refresh(_) | What::Presence | What::Status | What::Asset => "GET",
        }
    }

    pub(super) fn allows(&self, method: &Method) -> bool {
        self.allowed().split(", ").any(|it| it == method.as_str())
    }

    /// Takes the domain that the query names, if it does.
    pub(super) fn name_domain(&mut self, host: Option<&str>) -> Result<(), Failure> {
        if host.is_some() && self.domain.is_some() {
            return Err(Failure::Parameter {
                name: "host".to_owned(),
                expected: "the domain is named already",
            });
        }
        self.domain = self.domain.take().or_else(|| host.map(str::to_owned));
        Ok(())
    }

    /// Takes the domain from the query, if it is there.
    pub(super) fn read_query(&mut self, query: &str) -> Result<(), Failure> {
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name != "host" {
                return Err(Failure::Parameter {
                    name: name.into_owned(),
                    expected: "no such parameter: host",
                });
            }
            self.name_domain(Some(&value))?;
        }
        Ok(())
    }
}

/// Whether a request to `path` only reads. A refresh does not, even if it is a `GET`.
pub(super) fn intent(method: &Method, path: Option<&str>) -> Intent {
    let target = path.and_then(Target::parse).map(|target| target.what);
    let is_refresh = matches!(target, Some(What::Refresh(_) | What::RefreshMany));
    if is_refresh || !answer::is_read(method) {
        Intent::Change
    } else {
        Intent::Read
    }
}
