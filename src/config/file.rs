//! Configuration file as a whole: reads each section after those that it has to agree with.

use std::path::Path;

use super::{
    Config, ConfigErrors,
    admin::Admin,
    bosh::Bosh,
    cluster::Cluster,
    host::Host,
    log::Log,
    monitoring::Monitoring,
    own_addresses::OwnAddresses,
    reader::{Reader, Section, Taken},
    server::{self, Server},
    session::Session,
    url,
    value::Fault,
    web::Web,
    websocket::WebSocket,
};

/// Reads a whole configuration; `base` is the folder that relative paths start from.
pub(super) fn read(text: &str, name: &str, base: &Path) -> Result<Config, ConfigErrors> {
    Reader::new(text, name, base).file(config)
}

fn config(file: &mut Section<'_, '_>) -> Config {
    let mut taken = Taken::default();
    let has_more = !file.has_none("certificate");
    let mut server = file.section("server", |it| Server::read(it, &mut taken, has_more));
    let mut is_first = server.certificates.is_empty();
    let more = file.sections("certificate", |it| {
        let identity = server::read_certificate(it, is_first)?;
        is_first = false;
        Some(identity)
    });
    server.certificates.extend(more);
    let session = file.section("session", Session::read);
    let web = file.section("web", Web::read);
    let bosh = file.section("bosh", Bosh::read);
    let websocket = file.section("websocket", |it| WebSocket::read(it, &bosh));
    let (bosh_url, websocket_url) = file.section("discovery", |it| {
        (
            it.read("bosh_url", url::bosh),
            it.read("websocket_url", url::websocket),
        )
    });
    let fronts = [
        ("bosh.path", Some(&bosh.path)),
        ("websocket.path", websocket.path.as_ref()),
    ];
    let admin = file.section("admin", |it| Admin::read(it, &mut taken, &server, fronts));
    let monitoring = file.section("monitoring", |it| Monitoring::read(it, &mut taken));
    let cluster = file.section("cluster", Cluster::read);
    let log = file.section("log", Log::read);
    if file.has_none("host") {
        let cure = "add [[host]] with its domain and upstream";
        file.fault("host", Fault::new("no host to serve", cure));
    }
    let own = OwnAddresses::of(&server, &admin, monitoring.listen);
    let hosts: Vec<Host> = file.sections("host", |it| Host::read(it, &mut taken, &own));
    let gives_tokens = hosts.iter().any(|host| host.login.is_some());
    if gives_tokens && admin.token.is_none() && admin.client_ca.is_none() {
        let problem = "every program on this machine can log in as any user";
        file.warn("host.login", Fault::new(problem, "set admin.token_file"));
    }
    Config {
        server,
        session,
        web,
        bosh,
        websocket,
        bosh_url,
        websocket_url,
        admin,
        monitoring,
        cluster,
        log,
        hosts,
        warnings: Vec::new(),
        secrets: Vec::new(),
    }
}
