//! Proxies: Nginx and Apache as Debian has them, with the examples of this repository at ports of their own, for tests
//! that run side by side (`machine` uses the examples as they are), and those that pass TCP on. They run without
//! privileges, in a folder of their own.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt as _, chown, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::{free_ports, http::Endpoint, process::Process, root};

/// Slow machines that run many tests at once need this long.
pub(super) const START: Duration = Duration::from_secs(30);
/// The user that proxies run as if the tests run as root: nobody.
const NOBODY: u32 = 65534;

/// The modules that Debian's Apache has by default, and those that `apache-example.conf` says to enable.
const APACHE_MODULES: [&str; 25] = [
    "access_compat",
    "alias",
    "auth_basic",
    "authn_core",
    "authn_file",
    "authz_core",
    "authz_host",
    "authz_user",
    "autoindex",
    "deflate",
    "dir",
    "env",
    "filter",
    "headers",
    "http2",
    "mime",
    "mpm_event",
    "negotiation",
    "proxy",
    "proxy_http",
    "reqtimeout",
    "setenvif",
    "socache_shmcb",
    "ssl",
    "status",
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Apache,
    /// Ends TLS and passes TCP on, with the client's address in version 2 of the PROXY protocol.
    HaproxyTcp,
    /// Gives each request to the next of several gateways, whosever it is.
    RoundRobin,
    /// The same with each connection.
    RoundRobinTcp,
    Nginx,
    /// Without the lines of the example that make it speak HTTP/1.1 to the gateway.
    NginxHttp10,
    /// Passes TCP on, with the client's address in version 1 of the PROXY protocol.
    NginxStream,
}

/// A running proxy.
#[must_use = "it ends when dropped"]
pub struct Proxy {
    // Before the folder, so that the process ends first.
    process: Process,
    _folder: TempDir,
    kind: Kind,
    http: SocketAddr,
    https: SocketAddr,
}

impl Proxy {
    /// In front of a gateway that listens there.
    pub fn start(kind: Kind, gateway: SocketAddr) -> Self {
        Self::before(kind, &[gateway])
    }

    /// In front of several gateways.
    pub fn before(kind: Kind, gateways: &[SocketAddr]) -> Self {
        // Another program may take a port after it was found free and before the proxy binds it.
        for _ in 0..10 {
            if let Some(proxy) = Self::try_start(kind, gateways) {
                return proxy;
            }
        }
        panic!("no port stays free for {kind:?}");
    }

    /// HAProxy or Nginx with a whole configuration, which is made for the port that it listens at.
    pub fn configured(kind: Kind, config: impl Fn(u16) -> String) -> Self {
        let args = |folder: &Path, [port, _]: [u16; 2]| match kind {
            Kind::Nginx => (run_nginx(folder, &config(port)), "start worker process "),
            _ => (run_haproxy(folder, &config(port)), "Loading success"),
        };
        for _ in 0..10 {
            if let Some(proxy) = Self::try_run(kind, args) {
                return proxy;
            }
        }
        panic!("no port stays free for {kind:?}");
    }

    /// Apache with the example, where it passes requests on to `balancer` (what stands instead of `ProxyPassMatch`), and
    /// these modules beside.
    pub fn apache_balancing(balancer: &str, modules: &[&str]) -> Self {
        let pass = |line: &str| line.trim_start().starts_with(APACHE_PASS);
        let site = |text: String| {
            let lines = text.lines().map(|line| match pass(line) {
                true => format!("{balancer}\n"),
                false => format!("{line}\n"),
            });
            lines.collect()
        };
        let args = |folder: &Path, ports| {
            let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
            let args = apache(folder, nobody, ports, modules, &site);
            (args, "resuming normal")
        };
        for _ in 0..10 {
            if let Some(proxy) = Self::try_run(Kind::Apache, args) {
                return proxy;
            }
        }
        panic!("no port stays free for Apache");
    }

    /// Where it takes HTTP, or TCP.
    pub fn http(&self) -> Endpoint {
        Endpoint::new(self.http, "/http-bind")
    }

