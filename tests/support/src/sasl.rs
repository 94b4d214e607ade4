//! The client's side of SASL PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677).

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::{digest, hmac, pbkdf2};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mechanism {
    Plain,
    ScramSha1,
    ScramSha256,
}

impl Mechanism {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    fn algorithms(
        self,
    ) -> (
        pbkdf2::Algorithm,
        hmac::Algorithm,
        &'static digest::Algorithm,
    ) {
        match self {
            Self::Plain | Self::ScramSha1 => (
                pbkdf2::PBKDF2_HMAC_SHA1,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
            ),
            Self::ScramSha256 => (
                pbkdf2::PBKDF2_HMAC_SHA256,
                hmac::HMAC_SHA256,
                &digest::SHA256,
            ),
        }
    }

    /// Hi(password, salt, iterations).
    fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let (pbkdf2, _, digest) = self.algorithms();
        let iterations = NonZeroU32::new(iterations).expect("at least one iteration");
        let mut salted = vec![0; digest.output_len()];
        pbkdf2::derive(pbkdf2, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(self.algorithms().1, key);
        hmac::sign(&key, data).as_ref().to_vec()
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        digest::digest(self.algorithms().2, data).as_ref().to_vec()
    }

    /// StoredKey and ServerKey: a server keeps nothing else of the password.
    pub fn server_keys(self, password: &str, salt: &[u8], iterations: u32) -> (Vec<u8>, Vec<u8>) {
        let salted = self.salted_password(password, salt, iterations);
        let stored_key = self.hash(&self.hmac(&salted, b"Client Key"));
        (stored_key, self.hmac(&salted, b"Server Key"))
    }
}

/// One exchange.
pub struct Sasl {
    mechanism: Mechanism,
    username: String,
    password: String,
    nonce: String,
    server_signature: Option<Vec<u8>>,
}

impl Sasl {
    pub fn new(mechanism: Mechanism, username: &str, password: &str) -> Self {
        let nonce = format!("nonce-{}-{}", std::process::id(), crate::unique());
        let (username, password) = (username.to_owned(), password.to_owned());
        Self {
            mechanism,
            username,
            password,
            nonce,
            server_signature: None,
        }
    }

    fn first_bare(&self) -> String {
        let username = self.username.replace('=', "=3D").replace(',', "=2C");
        format!("n={username},r={}", self.nonce)
    }

    /// The initial response, in base64.
    pub fn initial(&self) -> String {
        BASE64.encode(match self.mechanism {
            Mechanism::Plain => format!("\0{}\0{}", self.username, self.password),
            Mechanism::ScramSha1 | Mechanism::ScramSha256 => format!("n,,{}", self.first_bare()),
        })
    }

    /// The answer to SCRAM's server-first-message.
    pub fn respond(&mut self, challenge: &str) -> String {
        let server_first = decode(challenge);
        let field = |name: &str| {
            let fields = server_first.split(',');
            let mut values = fields.filter_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            values
                .next()
                .unwrap_or_else(|| panic!("no {name} in {server_first}"))
        };
        let (nonce, iterations) = (field("r"), field("i").parse().expect("a number"));
        assert!(nonce.starts_with(&self.nonce), "the server keeps our nonce");
        let salt = BASE64.decode(field("s")).expect("the salt is base64");

        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare());
        let mechanism = self.mechanism;
        let salted = mechanism.salted_password(&self.password, &salt, iterations);
        let client_key = mechanism.hmac(&salted, b"Client Key");
        let client_signature =
            mechanism.hmac(&mechanism.hash(&client_key), auth_message.as_bytes());
        let proof = client_key
            .iter()
            .zip(&client_signature)
            .map(|(key, signature)| key ^ signature);
        let proof = BASE64.encode(proof.collect::<Vec<_>>());
        let server_key = mechanism.hmac(&salted, b"Server Key");
        self.server_signature = Some(mechanism.hmac(&server_key, auth_message.as_bytes()));
        BASE64.encode(format!("{without_proof},p={proof}"))
    }

    /// Checks that the server knows the password, too.
    #[track_caller]
    pub fn check(&self, success: &str) {
        if self.mechanism == Mechanism::Plain {
            return;
        }
        let signature = self
            .server_signature
            .as_ref()
            .expect("a challenge came first");
        assert_eq!(decode(success), format!("v={}", BASE64.encode(signature)));
    }
}

fn decode(base64: &str) -> String {
    let bytes = BASE64.decode(base64).expect("SASL is base64");
    String::from_utf8(bytes).expect("SASL is UTF-8")
}
