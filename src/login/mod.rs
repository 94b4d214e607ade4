//! Logins without a password in the page: the site's program gets a token for its user, and the XMPP server takes that
//! as the user's password.
//!
//! | `login` | the token | who checks it |
//! |---|---|---|
//! | `"jwt"` | a JSON Web Token | the server, by the key that it shares with the gateway |
//! | `"http"` | the gateway's own | the gateway that made it, by the one that the server asks; each is good for one login |
//!
//! What is no token of the gateway's is for the site to judge, if it has an interface for that. Nothing here reads
//! HTTP, and nothing of a token is ever logged.

mod jwt;
mod site;
mod spent;
mod token;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use jid::DomainPart;
use parking_lot::Mutex;
use ring::hmac;

pub use self::site::{Question, SiteError};
use self::{
    site::Site,
    spent::{Refused, Spent},
    token::{Claims, Seal, Unsealed},
};
use crate::{
    clock::{now, since_1970},
    config::{self, NodeName},
    roster::Username,
};

/// Longest time that a token may be good for.
pub const LONGEST: Duration = Duration::from_secs(60 * 60);

/// The gateway's own tokens. Their key is drawn at the start, so none outlives the process. Their times are counted from
/// then on: the system's clock may be set back, and a used or expired token would be good again.
pub struct Tokens {
    seal: Seal,
    began: Instant,
    spent: Mutex<Spent>,
}

/// A token, and until when it is good, since 1970 (UTC).
pub struct Issued {
    /// The text that is the user's password.
    pub token: String,
    /// The end of its time.
    pub expires: Duration,
}

/// What is known of a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is a token, and was good for this login.
    Good,
    /// It has the form of a token, and is none that counts.
    Bad(&'static str),
    /// It has the form of a token that this gateway has made, which alone knows whether it is good.
    Elsewhere(NodeName),
    /// It is no token.
    Unknown,
}

/// How the users of one domain log in.
pub struct Login {
    kind: Kind,
    domain: DomainPart,
    tokens: Arc<Tokens>,
}

enum Kind {
    Jwt { key: hmac::Key, claim: String },
    Http { site: Option<Box<Site>> },
}

impl Tokens {
    /// None has been made yet. `node` is what the gateway is called, if it is one of several: each token says who has
    /// made it, and only that gateway takes it. So none is good twice, whoever is asked, and no key has to be shared.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn new(node: Option<NodeName>) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self {
            seal: Seal {
                key: hmac::Key::new(hmac::HMAC_SHA256, &key),
                node,
            },
            began: now(),
            spent: Mutex::default(),
        })
    }

    /// Milliseconds since the start.
    fn age(&self) -> u64 {
        millis(now().saturating_duration_since(self.began))
    }

    fn revoke(&self, account: &str) {
        let mut spent = self.spent.lock();
        spent.revoke(account, self.age(), millis(LONGEST));
    }

    fn issue(&self, user: &str, domain: &str, ttl: Duration) -> Result<Issued, getrandom::Error> {
        let issued = self.age();
        let claims = Claims {
            expires: issued.saturating_add(millis(ttl)),
            issued,
            nonce: nonce()?,
        };
        Ok(Issued {
            token: claims.seal(&self.seal, user, domain),
            expires: since_1970() + ttl,
        })
    }

    /// Uses a token up, if it is one.
    fn spend(&self, password: &str, user: &str, domain: &str) -> Verdict {
        let claims = match Claims::unseal(password, &self.seal, user, domain) {
            Ok(claims) => claims,
            Err(Unsealed::Other) => return Verdict::Unknown,
            Err(Unsealed::Elsewhere(node)) => return Verdict::Elsewhere(node),
            Err(Unsealed::Forged) => return Verdict::Bad("not made here for this user"),
        };
        let account = format!("{user}@{domain}");
        match self.spent.lock().spend(&account, &claims, self.age()) {
            Ok(()) => Verdict::Good,
            Err(Refused::Expired) => Verdict::Bad("expired"),
            Err(Refused::Used) => Verdict::Bad("used already"),
            Err(Refused::Revoked) => Verdict::Bad("revoked"),
            Err(Refused::Full) => Verdict::Bad("too many tokens are in use"),
        }
    }
}

