//! Login as a client: SASL (RFC 6120 §6) and resource binding (§7), as data. The caller sends what is to be sent, and
//! gives the server's stanzas in their order.
//!
//! ```text
//!  Features --> Authenticating --success--> Restarted --features--> Binding --result--> (bound)
//!                                                                      |                   ^
//!                                                                      +--> InSession -----+
//! ```
//!
//! The strongest mechanism that both sides know is taken. PLAIN shows the password to the server, and to anybody on the
//! way: only where that is nobody else may it be used.

mod scram;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use self::scram::{Hash, Scram};
use super::{
    stanza::{IqType, Kind, Stanza},
    xml::{Ns, write::Tag},
};

const BIND_ID: &str = "rg-bind";
const SESSION_ID: &str = "rg-session";
/// Longest name of a condition that is repeated, bytes.
const LONGEST: usize = 64;

/// Who logs in, and how.
#[derive(Clone)]
pub struct Credentials {
    /// The localpart, prepared.
    pub username: String,
    /// The password, or a token in its place.
    pub password: String,
    /// Only the server sees what is sent to it, so that PLAIN may be used.
    pub is_private: bool,
    /// The password is a token, which only PLAIN can carry: the server does not know it.
    pub is_token: bool,
    /// The resource to ask for; otherwise the server chooses one.
    pub resource: Option<String>,
    /// Random text without commas, for SCRAM.
    pub nonce: String,
}

/// A login that goes on.
pub struct Login {
    credentials: Credentials,
    state: State,
}

enum State {
    Features,
    Authenticating(Option<Scram>),
    Restarted,
    Binding { wants_session: bool },
    InSession { jid: String },
    Over,
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Send(Stanza),
    /// Restart the stream.
    Restart,
    /// Nothing: the resource is bound, with this full JID.
    Bound(String),
}

/// Why there is no login.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoginError {
    /// The server offers nothing that can be used.
    #[error("the XMPP server offers no mechanism that can be used here: {0}")]
    NoMechanism(&'static str),
    /// The server does not let the user in.
    #[error("the XMPP server refused the login: {0}")]
    Refused(String),
    /// The server gave no resource.
    #[error("the XMPP server gave no resource: {0}")]
    Unbound(String),
    /// The server does not know the password that it took.
    #[error("the XMPP server did not prove that it knows the password")]
    Impostor,
    /// What the server says makes no sense.
    #[error("the XMPP server broke the rules of the login")]
    Malformed,
}

