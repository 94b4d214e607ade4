//! Nginx and HAProxy as bare hops: plain HTTP on both sides, connections kept, one worker.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{
    load::Result,
    support::{free_ports, http::Endpoint, process::Process},
};

/// A proxy that runs.
pub(crate) struct Hop {
    // Before the folder, so that the process ends first.
    process: Process,
    _folder: TempDir,
    pub(crate) endpoint: Endpoint,
}

impl Hop {
    pub(crate) fn nginx(to: &Endpoint) -> Result<Self> {
        let config = |port: u16, folder: &Path| {
            let (to, folder) = (to.address, folder.display());
            format!(
                "daemon off;\nworker_processes 1;\nerror_log stderr notice;\npid {folder}/nginx.pid;\n\
                 events {{ worker_connections 8192; }}\n\
                 http {{\n\
                 access_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\n\
                 fastcgi_temp_path {folder}/f;\nuwsgi_temp_path {folder}/u;\nscgi_temp_path {folder}/s;\n\
                 keepalive_requests 100000000;\n\
                 upstream server {{ server {to}; keepalive 1024; keepalive_requests 100000000; }}\n\
                 server {{ listen 127.0.0.1:{port}; location / {{\n\
                 proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                 proxy_set_header Host $host; proxy_read_timeout 900s; }} }}\n}}\n"
            )
        };
        let args = ["-e", "stderr", "-p", "/", "-c"];
        Self::start(
            "/usr/sbin/nginx",
            &args,
            "start worker process ",
            to,
            config,
        )
    }

    pub(crate) fn haproxy(to: &Endpoint) -> Result<Self> {
        let config = |port: u16, _: &Path| {
            let to = to.address;
            format!(
                "global\n nbthread 1\n maxconn 5000\ndefaults\n mode http\n timeout connect 5s\n \
                 timeout client 900s\n timeout server 900s\n timeout http-keep-alive 900s\n \
                 option http-keep-alive\n http-reuse always\n\
                 frontend f\n bind 127.0.0.1:{port}\n default_backend b\n\
                 backend b\n server s {to}\n"
            )
        };
        let args = ["-db", "-W", "-f"];
        Self::start("/usr/sbin/haproxy", &args, "Loading success", to, config)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    fn start(
        program: &str,
        args: &[&str],
        sign: &str,
        to: &Endpoint,
        config: impl Fn(u16, &Path) -> String,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [port] = free_ports();
        let file = folder.path().join("config");
        fs::write(&file, config(port, folder.path()))?;
        // What they have to say they say on standard error.
        let script = format!(
            "exec {program} {} '{}' 2>&1",
            args.join(" "),
            file.display()
        );
        let log = folder.path().join("stderr.log");
        let mut process = Process::start(Path::new("sh"), ["-c", &script], &[], log);
        let mut said = String::new();
        loop {
            let Some(line) = process.line(Duration::from_secs(30)) else {
                return Err(format!("{program} does not start (make deps)\n{said}").into());
            };
            if line.contains(sign) {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                return Ok(Self {
                    process,
                    _folder: folder,
                    endpoint: Endpoint::new(address, &to.path),
                });
            }
            said.push_str(&line);
        }
    }
}
