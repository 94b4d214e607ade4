//! Hostile use of contact lists: nobody gets, changes or shows a list that is not theirs to.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use support::{
    backend::Backend,
    bosh::{Bosh, bind_request},
    client::{Account, Client, is_push},
    ejabberd::Ejabberd,
    gateway::{Gateway, Place, Server},
    http::Endpoint,
    prosody::{DOMAIN, Prosody},
    webstream::WebStream,
    xml::{BIND, CLIENT, Element, ROSTER, SASL, SM, STREAMS, escape},
};

use crate::site::Site;

/// Asks for the contact list and gives the error.
async fn refused_list(client: &mut Client) -> String {
    let query = format!("<query xmlns='{ROSTER}'/>");
    let answer = client.iq("get", "", &query).await;
    let error = answer.error();
    error
        .unwrap_or_else(|| panic!("a list: {answer}"))
        .to_owned()
}

/// Prosody leaves letters alone that are younger than its tables; so it has an `ᴬdmin` beside `admin`.
#[tokio::test]
async fn a_look_alike_does_not_get_the_list_of_another() {
    let site = Site::new();
    for (local, look_alike) in [
        ("admin", "ᴬdmin"),
        ("marie", "maᴿie"),
        ("joe", "j\u{10782}e"),
    ] {
        let marie = site.member("friend");
        let original = site.prosody.account_named(local);
        let thief = site.prosody.account_named(look_alike);
        site.list(&original, &[&marie]);
        site.list(&thief, &[]);
        site.list(&marie, &[&original]);
        let mut contact = site.online(&marie, "desk").await;

        let mut client = site.gateway.login(&thief, "web").await;
        assert_eq!(client.jid, format!("{look_alike}@{DOMAIN}/web"));
        assert_eq!(refused_list(&mut client).await, "service-unavailable");
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        contact
            .expect_none("presence of a look-alike", |stanza| {
                stanza.name == "presence"
            })
            .await;
        assert_eq!(site.backend.fetches(local), 0, "nobody asked for {local}");
        client.send_message(&contact.jid, "hello");
        contact.expect_message("hello").await;
        contact.send_message(&client.jid, "hi");
        client.expect_message("hi").await;
        let log = site.gateway.log();
        let is_said =
            |line: &str| line.contains("session has no contact list") && line.contains(look_alike);
        assert!(log.lines().any(is_said), "{log}");

        // Who is meant by a name that only looks like another is nobody's to decide here.
        let answer = site.post(&json!([look_alike]).to_string()).await;
        assert_eq!(answer.status(), 400, "{}", answer.text());
        site.backend
            .set(local, json!({ (thief.jid()): {}, (marie.jid()): {} }));
        let mut client = site.gateway.login(&original, "web").await;
        let list: Vec<_> = client.roster().await.into_keys().collect();
        assert_eq!(list, [marie.jid()], "nobody in the place of {look_alike}");
    }
}

/// A server that lets everybody in, and binds this JID whatever it is asked for.
struct Renaming {
    domain: &'static str,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Renaming {
    async fn start(domain: &'static str, jid: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let jid = escape(jid).to_string();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, domain, jid.clone()));
            }
        });
        Self {
            domain,
            address,
            task,
        }
    }

    async fn serve(mut stream: TcpStream, domain: &str, jid: String) {
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' id='1' xmlns:stream='{STREAMS}' \
             from='{domain}' version='1.0'>"
        );
        let features =
            |feature: &str| format!("{header}<stream:features>{feature}</stream:features>");
        let plain = format!("<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>");
        let bound = |id: &str| {
            format!("<iq type='result' id='{id}'><bind xmlns='{BIND}'><jid>{jid}</jid></bind></iq>")
        };
        let says = [
            ("<stream:stream", features(&plain)),
            ("</auth>", format!("<success xmlns='{SASL}'/>")),
            (
                "<stream:stream",
                features(&format!("<bind xmlns='{BIND}'/>")),
            ),
            ("</iq>", bound("bind")),
        ];
        let mut heard = Vec::new();
        for (end, answer) in says {
            while !heard.windows(end.len()).any(|part| part == end.as_bytes()) {
                if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
                    return;
                }
            }
            let of_gateway = heard.windows(17).any(|part| part == b"rostergate-resume");
            let answer = match of_gateway {
                true => bound("rostergate-resume"),
                false => answer,
            };
            heard.clear();
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        // Says everything back that is said from here on.
        while matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
            if stream.write_all(&heard).await.is_err() {
                return;
            }
            heard.clear();
        }
    }
}

