//! Files as contact lists, served by a real Nginx.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::SystemTime,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    free_ports,
    process::Process,
    proxy::{START, certificate, run_nginx, start},
};

/// The server; it ends when the value is dropped.
pub struct Files {
    process: Process,
    folder: TempDir,
    port: u16,
    tls_port: u16,
}

/// The users who may have lists below `/private/`.
pub const USER: &str = "the site";
pub const PASSWORD: &str = "p@ssw/rd %?";

impl Files {
    /// Serves no lists yet; closes idle connections after a second.
    pub fn start() -> Self {
        // Another program may take the port first.
        let started = (0..5).find_map(|_| Self::try_start());
        started.expect("Nginx starts: make deps")
    }

    /// The value of `http_roster_url`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/%s", self.port)
    }

    /// The same for lists that need a password; the URL has what stands before `@`.
    pub fn private_url(&self, userinfo: &str) -> String {
        format!("http://{userinfo}127.0.0.1:{}/private/%s", self.port)
    }

    /// The same over TLS.
    pub fn https_url(&self) -> String {
        format!("https://localhost:{}/%s", self.tls_port)
    }

    /// Sets the list of a user.
    pub fn set(&self, user: &str, list: &Value) {
        fs::write(self.path(user), list.to_string()).expect("a writable folder");
    }

    /// When the list of a user last changed.
    pub fn modified(&self, user: &str) -> SystemTime {
        let file = fs::metadata(self.path(user)).expect("it is there");
        file.modified().expect("a time")
    }

    /// Sets when the list of a user last changed.
    pub fn set_modified(&self, user: &str, time: SystemTime) {
        let file = File::options().write(true).open(self.path(user));
        let file = file.expect("it is there");
        file.set_modified(time).expect("its time can be set");
    }

    /// The statuses of the answers to requests about a user.
    pub fn statuses(&self, user: &str) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("statuses.log")).expect("a log");
        let about = |line: &str| Some(line.split_once(&format!("/{user} "))?.1.to_owned());
        log.lines().filter_map(about).collect()
    }

    fn path(&self, user: &str) -> PathBuf {
        self.folder.path().join("lists").join(user)
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("rostergate-it-").tempdir();
        let folder = folder.expect("a temporary directory can be made");
        fs::create_dir(folder.path().join("lists")).expect("a writable folder");
        let [port, tls_port] = free_ports();
        let [certificate, key] = certificate(folder.path()).map(|path| path.display().to_string());
        let own_files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};"))
            .join(" ");
        let config = format!(
            "events {{}}\nhttp {{\n    {own_files}\n    default_type application/json;\n\
             \x20   log_format statuses '$uri $status';\n    access_log statuses.log statuses;\n\
             \x20   keepalive_timeout 1s;\n\
             \x20   ssl_certificate {certificate};\n    ssl_certificate_key {key};\n\
             \x20   server {{\n        listen 127.0.0.1:{port};\n        listen 127.0.0.1:{tls_port} ssl;\n\
             \x20       root lists;\n        location /private/ {{\n            alias lists/;\n\
             \x20           auth_basic lists;\n            auth_basic_user_file users;\n        }}\n    }}\n}}\n"
        );
        fs::write(
            folder.path().join("users"),
            format!("{USER}:{{PLAIN}}{PASSWORD}\n"),
        )
        .expect("a writable folder");
        let args = run_nginx(folder.path(), &config);
        let mut process = start(folder.path(), args);
        let mut said = String::new();
        while let Some(line) = process.line(START) {
            if line.contains("start worker process ") {
                return Some(Self {
                    process,
                    folder,
                    port,
                    tls_port,
                });
            }
            said.push_str(&format!("{line}\n"));
        }
        assert!(said.contains("Address already in use"), "{said}");
        None
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // In good order, so that it ends its own children.
        self.process.signal("TERM");
        self.process.wait(START);
    }
}
