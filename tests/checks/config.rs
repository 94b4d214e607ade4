//! Configuration: any text is either understood or refused with a message that names the place.

use std::path::Path;

use rostergate::config::Config;

/// Whether a configuration may name a file: the check must not read any.
fn names_a_path(text: &str) -> bool {
    let keys = [
        "token_file",
        "password_file",
        "backend_ca",
        "certificate",
        "client_ca",
        "private_key",
        "upstream_ca",
        "\\",
    ];
    keys.iter().any(|key| text.contains(key))
}

pub fn parse(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if names_a_path(text) {
        return false;
    }
    let errors = match Config::parse(text, "rostergate.toml", Path::new("/nonexistent")) {
        Ok(config) => {
            assert!(!config.hosts.is_empty(), "a gateway for nobody");
            let listens = [&config.server.listen, &config.server.listen_tls];
            assert!(listens.iter().any(|list| !list.is_empty()), "no way in");
            assert!(config.bosh.path.starts_with('/'));
            return true;
        }
        Err(errors) => errors,
    };
    assert!(errors.iter().next().is_some(), "refused without a reason");
    for error in errors.iter() {
        let line = error.to_string();
        assert!(line.starts_with("rostergate.toml"), "{line}");
        assert!(!error.problem.is_empty(), "{line}");
        if let Some(position) = error.position {
            let lines: Vec<&str> = text.split('\n').collect();
            let at = lines.get(position.line - 1).expect("a line that exists");
            assert!((1..=at.chars().count() + 1).contains(&position.column));
        }
    }
    false
}