impl Drop for Renaming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server for Renaming {
    fn place(&self) -> Place {
        Place {
            domain: self.domain.to_owned(),
            c2s: self.address,
            bosh: Endpoint::new(self.address, "/"),
        }
    }
}

/// Who somebody is says the server that has let them in, and for its own domain only.
#[tokio::test]
async fn a_list_belongs_to_the_very_name_that_the_server_has_bound() {
    for (jid, has_list) in [
        ("john@example.org/web", true),
        ("john@example.org/ \u{1f600}@/\u{ad} ☃", true),
        ("john@example.com/web", false),
        ("John@example.org/web", false),
        ("ｊohn@example.org/web", false),
        ("example.org/web", false),
        ("john@example.org.example.org/web", false),
    ] {
        let server = Renaming::start(DOMAIN, jid).await;
        let backend = Backend::start();
        backend.set("john", json!({ "marie@example.org": {} }));
        let gateway = Gateway::builder(&server)
            .upstream(&format!("xmpp://{}", server.address))
            .backend(&backend)
            .start();
        let account = Account {
            local: "john".to_owned(),
            domain: DOMAIN.to_owned(),
            password: "x".to_owned(),
        };
        let mut client = gateway.login(&account, "web").await;
        assert_eq!(client.jid, jid, "as the server has said it");
        if has_list {
            assert!(
                client.roster().await.contains_key("marie@example.org"),
                "{jid}"
            );
        } else {
            assert_eq!(
                refused_list(&mut client).await,
                "service-unavailable",
                "{jid}"
            );
            assert_eq!(backend.requests(), [], "{jid}");
        }
        client.send_message("marie@example.org", "chat goes on");
        client.expect_message("chat goes on").await;
    }
}

/// A user, and a gateway that serves another domain as well, whose server binds that user for everybody.
async fn another_host() -> (Account, Renaming, Gateway, Account) {
    let prosody = Prosody::shared();
    let john = prosody.account("john");
    let evil = Renaming::start("evil.example", &format!("{}/web", john.jid())).await;
    let gateway = Gateway::builder(&evil)
        .upstream(&format!("xmpp://{}", evil.address))
        .session("sessions_per_user = 2")
        .another_host(prosody, "")
        .start();
    let mallory = Account {
        local: "mallory".to_owned(),
        domain: "evil.example".to_owned(),
        password: "x".to_owned(),
    };
    (john, evil, gateway, mallory)
}

#[tokio::test]
async fn a_server_cannot_use_up_the_sessions_of_another_hosts_user() {
    let (john, _evil, gateway, mallory) = another_host().await;
    let endpoint = gateway.websocket();
    let _one = WebStream::log_in(&endpoint, &mallory, "web").await;
    let _two = WebStream::log_in(&endpoint, &mallory, "web").await;
    let mut web = WebStream::log_in(&endpoint, &john, "web").await;
    web.fence().await;
}

#[tokio::test]
async fn a_server_cannot_have_a_session_of_another_host_resumed() {
    let (john, _evil, gateway, mallory) = another_host().await;
    let endpoint = gateway.websocket();
    let web = WebStream::log_in_managed(&endpoint, &john, "web").await;
    let session = web.vanish();
    let mut thief = WebStream::authenticated(&endpoint, &mallory).await;
    let failed = thief.try_resume(&session).await;
    assert!(failed.is(SM, "failed"), "{failed}");
    WebStream::resumed(&endpoint, &john, session).await;
}

