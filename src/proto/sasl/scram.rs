//! SCRAM (RFC 5802, RFC 7677), the client's side, without channel binding.

use std::num::NonZeroU32;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;

use super::LoginError;

/// Most iterations: more would keep a thread busy for seconds.
const MOST_ITERATIONS: u32 = 1_000_000;

/// The hash that is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        }
    }

    fn digest(self, data: &[u8]) -> digest::Digest {
        digest::digest(
            match self {
                Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
                Self::Sha256 => &digest::SHA256,
            },
            data,
        )
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data)
    }

    fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }
}

/// One exchange, from the client's first message on.
pub(super) struct Scram {
    hash: Hash,
    first_bare: String,
    nonce: String,
    /// What the server has to prove in the end; absent before its first message.
    server_signature: Option<hmac::Tag>,
}

impl Scram {
    /// For a user whose name is prepared. Nobody else may ever have drawn this `nonce`; it has no commas.
    pub(super) fn new(hash: Hash, username: &str, nonce: &str) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            first_bare: format!("n={username},r={nonce}"),
            nonce: nonce.to_owned(),
            server_signature: None,
        }
    }

    /// The client's first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the server's first message.
    pub(super) fn respond(
        &mut self,
        server_first: &str,
        password: &str,
    ) -> Result<String, LoginError> {
        let field = |name: char| {
            let fields = server_first.split(',');
            let mut values = fields.filter_map(|it| it.strip_prefix(name)?.strip_prefix('='));
            values.next().ok_or(LoginError::Malformed)
        };
        // An extension that has to be understood.
        if self.server_signature.is_some() || server_first.starts_with("m=") {
            return Err(LoginError::Malformed);
        }
        let nonce = field('r')?;
        let is_ours = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        let iterations = field('i')?.parse().ok().and_then(NonZeroU32::new);
        let iterations = iterations.filter(|it| is_ours && it.get() <= MOST_ITERATIONS);
        let iterations = iterations.ok_or(LoginError::Malformed)?;
        let salt = BASE64_STANDARD.decode(field('s')?);
        let salt = salt.map_err(|_| LoginError::Malformed)?;

        let hash = self.hash;
        let mut salted = vec![0; hash.size()];
        pbkdf2::derive(
            hash.pbkdf2(),
            iterations,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{without_proof}", self.first_bare);
        let client_key = hash.hmac(&salted, b"Client Key");
        let stored_key = hash.digest(client_key.as_ref());
        let signature = hash.hmac(stored_key.as_ref(), message.as_bytes());
        let both = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = both.map(|(key, signature)| key ^ signature).collect();
        let server_key = hash.hmac(&salted, b"Server Key");
        self.server_signature = Some(hash.hmac(server_key.as_ref(), message.as_bytes()));
        Ok(format!(
            "{without_proof},p={}",
            BASE64_STANDARD.encode(proof)
        ))
    }

    /// Checks the server's last message: it has to know the password, too.
    pub(super) fn check(&self, server_last: &str) -> Result<(), LoginError> {
        let signature = server_last.strip_prefix("v=");
        let signature = signature.and_then(|it| it.split(',').next());
        let signature = signature.and_then(|it| BASE64_STANDARD.decode(it).ok());
        let expected = self.server_signature.as_ref();
        let (signature, expected) = signature.zip(expected).ok_or(LoginError::Impostor)?;
        match bool::from(signature.ct_eq(expected.as_ref())) {
            true => Ok(()),
            false => Err(LoginError::Impostor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5802 §5, RFC 7677 §3.
    #[test]
    fn the_examples_of_the_specifications() {
        for (hash, nonce, server_first, last, server_last) in [
            (
                Hash::Sha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                Hash::Sha256,
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let mut scram = Scram::new(hash, "user", nonce);
            assert_eq!(scram.first(), format!("n,,n=user,r={nonce}"));
            assert_eq!(
                scram.check(server_last),
                Err(LoginError::Impostor),
                "too early"
            );
            assert_eq!(scram.respond(server_first, "pencil").as_deref(), Ok(last));
            assert_eq!(scram.check(server_last), Ok(()));
            assert_eq!(scram.check("v=AAAA"), Err(LoginError::Impostor));
            assert_eq!(scram.check(""), Err(LoginError::Impostor));
        }
    }

    #[test]
    fn a_server_that_breaks_the_rules_gets_no_proof() {
        for server_first in [
            "",
            "r=nonce,s=QSXCR+Q6sek8bf92,i=4096",
            "r=other,s=QSXCR+Q6sek8bf92,i=4096",
            "r=nonceX,s=*,i=4096",
            "r=nonceX,s=QSXCR+Q6sek8bf92,i=0",
            "r=nonceX,s=QSXCR+Q6sek8bf92,i=4000000000",
            "m=new,r=nonceX,s=QSXCR+Q6sek8bf92,i=4096",
        ] {
            let mut scram = Scram::new(Hash::Sha1, "user", "nonce");
            let refused = scram.respond(server_first, "pencil");
            assert_eq!(refused, Err(LoginError::Malformed), "{server_first}");
        }
        assert_eq!(
            Scram::new(Hash::Sha1, "a=b,c", "n").first(),
            "n,,n=a=3Db=2Cc,r=n"
        );
    }
}