impl Login {
    /// As `config` says, for the users of `domain`.
    pub fn new(config: &config::Login, domain: &DomainPart, tokens: &Arc<Tokens>) -> Self {
        let kind = match config {
            config::Login::Jwt { key, claim } => Kind::Jwt {
                key: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
                claim: claim.clone(),
            },
            config::Login::Http { site } => Kind::Http {
                site: site
                    .as_ref()
                    .map(|(url, credentials)| Box::new(Site::new(url, credentials.as_ref()))),
            },
        };
        Self {
            kind,
            domain: domain.clone(),
            tokens: Arc::clone(tokens),
        }
    }

    /// A token for a user, good for `ttl`, which is [`LONGEST`] at most.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn issue(&self, user: &Username, ttl: Duration) -> Result<Issued, getrandom::Error> {
        let (user, domain) = (user.as_str(), self.domain.as_str());
        let ttl = ttl.min(LONGEST);
        let Kind::Jwt { key, claim } = &self.kind else {
            return self.tokens.issue(user, domain, ttl);
        };
        let issued = since_1970();
        let expires = issued + ttl;
        let jid = format!("{user}@{domain}");
        let subject = if claim == "jid" { &jid } else { user };
        let claims = jwt::Claims {
            subject: (claim, subject),
            issued,
            expires,
            nonce: nonce()?,
        };
        Ok(Issued {
            token: claims.sign(key),
            expires,
        })
    }

    /// From now on no earlier token of the user with this bare JID counts. JSON Web Tokens cannot be revoked: they count until they
    /// expire.
    pub fn revoke(&self, jid: &str) {
        self.tokens.revoke(jid);
    }

    /// The domain of the users.
    pub fn domain(&self) -> &str {
        self.domain.as_str()
    }

    /// Whether the server asks the gateway about passwords.
    pub fn is_asked(&self) -> bool {
        matches!(self.kind, Kind::Http { .. })
    }

    /// Uses up the token that `password` may be. The name has to be as the server would bind it.
    pub fn spend(&self, user: &str, password: &str) -> Verdict {
        match &self.kind {
            Kind::Jwt { .. } => Verdict::Unknown,
            Kind::Http { .. } => {
                let domain = self.domain.as_str();
                self.tokens.spend(password, user, domain)
            }
        }
    }

    /// Asks the site; `None` if it has no interface for that.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn ask(&self, question: Question<'_>, user: &str) -> Option<Result<bool, SiteError>> {
        match &self.kind {
            Kind::Http { site: Some(site) } => {
                Some(site.ask(question, user, self.domain.as_str()).await)
            }
            Kind::Http { site: None } | Kind::Jwt { .. } => None,
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("domain", &self.domain)
            .field("is_asked", &self.is_asked())
            .finish_non_exhaustive()
    }
}

fn nonce() -> Result<[u8; 16], getrandom::Error> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_one_login_of_its_user() {
        let tokens = Arc::new(Tokens::new(None).unwrap());
        let domain = DomainPart::new("example.org").unwrap().into_owned();
        let login = Login::new(&config::Login::Http { site: None }, &domain, &tokens);
        let john = "john";
        let issue = |user: &str, ttl| {
            let user = Username::prepare(user).unwrap();
            login.issue(&user, ttl).unwrap().token
        };
        let minute = Duration::from_secs(60);
        let token = issue(john, minute);
        let forged = Verdict::Bad("not made here for this user");
        assert_eq!(login.spend("aaron", &token), forged);
        let claims = Claims::unseal(&token, &tokens.seal, john, "example.org");
        let of_the_start = claims.is_ok_and(|claims| claims.expires <= 2 * millis(minute));
        assert!(of_the_start, "the system's clock may be set back");
        assert_eq!(login.spend(john, &token), Verdict::Good);
        assert_eq!(login.spend(john, &token), Verdict::Bad("used already"));
        assert_eq!(login.spend(john, "secret"), Verdict::Unknown);
        let late = issue(john, Duration::ZERO);
        assert_eq!(login.spend(john, &late), Verdict::Bad("expired"));
        let token = issue("aaron", minute);
        login.revoke("aaron@example.org");
        assert_eq!(login.spend("aaron", &token), Verdict::Bad("revoked"));
        let other = DomainPart::new("example.com").unwrap().into_owned();
        let other = Login::new(&config::Login::Http { site: None }, &other, &tokens);
        assert_eq!(other.spend(john, &issue(john, minute)), forged);
    }
}