/// Stanzas that put `victim@example.org` on the list of somebody whose bare JID is `BARE`, if only the
/// server gets them and takes them for what they are meant to be.
const SLIPS: [&str; 24] = [
    "<iq type='set' id='slip'>SET</iq>",
    "<iq type='set' id='slip' to=''>SET</iq>",
    "<iq type='set' id='slip' to='BARE'>SET</iq>",
    "<iq type='set' id='slip' to='BARE.'>SET</iq>",
    "<iq type='set' id='slip' to='LOUD'>SET</iq>",
    "<iq type='set' id='slip' to='LOUD.'>SET</iq>",
    "<iq type='set' id='slip' to='WIDE'>SET</iq>",
    "<iq type='set' id='slip' to='BARE/'>SET</iq>",
    "<iq type='set' id='slip' to='BARE/&#xad;'>SET</iq>",
    "<iq type='set' id='slip' to='BARE/web'>SET</iq>",
    "<iq type='set' id='slip' to='&#xad;BARE'>SET</iq>",
    "<iq type='set' id='slip' to=' BARE'>SET</iq>",
    "<iq type='set' id='slip' to='BARE&#10;'>SET</iq>",
    "<iq type='set' id='slip' to='example.org'>SET</iq>",
    "<iq type='set' id='slip' to='&#101;xample.org.'>SET</iq>",
    "<iq type='set' id='slip'><x xmlns='y'/>SET</iq>",
    "<iq type='set' id='slip'>SET<x xmlns='y'/></iq>",
    "<iq xmlns='jabber:server' type='set' id='slip' to='BARE'>SET</iq>",
    "<iq xmlns='' type='set' id='slip'>SET</iq>",
    "<iq xmlns='jabber:component:accept' type='set' id='slip'>SET</iq>",
    "<c:iq xmlns:c='jabber:component:connect' type='set' id='slip'>SET</c:iq>",
    "<presence type='subscribe' id='slip' to='@'/>",
    "<presence type=' subscribe' id='slip' to='victim@example.org'/>",
    "<presence xmlns='jabber:server' type='subscribe' id='slip' to='victim@example.org'/>",
];

fn slip(template: &str, account: &Account) -> String {
    let set = format!("<query xmlns='{ROSTER}'><item jid='victim@{DOMAIN}'/></query>");
    let wide = |char: char| match char {
        'a'..='z' => char::from_u32(u32::from(char) + 0xfee0).expect("a full-width letter"),
        other => other,
    };
    let wide: String = account.local.chars().map(wide).collect();
    template
        .replace("SET", &set)
        .replace("BARE", &account.jid())
        .replace("LOUD", &account.jid().to_uppercase())
        .replace("WIDE", &format!("{wide}@{DOMAIN}"))
}

/// Asks the server itself, after all that the client has sent.
async fn assert_untouched(client: &mut Client, native: &mut Client, attempt: &str) {
    client.fence().await;
    let list = native.roster().await;
    assert!(
        list.is_empty(),
        "{attempt} has reached the server: {list:?}"
    );
}

