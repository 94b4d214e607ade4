//! `[[host]]`: an XMPP domain, its server and its backend.

use jid::DomainPart;

use super::{
    backend::Backend,
    events::Events,
    login::Login,
    own_addresses::OwnAddresses,
    reader::{Section, Taken},
    upstream::Upstream,
    url::RosterUrl,
    value::Fault,
    writer::{WriterEndpoint, Writing},
};

/// `[[host]]`
#[derive(Clone, Debug)]
pub struct Host {
    /// The XMPP domain, prepared.
    pub domain: DomainPart,
    /// Where its server is.
    pub upstream: Upstream,
    /// Where its rosters come from; absent: stanzas pass untouched.
    pub http_roster_url: Option<RosterUrl>,
    /// Who carries presence between contacts.
    pub presence: Presence,
    /// Who may write to its users.
    pub messages_from: MessagesFrom,
    /// How the backend is asked for them.
    pub backend: Backend,
    /// Where they are written to, if the server holds them; absent: the gateway does.
    pub writer: Option<WriterEndpoint>,
    /// How they are written.
    pub writing: Writing,
    /// How users log in without a password in the page; absent: they do not.
    pub login: Option<Login>,
    /// What the site is told of who is available.
    pub events: Events,
}

/// Who may write to the users of a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessagesFrom {
    /// Whoever the server lets.
    Anyone,
    /// Their contacts.
    Contacts,
}

/// Who carries presence between contacts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// The gateway, by directed presence.
    Directed,
    /// The server; the gateway leaves it alone.
    Server,
}

impl Host {
    /// `None` without a domain or an upstream.
    pub(super) fn read(
        section: &mut Section<'_, '_>,
        taken: &mut Taken,
        own: &OwnAddresses,
    ) -> Option<Self> {
        let domain = section.require("domain", |text| taken.domain(text));
        let upstream = Upstream::read(section, own);
        let (http_roster_url, backend) = Backend::read(section, own);
        let writer = WriterEndpoint::read(section, own);
        let writing = Writing::read(section);
        let login = Login::read(section, own);
        let events = Events::read(section, own);
        let mut presence = Presence::Directed;
        let choices = [
            ("directed", Presence::Directed),
            ("server", Presence::Server),
        ];
        section.choose(&mut presence, "presence", &choices);
        let mut messages_from = MessagesFrom::Anyone;
        let choices = [
            ("anyone", MessagesFrom::Anyone),
            ("contacts", MessagesFrom::Contacts),
        ];
        section.choose(&mut messages_from, "messages_from", &choices);
        if messages_from == MessagesFrom::Contacts && !section.has("http_roster_url") {
            let cure = "set http_roster_url, or leave it away";
            let fault = Fault::new("the gateway has no contact lists", cure);
            section.fault("messages_from", fault);
        } else if messages_from == MessagesFrom::Contacts && writer.is_some() {
            let cure = "have the server refuse strangers: it knows the lists";
            let fault = Fault::new("set beside rosters = \"server\"", cure);
            section.fault("messages_from", fault);
        }
        Some(Self {
            domain: domain?,
            upstream: upstream?,
            http_roster_url,
            presence,
            messages_from,
            backend,
            writer,
            writing,
            login,
            events,
        })
    }
}
