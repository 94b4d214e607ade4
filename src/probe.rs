//! Trial of a configuration from here, as far as possible without a web client: the connection to each XMPP server, a login,
//! the fetch of a contact list, and the list in the server, if it holds the lists.
//! Tells what it finds in words, and what to do about it.

use std::{future::poll_fn, net::Ipv4Addr, time::Duration};

use jid::DomainPart;
use tokio::time::timeout;

use crate::{
    backend::{ContactSource as _, FetchError, Fetched, http::HttpSource},
    config::{self, Config, WriterKind},
    log::plain,
    net::causes::in_words,
    proto::{
        sasl::{Credentials, Login, LoginError, Step},
        sm::initiator::StreamManagement,
        stanza::Stanza,
        stream::error::StreamCondition,
        xml::Ns,
    },
    roster::Username,
    upstream::{ConnectError, Connector, Hello, Initiator, Phase, Upstream, UpstreamEvent},
    writer::{self, WriteError},
};

/// Time for a login, and for the server's end of a stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to try where there is no mechanism, or none that will do.
const NO_LOGIN: &str = "in Prosody, allow_unencrypted_plain_auth = true above the first VirtualHost, or upstream_tls = \"verify\"; and its log says whether the module that authentication names is there";

/// Who is tried.
pub struct Subject {
    user: Username,
    /// One host alone.
    domain: Option<DomainPart>,
    /// To log in with.
    password: Option<String>,
}

impl Subject {
    /// A user of every host, or by a bare JID of one; `None` if that is no name.
    pub fn new(user: &str, password: Option<String>) -> Option<Self> {
        let (name, domain) = match user.rsplit_once('@') {
            Some((name, domain)) => (name, Some(DomainPart::new(domain).ok()?.into_owned())),
            None => (user, None),
        };
        let user = Username::prepare(name)?;
        Some(Self {
            user,
            domain,
            password,
        })
    }

    /// Whether the user is tried on this host.
    pub fn is_of(&self, host: &config::Host) -> bool {
        let domain = self.domain.as_ref();
        domain.is_none_or(|domain| *domain == host.domain)
    }
}

/// What is said of one thing that was tried.
type Finding = Result<String, Trouble>;

/// What is wrong, and what to do about it.
struct Trouble {
    what: String,
    cure: Option<&'static str>,
}

impl Trouble {
    fn new(what: impl ToString, cure: impl Into<Option<&'static str>>) -> Self {
        Self {
            what: what.to_string(),
            cure: cure.into(),
        }
    }
}

/// What has been found, said as soon as it is there.
struct Report<F> {
    say: F,
    is_well: bool,
}

impl<F: FnMut(&str)> Report<F> {
    /// What comes from outside stays on one line, and short.
    fn tell(&mut self, finding: Finding) {
        match finding {
            Ok(what) => (self.say)(&format!("  ok: {}", plain(&what))),
            Err(Trouble { what, cure }) => {
                self.is_well = false;
                (self.say)(&format!("  FAILED: {}", plain(&what)));
                if let Some(cure) = cure {
                    (self.say)(&format!("    try: {cure}"));
                }
            }
        }
    }
}

/// Tries everything, and says each finding in a line as soon as it is there. Whether all is well.
pub async fn run(config: &Config, subject: &Subject, say: impl FnMut(&str)) -> bool {
    let mut report = Report { say, is_well: true };
    for host in config.hosts.iter().filter(|host| subject.is_of(host)) {
        (report.say)(host.domain.as_str());
        server(host, subject, &mut report).await;
        report.tell(list(host, &subject.user).await);
        if let Some(endpoint) = &host.writer {
            let settings = writer::Settings::new(endpoint, host.writing, &host.domain);
            report.tell(list_in_server(&settings, endpoint.kind, &subject.user).await);
        }
    }
    report.is_well
}

/// Connects to the server of `host`, and logs in if there is a password.
async fn server<F: FnMut(&str)>(host: &config::Host, subject: &Subject, report: &mut Report<F>) {
    let connector = match Connector::new(host) {
        Ok(connector) => connector,
        Err(error) => return report.tell(Err(Trouble::new(in_words(&error), None))),
    };
    let initiator = Initiator {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        jid: None,
        lang: "en",
    };
    let (mut upstream, hello) = match connector.connect(initiator).await {
        Ok(connected) => connected,
        Err(error) => {
            let what = format!("XMPP server: {}", in_words(&error));
            return report.tell(Err(Trouble::new(what, cure_of_connection(&error))));
        }
    };
    report.tell(connected(&upstream, &hello));
    let Some(password) = &subject.password else {
        let why = match host.login {
            Some(_) => "not logged in: users of this host have tokens (host.login)",
            None => {
                "not logged in; with ROSTERGATE_PROBE_PASSWORD in the environment, that is tried, too"
            }
        };
        return report.tell(Ok(why.to_owned()));
    };
    let nonce = getrandom::u64().and_then(|high| Ok((high, getrandom::u64()?)));
    let Ok((high, low)) = nonce else {
        return report.tell(Err(Trouble::new("the system has no random numbers", None)));
    };
    let login = Login::new(Credentials {
        username: subject.user.as_str().to_owned(),
        password: password.clone(),
        is_private: connector.is_private(),
        is_token: false,
        resource: None,
        nonce: format!("{high:016x}{low:016x}"),
    });
    let login = timeout(PATIENCE, log_in(&mut upstream, login, &hello.features)).await;
    let late = || Err(Trouble::new("the server does not answer the login", None));
    match login.unwrap_or_else(|_| late()) {
        Ok((jid, is_managed)) => {
            report.tell(Ok(format!("logged in as {jid}")));
            report.tell(managed(&upstream, is_managed));
        }
        Err(trouble) => report.tell(Err(trouble)),
    }
    upstream.close();
    let closed = async {
        while let Ok(event) = poll_fn(|cx| upstream.poll(cx, true)).await
            && !matches!(event, UpstreamEvent::Closed)
        {}
    };
    // A server that does not answer is left.
    let _ = timeout(PATIENCE, closed).await;
}

