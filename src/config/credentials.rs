//! Credentials: what the gateway logs in to a backend with, from keys of their own or from the URL.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    reader::Section,
    secret::{self, Secret},
    value::Fault,
};

/// The credentials that a backend gets in `Authorization`.
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
    pub(super) fn read(section: &mut Section<'_, '_>, of_url: Option<Self>) -> Option<Self> {
        let is_said = [
            (
                "backend_token",
                section.has("backend_token") || section.has("backend_token_file"),
            ),
            ("backend_user", section.has("backend_user")),
            ("http_roster_url", of_url.is_some()),
        ];
        let mut said = is_said.into_iter().filter(|(_, is_said)| *is_said);
        if let (Some((first, _)), Some((second, _))) = (said.next(), said.next()) {
            section.beside(second, &section.path(first));
        }
        let token = section.secret(["backend_token", "backend_token_file"], &secret::TOKEN);
        let basic = Self::read_basic(section);
        token.map(Self::Token).or(basic).or(of_url)
    }

    fn read_basic(section: &mut Section<'_, '_>) -> Option<Self> {
        let keys = ["backend_password", "backend_password_file"];
        let password_key = keys.into_iter().find(|key| section.has(key));
        match (section.has("backend_user"), password_key) {
            (true, None) => {
                let fault = Fault::new("without a password", "set backend_password");
                section.fault("backend_user", fault);
            }
            (false, Some(key)) => {
                section.fault(key, Fault::new("without a user", "set backend_user"));
            }
            (true, Some(_)) | (false, None) => {}
        }
        let user = section.read("backend_user", secret::user);
        let password = section.secret(keys, &secret::PASSWORD);
        let (user, password) = (user?, password?);
        Some(Self::Basic { user, password })
    }
}
