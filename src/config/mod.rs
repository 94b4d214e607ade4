//! Configuration as the program uses it: validated, typed, secrets masked.
//!
//! Each section of the file has a module with its type, its defaults and its `read`. So a key is a field, its default,
//! and one line of `read`. `value`, `url` and `secret` parse texts; `reader` walks through the tables and notes what is
//! wrong; `file` sets the order of the sections, and checks what they have to agree on. The result needs no more
//! checks.
//!
//! Nothing here reads the environment, or knows of sessions, fronts and servers, which use it.

mod admin;
mod backend;
mod bosh;
mod cluster;
mod credentials;
mod error;
mod events;
#[cfg(test)]
mod example;
mod file;
mod host;
mod log;
mod login;
mod monitoring;
mod node;
mod own_addresses;
mod paths;
mod reader;
mod redact;
mod restart;
mod secret;
mod server;
mod session;
mod tls;
mod upstream;
mod url;
mod value;
mod web;
mod websocket;
mod writer;

use std::{fs, io, path::Path};

pub use self::{
    admin::Admin,
    backend::Backend,
    bosh::Bosh,
    cluster::Cluster,
    credentials::Credentials,
    error::{ConfigError, ConfigErrors, Position},
    events::{Events, EventsEndpoint},
    host::{Host, MessagesFrom, Presence},
    log::Log,
    login::{JwtKey, Login},
    monitoring::Monitoring,
    node::NodeName,
    paths::{AUTH_PATH, DISCOVERY_PATHS, MONITORING_PATHS},
    secret::Secret,
    server::Server,
    session::Session,
    upstream::{Upstream, UpstreamTls},
    url::{BaseUrl, EventsUrl, Place, RosterUrl, Scheme},
    web::Web,
    websocket::{Terms, WebSocket},
    writer::{WriterEndpoint, WriterKind, Writing},
};

/// `text` as it may be shown: without the user, password and query of a URL.
pub fn without_secrets(text: &str) -> String {
    redact::value("", text)
}

/// As [`without_secrets`], for a text that is always a URL, or the path of one.
pub fn without_secrets_of_url(text: &str) -> String {
    redact::url(text)
}

/// Everything that `rostergate.toml` says.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[session]`
    pub session: Session,
    /// `[web]`
    pub web: Web,
    /// `[bosh]`
    pub bosh: Bosh,
    /// `[websocket]`
    pub websocket: WebSocket,
    /// `[discovery]`: the URL of BOSH that clients are told; `None`: they are told none.
    pub bosh_url: Option<String>,
    /// `[discovery]`: the same for WebSocket.
    pub websocket_url: Option<String>,
    /// `[admin]`
    pub admin: Admin,
    /// `[monitoring]`
    pub monitoring: Monitoring,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[log]`
    pub log: Log,
    /// `[[host]]`, at least one, domains distinct.
    pub hosts: Vec<Host>,
    /// Settings that can be used, but are unwise.
    pub warnings: Vec<ConfigError>,
    /// The secrets that it holds itself, as warnings for the case that everybody may read it.
    secrets: Vec<ConfigError>,
}

impl Config {
    /// Reads the file at `path`; paths in it start from its folder.
    ///
    /// # Errors
    ///
    /// All errors at once; of syntax errors, only the first.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let name = without_secrets(&path.display().to_string());
        let text = fs::read_to_string(path).map_err(|error| ConfigError {
            file: name.clone(),
            position: None,
            key: String::new(),
            problem: format!("cannot be read: {error}"),
            got: None,
            cure: (error.kind() == io::ErrorKind::NotFound)
                .then(|| "start from what `rostergate example-config` prints".to_owned()),
        })?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let mut config = Self::parse(&text, &name, base)?;
        if secret::is_open_to_all(path) {
            config.warnings.append(&mut config.secrets);
        }
        Ok(config)
    }

    /// Reads `text`; errors call it `name`, and paths in it start from `base`.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(text: &str, name: &str, base: &Path) -> Result<Self, ConfigErrors> {
        file::read(text, name, base)
    }

    /// The example configuration: every key with its meaning and default.
    pub fn example() -> &'static str {
        include_str!("../../config.example.toml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigErrors> {
        Config::parse(text, "test.toml", Path::new("."))
    }

    #[test]
    fn secrets_do_not_show() {
        let config = parse(
            "[admin]\ntoken = 'hunter2hunter2'\n[[host]]\ndomain = 'a'\nupstream = 'xmpp://a'\n\
             backend_token = 'swordfish'\n\
             [[host]]\ndomain = 'b'\nupstream = 'https://a/b?key=swordfish'\n\
             http_roster_url = 'http://swordfish:hunter2@a/%s?key=hunter2'\n\
             [[host]]\ndomain = 'c'\nupstream = 'xmpp://a'\n\
             backend_user = 'swordfish'\nbackend_password = 'hunter2'\n",
        )
        .expect("valid");
        assert_eq!(
            config.admin.token.as_ref().map(Secret::expose),
            Some("hunter2hunter2")
        );
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("swordfish"),
            "{shown}"
        );
        let errors = parse("[admin]\ntoken = 31337\n").unwrap_err().to_string();
        assert!(!errors.contains("31337"), "{errors}");
        let errors = parse("[admin]\ntoken = 'a b'\n").unwrap_err().to_string();
        assert!(!errors.contains("a b"), "{errors}");
    }
}