    /// Where it takes HTTPS.
    pub fn https(&self) -> Endpoint {
        Endpoint::new(self.https, "/http-bind").over_tls()
    }

    /// Makes it read its configuration again, and waits until the new one is in use.
    pub fn reload(&mut self) {
        let (signal, sign) = match self.kind {
            // As `apachectl graceful` does.
            Kind::Apache => ("USR1", "resuming normal operations"),
            // As `nginx -s reload` does.
            _ => ("HUP", "gracefully shutting down"),
        };
        self.process.signal(signal);
        while !self.line().contains(sign) {}
    }

    fn line(&mut self) -> String {
        let line = self.process.line(START);
        line.unwrap_or_else(|| panic!("{:?} has ended", self.kind))
    }

    fn try_start(kind: Kind, gateways: &[SocketAddr]) -> Option<Self> {
        let gateway = *gateways.first()?;
        Self::try_run(kind, |folder, ports| match kind {
            Kind::Apache => (
                apache(folder, gateway, ports, &[], &|site| site),
                "resuming normal",
            ),
            Kind::HaproxyTcp => (haproxy(folder, gateway, ports), "Loading success"),
            Kind::RoundRobin => (
                round_robin(folder, "http", gateways, ports),
                "Loading success",
            ),
            Kind::RoundRobinTcp => (
                round_robin(folder, "tcp", gateways, ports),
                "Loading success",
            ),
            Kind::NginxStream => (
                nginx_stream(folder, gateway, ports),
                "start worker process ",
            ),
            Kind::Nginx | Kind::NginxHttp10 => {
                (nginx(kind, folder, gateway, ports), "start worker process ")
            }
        })
    }

    /// Runs what `args` says; that is also what it says when it is ready.
    fn try_run(
        kind: Kind,
        args: impl Fn(&Path, [u16; 2]) -> (Vec<String>, &'static str),
    ) -> Option<Self> {
        let scratch = tempfile::Builder::new().prefix("rostergate-it-").tempdir();
        let folder = scratch.expect("a temporary directory can be made");
        let ports = free_ports();
        let (args, ready) = args(folder.path(), ports);
        let mut process = start(folder.path(), args);
        let mut said = String::new();
        while let Some(line) = process.line(START) {
            if line.contains(ready) {
                let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
                return Some(Self {
                    process,
                    _folder: folder,
                    kind,
                    http: at(ports[0]),
                    https: at(ports[1]),
                });
            }
            said.push_str(&format!("{line}\n"));
        }
        let is_taken = said.contains("Address already in use");
        assert!(is_taken, "{kind:?} does not start: make deps\n{said}");
        None
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // In good order, so that it ends its own children.
        if !std::thread::panicking() {
            self.process.signal("TERM");
            self.process.wait(START);
        }
    }
}

/// Runs a server so that all it says goes to its standard output; as nobody if we are root.
pub(super) fn start(folder: &Path, args: Vec<String>) -> Process {
    let mut command = vec![
        "-c".to_owned(),
        "exec \"$@\" 2>&1".to_owned(),
        "sh".to_owned(),
    ];
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        give_away(folder);
        let nobody = [
            "setpriv".to_owned(),
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".to_owned(),
        ];
        command.extend(nobody);
    }
    command.extend(args);
    let log = folder.join("stderr.log");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let environment = [("SCRATCH", ""), ("PATH", path.as_str())];
    Process::start(Path::new("sh"), command, &environment, log)
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    let entries = fs::read_dir(path).expect("a folder");
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let kind = entry.file_type().expect("its type");
        if kind.is_dir() {
            give_away(&entry.path());
        } else if kind.is_file() {
            chown(entry.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
    }
}

/// An example of this repository, with the beginnings of some lines replaced.
fn example(name: &str, changes: &[(&str, String)]) -> String {
    let file = root().join(name);
    let mut text = fs::read_to_string(file).expect("the example");
    for (from, to) in changes {
        let lines = text.lines().map(|line| {
            let indent = line.len() - line.trim_start().len();
            match line[indent..].strip_prefix(from) {
                Some(rest) => format!("{to}{rest}\n"),
                None => format!("{line}\n"),
            }
        });
        let changed: String = lines.collect();
        assert_ne!(changed, text, "{name} has {from:?}");
        text = changed;
    }
    text
}

/// Copies a test certificate for `example.org` and its key.
pub(super) fn certificate(folder: &Path) -> [PathBuf; 2] {
    fs::create_dir_all(folder.join("certs")).expect("a folder");
    ["crt", "key"].map(|kind| {
        let from = root().join(format!("certs/localhost.{kind}"));
        let to = folder.join(format!("certs/example.org.{kind}"));
        fs::copy(from, &to).expect("a certificate");
        to
    })
}

fn nginx(kind: Kind, folder: &Path, gateway: SocketAddr, [http, https]: [u16; 2]) -> Vec<String> {
    let [crt, key] = certificate(folder).map(|path| path.display().to_string());
    let own_files = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {name};"))
        .join(" ");
    let mut changes = vec![
        ("listen [::]:80;", String::new()),
        ("listen [::]:443 ssl http2;", String::new()),
        ("listen 80;", format!("listen 127.0.0.1:{http};")),
        ("listen 443 ", format!("listen 127.0.0.1:{https} ")),
        ("server 127.0.0.1:5290;", format!("server {gateway};")),
        (
            "ssl_certificate /etc/ssl/certs/ssl-cert-snakeoil.pem;",
            format!("ssl_certificate {crt};"),
        ),
        (
            "ssl_certificate_key /etc/ssl/private/ssl-cert-snakeoil.key;",
            format!("ssl_certificate_key {key};"),
        ),
    ];
    if kind == Kind::NginxHttp10 {
        changes.push(("proxy_http_version 1.1;", String::new()));
        changes.push((
            "proxy_set_header Connection $rostergate_connection;",
            String::new(),
        ));
    }
    let site = example("nginx-example.conf", &changes);
    // As Debian's nginx.conf has it.
    let main = "worker_processes auto;\nevents { worker_connections 768; }";
    let http = format!("http {{\ngzip on; access_log off; {own_files}\n{site}}}\n");
    run_nginx(folder, &format!("{main}\n{http}"))
}

fn nginx_stream(folder: &Path, gateway: SocketAddr, [tcp, _]: [u16; 2]) -> Vec<String> {
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         events {{}}\n\
         stream {{\n    server {{\n        listen 127.0.0.1:{tcp};\n\
         \x20       proxy_pass {gateway};\n        proxy_protocol on;\n    }}\n}}\n"
    );
    run_nginx(folder, &config)
}