async fn no_slip_reaches(server: &impl Server, account: &Account, mut native: Client) {
    let backend = Backend::start();
    backend.set(&account.local, json!({}));
    let gateway = Gateway::builder(server).backend(&backend).start();
    let mut client = gateway.login(account, "web").await;
    client.roster().await;
    for template in SLIPS {
        let attempt = slip(template, account);
        client.send(&attempt);
        let is_error = |stanza: &Element| {
            stanza.ns == CLIENT
                && stanza.attr("type") == Some("error")
                && stanza.attr("id") == Some("slip")
        };
        // Over WebSocket, an element in a wrong namespace ends the stream.
        let is_end = |stanza: &Element| stanza.is(STREAMS, "error");
        let fits = |stanza: &Element| is_error(stanza) || is_end(stanza);
        if is_end(&client.expect(&attempt, fits).await) {
            client = gateway.login(account, "web").await;
            client.roster().await;
        }
        assert_untouched(&mut client, &mut native, &attempt).await;
    }
    for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
        let attempt = format!("<presence xmlns='{CLIENT}' type='{kind}' to='victim@{DOMAIN}'/>");
        client.send(&attempt);
        assert_untouched(&mut client, &mut native, &attempt).await;
    }
    // What is for others is theirs to answer.
    let query = format!("<query xmlns='{ROSTER}'/>");
    let answer = client.iq("get", &format!("victim@{DOMAIN}"), &query).await;
    assert_eq!(answer.attr("type"), Some("error"), "{answer}");
}

#[tokio::test]
async fn nothing_that_prosody_takes_for_a_roster_request_reaches_it() {
    let prosody = Prosody::shared();
    let account = prosody.account("mallory");
    let native = prosody.login(&account, "native").await;
    no_slip_reaches(prosody, &account, native).await;
}

/// Prosody prepares names as Unicode 3.2 has it; what this letter is made of has been corrected since.
#[tokio::test]
async fn a_letter_that_has_been_corrected_leads_around_nothing() {
    let prosody = Prosody::shared();
    let account = prosody.account_named("\u{2136a}");
    let mut native = prosody.login(&account, "native").await;
    let backend = Backend::start();
    backend.set(&account.local, json!({}));
    let gateway = Gateway::builder(prosody).backend(&backend).start();
    let mut client = gateway.login(&account, "web").await;
    client.roster().await;
    let template = "<iq type='set' id='slip' to='\u{2f868}@example.org'>SET</iq>";
    let attempt = slip(template, &account);
    client.send(&attempt);
    let is_error = |stanza: &Element| stanza.attr("id") == Some("slip") && stanza.error().is_some();
    client.expect(&attempt, is_error).await;
    assert_untouched(&mut client, &mut native, &attempt).await;
}

#[tokio::test]
async fn nothing_that_ejabberd_takes_for_a_roster_request_reaches_it() {
    let ejabberd = Ejabberd::shared();
    let account = ejabberd.account("mallory").await;
    let native = ejabberd.login(&account, "native").await;
    no_slip_reaches(ejabberd, &account, native).await;
}

/// A server has bound the resource before the gateway can have heard of it.
async fn nothing_overtakes_the_binding(
    server: &impl Server,
    account: &Account,
    mut native: Client,
) {
    let backend = Backend::start();
    backend.set(&account.local, json!({}));
    let gateway = Gateway::builder(server).backend(&backend).start();
    for (number, template) in [
        "<iq type='set' id='slip'>SET</iq>",
        "<presence type='subscribe' id='slip' to='victim@example.org'/>",
    ]
    .into_iter()
    .enumerate()
    {
        let mut bosh = Bosh::open(&gateway.bosh(), DOMAIN).await;
        bosh.authenticate(account).await;
        let attempt = slip(template, account);
        let body = bind_request(&format!("web{number}")) + &attempt;
        let mut answers = Vec::new();
        let mut answer = bosh.exchange(&body).await;
        loop {
            answers.extend(answer.children().cloned());
            if answers.iter().any(|stanza| stanza.is_reply_to("bind")) {
                break;
            }
            answer = bosh.exchange("").await;
        }
        let refused = answers.iter().find(|it| it.attr("id") == Some("slip"));
        let condition = refused.and_then(Element::error);
        assert_eq!(condition, Some("unexpected-request"), "{answers:?}");
        let get = format!("<iq xmlns='{CLIENT}' type='get' id='r'><query xmlns='{ROSTER}'/></iq>");
        bosh.exchange_until(&get, |stanza| stanza.is_reply_to("r"))
            .await;
        let list = native.roster().await;
        assert!(list.is_empty(), "{attempt} has overtaken: {list:?}");
    }
}