impl Login {
    /// Waits for the server's features.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            state: State::Features,
        }
    }

    /// Takes a stanza of the server; `None` if there is nothing to do about it.
    ///
    /// # Errors
    /// The login has failed.
    pub fn handle(&mut self, stanza: &Stanza) -> Result<Option<Step>, LoginError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let (state, step) = match (state, stanza.kind()) {
            (State::Features, Kind::Features) => self.authenticate(stanza)?,
            (State::Authenticating(scram), Kind::Nonza) if stanza.ns() == Ns::Sasl => {
                self.exchange(scram, stanza)?
            }
            (State::Restarted, Kind::Features) => self.bind(stanza)?,
            (State::Binding { wants_session }, Kind::Iq(kind))
                if stanza.id().as_deref() == Some(BIND_ID) =>
            {
                bound(kind, stanza, wants_session)?
            }
            (State::InSession { jid }, Kind::Iq(kind))
                if stanza.id().as_deref() == Some(SESSION_ID) =>
            {
                match kind {
                    IqType::Result => (State::Over, Some(Step::Bound(jid))),
                    _ => return Err(LoginError::Unbound(condition(stanza))),
                }
            }
            // Servers may send more before the client is known to listen.
            (state, _) => (state, None),
        };
        self.state = state;
        Ok(step)
    }

    fn authenticate(&self, features: &Stanza) -> Result<(State, Option<Step>), LoginError> {
        let mut offered = features
            .children()
            .filter(|it| it.is(Ns::Sasl, "mechanisms"));
        let offered = offered.next().map(|it| it.children().collect::<Vec<_>>());
        let offered = offered.unwrap_or_default();
        let offers = |name: &str| {
            let mut mechanisms = offered.iter().filter(|it| it.is(Ns::Sasl, "mechanism"));
            mechanisms.any(|it| it.text().trim() == name)
        };
        let Credentials {
            username,
            password,
            is_private,
            is_token,
            nonce,
            ..
        } = &self.credentials;
        let scram = |hash| Some(Scram::new(hash, username, nonce));
        let (name, scram) = if !is_token && offers("SCRAM-SHA-256") {
            ("SCRAM-SHA-256", scram(Hash::Sha256))
        } else if !is_token && offers("SCRAM-SHA-1") {
            ("SCRAM-SHA-1", scram(Hash::Sha1))
        } else if offers("PLAIN") && *is_private {
            ("PLAIN", None)
        } else if offers("PLAIN") {
            return Err(LoginError::NoMechanism(
                "PLAIN, and the way there is not encrypted",
            ));
        } else if *is_token {
            return Err(LoginError::NoMechanism("tokens need PLAIN"));
        } else {
            return Err(LoginError::NoMechanism(
                "SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN",
            ));
        };
        let first = match &scram {
            Some(scram) => scram.first(),
            None => format!("\0{username}\0{password}"),
        };
        let auth = Tag::new("auth").ns(Ns::Sasl).attribute("mechanism", name);
        let auth = Stanza::ours(auth.text(&BASE64_STANDARD.encode(first)));
        Ok((State::Authenticating(scram), Some(Step::Send(auth))))
    }

    fn exchange(
        &self,
        scram: Option<Scram>,
        stanza: &Stanza,
    ) -> Result<(State, Option<Step>), LoginError> {
        match (stanza.local(), scram) {
            ("challenge", Some(mut scram)) => {
                let response = scram.respond(&data(stanza)?, &self.credentials.password)?;
                let response = BASE64_STANDARD.encode(response);
                let response = Stanza::ours(Tag::new("response").ns(Ns::Sasl).text(&response));
                Ok((
                    State::Authenticating(Some(scram)),
                    Some(Step::Send(response)),
                ))
            }
            ("success", scram) => {
                if let Some(scram) = scram {
                    scram.check(&data(stanza)?)?;
                }
                Ok((State::Restarted, Some(Step::Restart)))
            }
            ("failure", _) => Err(LoginError::Refused(condition(stanza))),
            _ => Err(LoginError::Malformed),
        }
    }

    fn bind(&self, features: &Stanza) -> Result<(State, Option<Step>), LoginError> {
        if !features.children().any(|it| it.is(Ns::Bind, "bind")) {
            return Err(LoginError::Malformed);
        }
        // The session of RFC 3921 has no meaning any more; few servers insist.
        let session = features.children().find(|it| it.is(Ns::Session, "session"));
        let wants_session =
            session.is_some_and(|it| it.children().all(|it| it.local() != "optional"));
        let iq = Tag::new("iq").ns(Ns::Client).attribute("type", "set");
        let iq = iq.attribute("id", BIND_ID);
        let iq = iq.content(|out| {
            let bind = Tag::within(out, "bind").ns(Ns::Bind);
            match &self.credentials.resource {
                Some(resource) => {
                    bind.content(|out| {
                        Tag::within(out, "resource").text(resource);
                    });
                }
                None => {
                    bind.empty();
                }
            }
        });
        let state = State::Binding { wants_session };
        Ok((state, Some(Step::Send(Stanza::ours(iq)))))
    }
}

/// The answer to the request for a resource.
fn bound(
    kind: IqType,
    stanza: &Stanza,
    wants_session: bool,
) -> Result<(State, Option<Step>), LoginError> {
    if kind != IqType::Result {
        return Err(LoginError::Unbound(condition(stanza)));
    }
    let bind = stanza.children().find(|it| it.is(Ns::Bind, "bind"));
    let jid = bind.and_then(|it| it.children().find(|it| it.is(Ns::Bind, "jid")));
    let jid = jid.ok_or(LoginError::Malformed)?.text().trim().to_owned();
    if !wants_session {
        return Ok((State::Over, Some(Step::Bound(jid))));
    }
    let iq = Tag::new("iq").ns(Ns::Client).attribute("type", "set");
    let iq = iq.attribute("id", SESSION_ID);
    let iq = iq.content(|out| {
        Tag::within(out, "session").ns(Ns::Session).empty();
    });
    Ok((State::InSession { jid }, Some(Step::Send(Stanza::ours(iq)))))
}

/// What an element of SASL carries.
fn data(stanza: &Stanza) -> Result<String, LoginError> {
    let text = stanza.text();
    let decoded = BASE64_STANDARD.decode(text.trim());
    let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or(LoginError::Malformed)
}

/// The condition of a failure of SASL, or of a stanza error.
fn condition(stanza: &Stanza) -> String {
    let error = match stanza.kind() {
        Kind::Iq(_) => stanza
            .children()
            .find(|it| it.local() == "error")
            .map(|it| it.children()),
        _ => Some(stanza.children()),
    };
    let condition = error.and_then(|mut it| it.find(|it| it.local() != "text"));
    let condition = condition.map(|it| it.local().to_owned());
    let condition = condition.filter(|it| it.len() <= LONGEST);
    condition.unwrap_or_else(|| "no reason".to_owned())
}

#[cfg(test)]
mod tests;