fn haproxy(folder: &Path, gateway: SocketAddr, [tcp, tls]: [u16; 2]) -> Vec<String> {
    let pem = certificate(folder).map(|path| fs::read_to_string(path).expect("PEM"));
    fs::write(folder.join("both.pem"), pem.concat()).expect("a writable folder");
    let pem = folder.join("both.pem");
    let pem = pem.display();
    let config = format!(
        "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 90s\n    timeout server 90s\n\
         listen rostergate\n    bind 127.0.0.1:{tcp}\n    bind 127.0.0.1:{tls} ssl crt {pem}\n\
         \x20   server gateway {gateway} send-proxy-v2-ssl\n"
    );
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config).expect("a writable folder");
    let file = file.to_str().expect("a folder of ours");
    let args = ["haproxy", "-W", "-f", file];
    args.map(str::to_owned).to_vec()
}

/// Without health checks: a gateway that does not take a connection is passed over.
fn round_robin(
    folder: &Path,
    mode: &str,
    gateways: &[SocketAddr],
    [port, _]: [u16; 2],
) -> Vec<String> {
    let servers: String = gateways
        .iter()
        .enumerate()
        .map(|(number, gateway)| format!("    server gateway{number} {gateway}\n"))
        .collect();
    let aborts = match mode {
        "http" => "    option abortonclose\n",
        _ => "",
    };
    let config = format!(
        "defaults\n    mode {mode}\n    timeout connect 5s\n    timeout client 90s\n    timeout server 90s\n\
         {aborts}    option redispatch 1\n    retries 3\n\
         listen rostergate\n    bind 127.0.0.1:{port}\n    balance roundrobin\n{servers}"
    );
    run_haproxy(folder, &config)
}

