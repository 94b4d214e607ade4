//! Credentials: what the gateway logs in to a backend with, to a server's HTTP interface or to NATS, from keys of their own or from
//! the URL.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    reader::Section,
    secret::{self, Secret},
    value::Fault,
};

/// The credentials that somebody gets in `Authorization`.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A bearer token (RFC 6750).
    Token(Secret),
    /// User and password (RFC 7617).
    Basic {
        /// Without a colon.
        user: Secret,
        /// Perhaps empty.
        password: Secret,
    },
}

/// The keys that give credentials: a secret by itself, or in a file.
pub(super) struct Keys {
    pub(super) token: [&'static str; 2],
    pub(super) user: &'static str,
    pub(super) password: [&'static str; 2],
}

/// Those for a backend.
pub(super) const BACKEND: Keys = Keys {
    token: ["backend_token", "backend_token_file"],
    user: "backend_user",
    password: ["backend_password", "backend_password_file"],
};

/// Those for a server's HTTP interface.
pub(super) const WRITER: Keys = Keys {
    token: ["writer_token", "writer_token_file"],
    user: "writer_user",
    password: ["writer_password", "writer_password_file"],
};

/// Those for NATS.
pub(super) const NATS: Keys = Keys {
    token: ["nats_token", "nats_token_file"],
    user: "nats_user",
    password: ["nats_password", "nats_password_file"],
};

impl Credentials {
    /// The value of the header.
    pub fn header(&self) -> Secret {
        Secret::new(&match self {
            Self::Token(token) => format!("Bearer {}", token.expose()),
            Self::Basic { user, password } => {
                let both = format!("{}:{}", user.expose(), password.expose());
                format!("Basic {}", BASE64_STANDARD.encode(both))
            }
        })
    }

    /// Reads the credentials. Only one of the keys may give them; `of_url` are those in the URL.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        keys: &Keys,
        of_url: Option<Self>,
    ) -> Option<Self> {
        let is_said = [
            (keys.token[0], keys.token.iter().any(|key| section.has(key))),
            (keys.user, section.has(keys.user)),
            ("http_roster_url", of_url.is_some()),
        ];
        let mut said = is_said.into_iter().filter(|(_, is_said)| *is_said);
        if let (Some((first, _)), Some((second, _))) = (said.next(), said.next()) {
            section.beside(second, &section.path(first));
        }
        let token = section.secret(keys.token, &secret::TOKEN);
        let basic = Self::read_basic(section, keys);
        token.map(Self::Token).or(basic).or(of_url)
    }

    fn read_basic(section: &mut Section<'_, '_>, keys: &Keys) -> Option<Self> {
        let password_key = keys.password.into_iter().find(|key| section.has(key));
        match (section.has(keys.user), password_key) {
            (true, None) => {
                let fault = Fault::new("without a password", format!("set {}", keys.password[0]));
                section.fault(keys.user, fault);
            }
            (false, Some(key)) => {
                let fault = Fault::new("without a user", format!("set {}", keys.user));
                section.fault(key, fault);
            }
            (true, Some(_)) | (false, None) => {}
        }
        let user = section.read(keys.user, secret::user);
        let password = section.secret(keys.password, &secret::PASSWORD);
        let (user, password) = (user?, password?);
        Some(Self::Basic { user, password })
    }
}