fn connected(upstream: &Upstream, hello: &Hello) -> Finding {
    let how = match upstream.is_encrypted() {
        true => "by TLS",
        false => "without TLS",
    };
    let features = hello.features.children();
    let mechanisms = features.filter(|it| it.is(Ns::Sasl, "mechanisms"));
    let names = mechanisms.flat_map(|it| it.children().collect::<Vec<_>>());
    let names: Vec<String> = names.map(|it| it.text().trim().to_owned()).collect();
    if names.is_empty() {
        let what = format!("XMPP server connected {how}, and offers no login");
        return Err(Trouble::new(what, NO_LOGIN));
    }
    Ok(format!(
        "XMPP server connected {how}; logins by {}",
        names.join(", ")
    ))
}

/// Logs in; the full JID, and whether stream management is offered.
async fn log_in(
    upstream: &mut Upstream,
    mut login: Login,
    features: &Stanza,
) -> Result<(String, bool), Trouble> {
    let mut is_managed = StreamManagement::is_offered(features);
    let mut step = login.handle(features).map_err(of_login)?;
    loop {
        match step {
            Some(Step::Send(stanza)) => upstream.queue(&stanza),
            Some(Step::Restart) => upstream.restart(Some("en")),
            Some(Step::Bound(jid)) => return Ok((jid, is_managed)),
            None => {}
        }
        let event = timeout(PATIENCE, poll_fn(|cx| upstream.poll(cx, true))).await;
        let event =
            event.map_err(|_| Trouble::new("the server does not answer the login", None))?;
        step = match event.map_err(|error| Trouble::new(in_words(&error), None))? {
            UpstreamEvent::Features(features) => {
                is_managed |= StreamManagement::is_offered(&features);
                login.handle(&features).map_err(of_login)?
            }
            UpstreamEvent::Stanza(stanza) => login.handle(&stanza).map_err(of_login)?,
            UpstreamEvent::Unreadable(_) => None,
            UpstreamEvent::StreamError(error) => {
                let condition = StreamCondition::of(&error).name;
                return Err(Trouble::new(format!("stream error {condition}"), None));
            }
            UpstreamEvent::Closed => {
                return Err(Trouble::new("the server closed the stream", None));
            }
        };
    }
}

fn managed(upstream: &Upstream, is_managed: bool) -> Finding {
    if !upstream.is_manageable() {
        return Err(Trouble::new(
            "by the server's BOSH there is no stream management: what is on its way to a browser that vanishes bounces",
            "upstream = \"xmpp://…\", if the server has a port for clients",
        ));
    }
    match is_managed {
        true => Ok("stream management: nothing is lost when a browser vanishes".to_owned()),
        false => Err(Trouble::new(
            "no stream management: what is on its way to a browser that vanishes is lost",
            "in Prosody, enable the module smacks; in ejabberd, mod_stream_mgmt with resend_on_timeout: true",
        )),
    }
}

fn counted(contacts: usize) -> String {
    match contacts {
        1 => "1 contact".to_owned(),
        _ => format!("{contacts} contacts"),
    }
}

/// Fetches a list.
async fn list(host: &config::Host, user: &Username) -> Finding {
    let Some(url) = host.http_roster_url.clone() else {
        return Ok("no http_roster_url: clients see the server's own lists".to_owned());
    };
    let source = HttpSource::new(url, host.backend.clone(), host.domain.clone());
    let address = source.address(user).unwrap_or_default();
    match source.contacts(user, None).await {
        Ok(Fetched::New {
            contacts, left_out, ..
        }) if left_out.count() > 0 => Err(Trouble::new(
            format!(
                "{address}: {}; left out: {left_out}",
                counted(contacts.len())
            ),
            "every key of the object has to be the address of a contact, such as marie@example.org",
        )),
        Ok(fetched) => Ok(format!("{address}: {}", counted(fetched.size()))),
        Err(error) => {
            let cure = cure_of_fetch(&error);
            Err(Trouble::new(format!("{address}: {error}"), cure))
        }
    }
}

