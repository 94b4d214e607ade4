//! Hostile use of contact lists: nobody gets, changes or shows a list that is not theirs to.

use std::net::SocketAddr;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    site::Site,
    support::{
        backend::Backend,
        client::{Account, Client},
        gateway::{Gateway, Place, Server},
        http::Endpoint,
        prosody::DOMAIN,
        xml::{BIND, CLIENT, ROSTER, SASL, STREAMS, escape},
    },
};

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
        assert_eq!(answer.status(), 500, "{}", answer.text());
        site.backend
            .set(local, json!({ (thief.jid()): {}, (marie.jid()): {} }));
        let mut client = site.gateway.login(&original, "web").await;
        let list: Vec<_> = client.roster().await.into_keys().collect();
        assert_eq!(list, [marie.jid()], "nobody in the place of {look_alike}");
    }
}

/// A server that lets everybody in, and binds this JID whatever it is asked for.
struct Renaming {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Renaming {
    async fn start(jid: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let jid = escape(jid).to_string();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, jid.clone()));
            }
        });
        Self { address, task }
    }

    async fn serve(mut stream: TcpStream, jid: String) {
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' id='1' xmlns:stream='{STREAMS}' \
             from='{DOMAIN}' version='1.0'>"
        );
        let features =
            |feature: &str| format!("{header}<stream:features>{feature}</stream:features>");
        let plain = format!("<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>");
        let bound = format!(
            "<iq type='result' id='bind'><bind xmlns='{BIND}'><jid>{jid}</jid></bind></iq>"
        );
        let says = [
            ("<stream:stream", features(&plain)),
            ("</auth>", format!("<success xmlns='{SASL}'/>")),
            (
                "<stream:stream",
                features(&format!("<bind xmlns='{BIND}'/>")),
            ),
            ("</iq>", bound),
        ];
        let mut heard = Vec::new();
        for (end, answer) in says {
            while !heard.windows(end.len()).any(|part| part == end.as_bytes()) {
                if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
                    return;
                }
            }
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
            domain: DOMAIN.to_owned(),
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
        let server = Renaming::start(jid).await;
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