#[tokio::test]
async fn nothing_overtakes_the_binding_to_prosody() {
    let prosody = Prosody::shared();
    let account = prosody.account("mallory");
    let native = prosody.login(&account, "native").await;
    nothing_overtakes_the_binding(prosody, &account, native).await;
}

#[tokio::test]
async fn nothing_overtakes_the_binding_to_ejabberd() {
    let ejabberd = Ejabberd::shared();
    let account = ejabberd.account("mallory").await;
    let native = ejabberd.login(&account, "native").await;
    nothing_overtakes_the_binding(ejabberd, &account, native).await;
}

/// XEP-0078 binds a resource without a word that the gateway would know it by.
#[tokio::test]
async fn nobody_logs_in_by_a_way_that_the_gateway_does_not_know() {
    let prosody = Prosody::builder().modules(["legacyauth"]).start();
    let account = prosody.account("mallory");
    let mut native = prosody.login(&account, "native").await;
    let backend = Backend::start();
    let gateway = Gateway::builder(&prosody).backend(&backend).start();
    let mut client = Client::connect(&gateway.transport(), DOMAIN).await;
    let offer = client.features.to_string();
    assert!(!offer.contains("iq-auth"), "{offer}");
    let (local, password) = (&account.local, escape(&account.password));
    let query = format!(
        "<query xmlns='jabber:iq:auth'><username>{local}</username>\
         <password>{password}</password><resource>web</resource></query>"
    );
    let answer = client.iq("set", "", &query).await;
    assert_eq!(answer.error(), Some("service-unavailable"));
    let attempt = slip("<iq type='set' id='slip'>SET</iq>", &account);
    client.send(&attempt);
    let refused = client
        .expect("a refusal", |stanza| stanza.attr("id") == Some("slip"))
        .await;
    assert_eq!(refused.error(), Some("unexpected-request"));
    assert!(native.roster().await.is_empty());
}

/// Not even one that a client would have to ignore; the server of its sender is to be told, so that nobody
/// waits. And whose stanza has an id like that of a push is answered all the same.
#[tokio::test]
async fn a_push_of_a_stranger_is_not_shown() {
    let site = Site::new();
    let (john, marie) = (site.member("john"), site.member("marie"));
    let mut client = site.online(&john, "web").await;
    site.list(&john, &[&marie]);
    site.refresh(&[&john]).await;
    assert_eq!(client.expect_push().await.jid, marie.jid());
    let mut stranger = site.prosody.contact("stranger").await;
    for item in [
        format!(
            "<item jid='{}' name='My bank'/>",
            stranger.jid.replace("/desk", "")
        ),
        format!("<item jid='{}' subscription='remove'/>", marie.jid()),
    ] {
        let push = format!("<query xmlns='{ROSTER}'>{item}</query>");
        let answer = stranger.iq("set", &client.jid.clone(), &push).await;
        assert_eq!(answer.error(), Some("service-unavailable"));
        client.expect_none("push of a stranger", is_push).await;
    }
    let list: Vec<_> = client.roster().await.into_keys().collect();
    assert_eq!(list, [marie.jid()]);

    let to = &client.jid;
    stranger.send(&format!(
        "<iq xmlns='{CLIENT}' type='get' id='rostergate-push-1' to='{to}'><x xmlns='y'/></iq>"
    ));
    let get = client.expect("a get", |stanza| stanza.child("y", "x").is_some());
    let from = get.await.attr("from").expect("it has one").to_owned();
    client.send(&format!(
        "<iq xmlns='{CLIENT}' type='result' id='rostergate-push-1' to='{from}'/>"
    ));
    stranger
        .expect("an answer", |it| it.is_reply_to("rostergate-push-1"))
        .await;
}