fn run_haproxy(folder: &Path, config: &str) -> Vec<String> {
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config).expect("a writable folder");
    let file = file.to_str().expect("a folder of ours");
    let args = ["haproxy", "-W", "-f", file];
    args.map(str::to_owned).to_vec()
}

pub(super) fn run_nginx(folder: &Path, config: &str) -> Vec<String> {
    let file = folder.join("nginx.conf");
    fs::write(&file, config).expect("a writable folder");
    let [folder, file] = [folder, &file].map(|path| path.to_str().expect("a folder of ours"));
    let globals = "pid nginx.pid; daemon off; error_log stderr notice;";
    let args = [
        "nginx", "-p", folder, "-c", file, "-e", "stderr", "-g", globals,
    ];
    args.map(str::to_owned).to_vec()
}

/// The line that passes requests on.
const APACHE_PASS: &str = "ProxyPassMatch \"^/(http-bind|xmpp-websocket)/?$\"";

/// A new `/etc/apache2`: Debian's own main file, its modules and `modules`, and one site, which `change` changes.
fn apache(
    folder: &Path,
    gateway: SocketAddr,
    [http, https]: [u16; 2],
    modules: &[&str],
    change: &dyn Fn(String) -> String,
) -> Vec<String> {
    let [crt, key] = certificate(folder).map(|path| path.display().to_string());
    for name in ["conf-enabled", "mods-enabled", "run", "sites-enabled"] {
        fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    let debian = Path::new("/etc/apache2");
    for name in APACHE_MODULES.iter().chain(modules) {
        for kind in ["load", "conf"] {
            let file = format!("{name}.{kind}");
            let (from, to) = (
                debian.join("mods-available").join(&file),
                folder.join("mods-enabled").join(&file),
            );
            if from.exists() {
                symlink(from, to).expect("a writable folder");
            }
        }
    }
    let main = fs::read_to_string(debian.join("apache2.conf"));
    let main = main.expect("the Debian package apache2 is installed: make deps");
    let pass = APACHE_PASS;
    let site = example(
        "apache-example.conf",
        &[
            ("<VirtualHost *:80>", format!("<VirtualHost *:{http}>")),
            ("<VirtualHost *:443>", format!("<VirtualHost *:{https}>")),
            (
                "SSLCertificateFile /etc/ssl/certs/ssl-cert-snakeoil.pem",
                format!("SSLCertificateFile {crt}"),
            ),
            (
                "SSLCertificateKeyFile /etc/ssl/private/ssl-cert-snakeoil.key",
                format!("SSLCertificateKeyFile {key}"),
            ),
            (
                &format!("{pass} \"http://127.0.0.1:5290\""),
                format!("{pass} \"http://{gateway}\""),
            ),
        ],
    );
    let site = change(site);
    let ports = format!("Listen 127.0.0.1:{http}\nListen 127.0.0.1:{https}\n");
    for (name, text) in [
        ("apache2.conf", &main),
        ("ports.conf", &ports),
        ("sites-enabled/rostergate.conf", &site),
    ] {
        fs::write(folder.join(name), text).expect("a writable folder");
    }
    let folder = folder.to_str().expect("a folder of ours");
    // The variables of Debian's envvars, and a log that can be followed.
    let mut command = vec!["env".to_owned()];
    for (name, value) in [
        ("RUN_DIR", format!("{folder}/run")),
        ("PID_FILE", format!("{folder}/run/apache2.pid")),
        ("LOG_DIR", format!("{folder}/run")),
        ("RUN_USER", format!("#{NOBODY}")),
        ("RUN_GROUP", format!("#{NOBODY}")),
    ] {
        command.push(format!("APACHE_{name}={value}"));
    }
    let rest = ["apache2", "-D", "FOREGROUND", "-d", folder, "-f"];
    command.extend(rest.map(str::to_owned));
    command.push(format!("{folder}/apache2.conf"));
    command.extend(["-c", "ErrorLog \"|/bin/cat\""].map(str::to_owned));
    command
}
