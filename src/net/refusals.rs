//! Refusals of access, as the log tells them to a program that bans addresses: `contrib/fail2ban` reads this line, and
//! `docs/operation.md` promises its form.
//!
//! What a stranger has written comes last in the line, and in quotes: nothing that it contains is read as a field.

use std::{net::IpAddr, num::NonZeroU32};

use tracing::info;

use super::log_throttle::LogThrottle;

/// Who was refused access, in the log. A flood of refusals is cut, as one address of it is banned after a few lines.
#[derive(Debug)]
pub struct Refusals(LogThrottle);

/// What was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessRefusal<'a> {
    /// The XMPP server refused a user's password.
    Password {
        /// By which front the client came.
        front: &'static str,
        /// The served domain.
        domain: &'a str,
        /// The name that the client gave, if it can be read.
        user: Option<&'a str>,
    },
    /// A client wants a domain that is not served.
    Domain {
        /// By which front it came.
        front: &'static str,
        /// The domain.
        domain: &'a str,
    },
    /// A call of the admin API.
    Admin {
        /// Why it was refused.
        why: &'a str,
    },
    /// A question of a server about a password.
    Question {
        /// Why it was refused.
        why: &'a str,
    },
}

/// Lines in a second.
const MOST: NonZeroU32 = NonZeroU32::new(100).unwrap();

impl Default for Refusals {
    fn default() -> Self {
        Self(LogThrottle::per_second(MOST))
    }
}

impl Refusals {
    /// Logs that `client` was refused, whose address is `None` if only a proxy's is known: that must not be banned.
    pub fn log(&self, client: Option<IpAddr>, refusal: AccessRefusal<'_>) {
        let Some(unsaid) = self.0.is_due() else {
            return;
        };
        let (kind, front, domain, user, why) = match refusal {
            AccessRefusal::Password {
                front,
                domain,
                user,
            } => ("password", Some(front), Some(domain), user, None),
            AccessRefusal::Domain { front, domain } => {
                ("domain", Some(front), Some(domain), None, None)
            }
            AccessRefusal::Admin { why } => ("admin", None, None, None, Some(why)),
            AccessRefusal::Question { why } => ("auth", None, None, None, Some(why)),
        };
        let client = client.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
        let unsaid = (unsaid > 0).then_some(unsaid);
        info!(
            target: "rostergate::refused",
            %client, kind = %kind, unsaid, front, why, domain, user,
            "access refused"
        );
    }
}
