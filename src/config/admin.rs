//! `[admin]`: the API that the site calls.

use std::{net::SocketAddr, time::Duration};

use super::{
    paths,
    reader::{Section, Taken},
    secret::{self, Secret},
    server::Server,
    value::{self, Fault, KIB, MIB, MINUTE, SECOND},
};
use crate::net::tls::ClientAuthority;

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// Path prefix, without a trailing slash.
    pub path: String,
    /// Its own address for HTTP. Without this and `listen_tls`, the API is served at the addresses of `[server]`.
    pub listen: Option<SocketAddr>,
    /// Its own address for HTTPS.
    pub listen_tls: Option<SocketAddr>,
    /// The bearer token. Without this and `client_ca`, only loopback peers have access.
    pub token: Option<Secret>,
    /// The authorities whose client certificates are as good as the token.
    pub client_ca: Option<ClientAuthority>,
    /// Longest time until an answer.
    pub deadline: Duration,
    /// Longest request body, bytes.
    pub max_body: usize,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            path: "/roster_admin".to_owned(),
            listen: None,
            listen_tls: None,
            token: None,
            client_ca: None,
            deadline: Duration::from_secs(30),
            max_body: 1 << 20,
        }
    }
}

impl Admin {
    /// Whether the API has addresses of its own, and is not served at those of `[server]`.
    pub fn is_apart(&self) -> bool {
        self.listen.is_some() || self.listen_tls.is_some()
    }
}

impl Admin {
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        taken: &mut Taken,
        server: &Server,
        fronts: [(&str, Option<&String>); 2],
    ) -> Self {
        let mut it = Self::default();
        section.set(&mut it.path, "path", value::path);
        for (key, path) in fronts {
            if path.is_some_and(|path| paths::overlap(path, &it.path)) {
                let cure = "choose two paths that share no prefix";
                section.fault("path", Fault::new(format!("overlaps {key}"), cure));
            }
        }
        section.keep_path_apart("path", &it.path);
        it.listen = section.read("listen", |text| taken.address(text));
        it.listen_tls = section.read("listen_tls", |text| taken.address(text));
        if section.has("listen_tls") && server.certificates.is_empty() {
            let cure = "set server.certificate and server.private_key";
            let fault = Fault::new("HTTPS without a certificate and its key", cure);
            section.fault("listen_tls", fault);
        }
        it.client_ca = it.read_client_ca(section, server);
        it.token = section.secret(["token", "token_file"], &secret::TOKEN);
        section.set(
            &mut it.deadline,
            "deadline",
            value::duration(SECOND..=10 * MINUTE),
        );
        section.set(
            &mut it.max_body,
            "max_body",
            value::size(4 * KIB..=64 * MIB),
        );
        it
    }

    fn read_client_ca(
        &self,
        section: &mut Section<'_, '_>,
        server: &Server,
    ) -> Option<ClientAuthority> {
        let (authority, names) = section.client_authority(["client_ca", "client_names"]);
        let has_authority = section.has("client_ca");
        if !has_authority && !names.is_empty() {
            let fault = Fault::new("without the authority", "set admin.client_ca");
            section.fault("client_names", fault);
        }
        let has_tls = match self.is_apart() {
            true => self.listen_tls.is_some(),
            false => !server.listen_tls.is_empty(),
        };
        if has_authority && !has_tls {
            let cure = "set admin.listen_tls";
            let fault = Fault::new("the API is served without TLS only", cure);
            section.fault("client_ca", fault);
        }
        authority
    }
}
