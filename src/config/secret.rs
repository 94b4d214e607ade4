//! Secrets: values that are never shown, written in the configuration file or alone in a file of their own.

use std::{fmt, fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use super::value::{Fault, unreadable};

/// A value that never shows in logs.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a value.
    pub fn new(value: &str) -> Self {
        Self(Arc::from(value))
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MASKED")
    }
}

/// A bearer token (RFC 6750 §2.1), which an HTTP header can carry as one word.
fn token(text: &str) -> Result<Secret, Fault> {
    if text.is_empty() {
        Err(Fault::new(
            "empty",
            "write at least 16 random characters, or leave the key away",
        ))
    } else if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err(Fault::new(
            "not a token",
            "use letters, digits and signs of ASCII, without spaces",
        ))
    }
}

/// A kind of secret, and how it is written.
pub(super) struct SecretKind {
    pub(super) name: &'static str,
    pub(super) read: fn(&str) -> Result<Secret, Fault>,
    /// Takes the secret from the contents of a file.
    pub(super) bare: fn(&str) -> &str,
}

pub(super) const TOKEN: SecretKind = SecretKind {
    name: "token",
    read: token,
    bare: str::trim,
};

/// Spaces may be part of it.
pub(super) const PASSWORD: SecretKind = SecretKind {
    name: "password",
    read: password,
    bare: |text| text.trim_end_matches(['\r', '\n']),
};

/// A password for a backend (RFC 7617 §2).
fn password(text: &str) -> Result<Secret, Fault> {
    if text.is_empty() {
        Err(Fault::new("empty", "write the password"))
    } else {
        without_controls(text)
    }
}

/// A user for a backend (RFC 7617 §2).
pub(super) fn user(text: &str) -> Result<Secret, Fault> {
    if text.is_empty() || text.contains(':') {
        let cure = "write a name without colons";
        return Err(Fault::new("not the name of a user", cure));
    }
    without_controls(text)
}

pub(super) fn without_controls(text: &str) -> Result<Secret, Fault> {
    if text.contains(char::is_control) {
        let cure = "leave control characters away: no header can carry them";
        return Err(Fault::new("with control characters", cure));
    }
    Ok(Secret::new(text))
}

/// A secret alone in a file.
pub(super) fn file(base: &Path, kind: &SecretKind) -> impl Fn(&str) -> Result<Secret, Fault> {
    let SecretKind { name, read, bare } = *kind;
    move |text| {
        let contents = fs::read_to_string(base.join(text)).map_err(|error| unreadable(&error))?;
        read(bare(&contents)).map_err(|fault| {
            let problem = format!("the {name} in this file is {}", fault.problem);
            Fault::new(problem, fault.cure)
        })
    }
}

/// Whether every user of this machine can read or change the file, by its permissions and those of its folders.
pub(super) fn is_open_to_all(file: &Path) -> bool {
    let allows = |path: &Path, right: u32| {
        let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
        mode.is_ok_and(|mode| mode & right != 0)
    };
    let Ok(file) = file.canonicalize() else {
        return false;
    };
    let mut folders = file.ancestors().skip(1);
    allows(&file, 0o006) && folders.all(|folder| allows(folder, 0o001))
}
