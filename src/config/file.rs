//! Configuration file as a whole: reads each section after those that it has to agree with.

use std::path::Path;

use super::{
    Config, ConfigErrors,
    admin::Admin,
    bosh::Bosh,
    host::Host,
    log::Log,
    own_addresses::OwnAddresses,
    reader::{Reader, Section, Taken},
    server::{self, Server},
    session::Session,
    url,
    value::Fault,
    web::Web,
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
    let bosh_url = file.section("discovery", |it| it.read("bosh_url", url::public));
    let admin = file.section("admin", |it| Admin::read(it, &mut taken, &server, &bosh));
    let monitoring = file.section("monitoring", |it| it.read("listen", |t| taken.address(t)));
    let log = file.section("log", Log::read);
    if file.has_none("host") {
        let cure = "add [[host]] with its domain and upstream";
        file.fault("host", Fault::new("no host to serve", cure));
    }
    let own = OwnAddresses::of(&server, &admin, monitoring);
    let hosts = file.sections("host", |it| Host::read(it, &mut taken, &own));
    Config {
        server,
        session,
        web,
        bosh,
        bosh_url,
        admin,
        monitoring,
        log,
        hosts,
        warnings: Vec::new(),
    }
}