/// Reads the list that the server holds. Nothing is written.
async fn list_in_server(settings: &writer::Settings, kind: WriterKind, user: &Username) -> Finding {
    match settings.try_out(user).await {
        Ok(contacts) => Ok(format!("list in the XMPP server: {}", counted(contacts))),
        Err(error) => {
            let cure = cure_of_writer(&error, kind);
            let what = format!("list in the XMPP server: {error}");
            Err(Trouble::new(what, cure))
        }
    }
}

fn of_login(error: LoginError) -> Trouble {
    let cure = match &error {
        LoginError::NoMechanism(_) => Some(NO_LOGIN),
        LoginError::Refused(_) => Some("another password, or another user"),
        _ => None,
    };
    Trouble::new(error, cure)
}

fn cure_of_connection(error: &ConnectError) -> Option<&'static str> {
    Some(match error {
        ConnectError::Connect { .. } => {
            "start the server; its port for clients is usually 5222. In a container, 127.0.0.1 is the container"
        }
        ConnectError::Resolve { .. } => "another host in upstream, or its address",
        ConnectError::Timeout { phase: Phase::Tls } => {
            "xmpp://, if TLS does not begin with the first byte there; the server's log"
        }
        ConnectError::Timeout { .. } => {
            "xmpps://, if TLS begins with the first byte there; 5222 is usually plain"
        }
        ConnectError::StartTlsRequired => {
            "in Prosody, c2s_require_encryption = false above the first VirtualHost; in ejabberd, starttls_required: false; or another upstream_tls"
        }
        ConnectError::StartTlsNotOffered
        | ConnectError::StartTlsRefused
        | ConnectError::TlsRefused(_) => {
            "on one machine, in Prosody, c2s_require_encryption = false above the first VirtualHost; elsewhere a certificate for the domain in the server"
        }
        ConnectError::Tls(_) => "xmpp://, if TLS does not begin with the first byte there",
        ConnectError::Exchange { .. } => {
            "the server's log; the path of its BOSH is mostly /http-bind"
        }
        ConnectError::Certificate { .. } => {
            "upstream_ca, if an authority of yours has signed it; or a certificate that names the domain"
        }
        ConnectError::Stream { condition } if condition.name == "host-unknown" => {
            "serve the domain: VirtualHost in Prosody, hosts in ejabberd"
        }
        // Prosody says so where it has neither a login nor TLS to offer.
        ConnectError::Stream { condition } if condition.name == "undefined-condition" => NO_LOGIN,
        ConnectError::Closed | ConnectError::Lost(_) | ConnectError::Unexpected { .. } => {
            "the server's log; is this its port for clients? If TLS begins with the first byte there, as mostly at 5223, xmpps://"
        }
        _ => return None,
    })
}

fn cure_of_fetch(error: &FetchError) -> Option<&'static str> {
    Some(match error {
        FetchError::Refused | FetchError::Unreachable => {
            "start the application, or another http_roster_url"
        }
        FetchError::NotAnObject(_) => {
            "look at what curl gets from there; display_errors = Off in PHP"
        }
        FetchError::NoContacts => "the object's keys have to be the addresses of contacts",
        FetchError::Redirect { .. } => "the URL that it leads to",
        FetchError::Status { status } if status.as_u16() == 404 => {
            "the path; for a user without contacts the answer is {}; some applications answer this to a wrong backend_token"
        }
        FetchError::Status { status } if matches!(status.as_u16(), 401 | 403) => {
            "backend_token, or backend_user with backend_password"
        }
        FetchError::Status { .. } | FetchError::BrokenOff => "the application's log",
        FetchError::Timeout { .. } => {
            "a second worker, if the application has one that is busy; or the application's log"
        }
        FetchError::NotHttp => "another http_roster_url: this is no HTTP, or it is HTTPS",
        FetchError::TooLarge { .. } => "backend_max_body",
        FetchError::Url => "another place for %s in http_roster_url",
        FetchError::Tls => {
            "backend_ca, if an authority of yours has signed its certificate; http://, if there is no TLS"
        }
        FetchError::Abandoned => return None,
    })
}

fn cure_of_writer(error: &WriteError, kind: WriterKind) -> Option<&'static str> {
    Some(match (error, kind) {
        (WriteError::NoSuchUser, _) => "--probe with a user who has an account in the server",
        (WriteError::Denied { .. }, WriterKind::Prosody) => {
            "writer_token, the same as rostergate_token in Prosody"
        }
        (WriteError::Denied { .. }, WriterKind::Ejabberd) => {
            "writer_user and writer_password; and let the gateway in by api_permissions"
        }
        (WriteError::NoInterface { .. }, WriterKind::Prosody) => {
            "enable the module rostergate for the domain in Prosody; and writer_url = \"http://127.0.0.1:5280/rostergate\""
        }
        (WriteError::NoInterface { .. }, WriterKind::Ejabberd) => {
            "a listener of ejabberd with mod_http_api, and its path in writer_url"
        }
        (WriteError::Broken { .. }, _) => "start the server's HTTP listener, or another writer_url",
        (WriteError::Answer { .. }, _) => "writer and writer_url: is this the server's interface?",
        _ => return None,
    })
}
