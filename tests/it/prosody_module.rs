//! The module for Prosody, and what Prosody's own clients see of the lists that are written through it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use support::{
    client::{Account, Client, Item, Transport, is_push},
    http::{Connection, Endpoint, Response},
    prosody::{DOMAIN, Prosody, TOKEN},
    xml::{CLIENT, Element, ROSTER},
};

use crate::{idle::cpu_time, presence::sees, site::item};

const AVATAR: &str = "urn:xmpp:avatar:metadata";
const CAPS: &str = "http://jabber.org/protocol/caps";
const DISCO: &str = "http://jabber.org/protocol/disco#info";
const EVENT: &str = "http://jabber.org/protocol/pubsub#event";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

#[tokio::test]
async fn all_clients_of_a_user_have_the_list_and_its_changes() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let mut clients = Vec::new();
    for (transport, resource) in transports(prosody).into_iter().zip(["tcp", "bosh", "ws"]) {
        let mut client = Client::login(&transport, &john, resource).await;
        assert_eq!(client.roster().await, BTreeMap::new());
        clients.push(client);
    }
    let lists = [
        json!({ "marie@example.org": { "name": "Marie <&>", "groups": ["Friends", "Wörk 🎉"] } }),
        json!({ "aaron@example.org": {}, "zoe@example.net": { "name": "Zoë" } }),
        json!({ "marie@example.org": { "name": "Marie" } }),
    ];
    let pushed = [
        vec![item(
            "marie@example.org",
            Some("Marie <&>"),
            &["Friends", "Wörk 🎉"],
            "both",
        )],
        vec![
            item("aaron@example.org", None, &[], "both"),
            item("zoe@example.net", Some("Zoë"), &[], "both"),
        ],
        vec![item("marie@example.org", Some("Marie"), &[], "both")],
    ];
    for (list, expected) in lists.into_iter().zip(pushed) {
        let changed = json!({ "written": expected.len(), "removed": 0 });
        assert_eq!(write(prosody, &john, &list, &[]).await, changed);
        for client in &mut clients {
            assert_eq!(pushes(client).await, expected, "{}", client.jid);
        }
    }
    let removed = write(prosody, &john, &json!({}), &["aaron@example.org"]).await;
    assert_eq!(removed, json!({ "written": 0, "removed": 1 }));
    let expected = [
        item("marie@example.org", Some("Marie"), &[], "both"),
        item("zoe@example.net", Some("Zoë"), &[], "both"),
    ];
    for client in &mut clients {
        assert_eq!(
            pushes(client).await,
            [item("aaron@example.org", None, &[], "remove")]
        );
        assert_eq!(
            Vec::from_iter(client.roster().await.into_values()),
            expected
        );
    }
    let shown = json!({
        "marie@example.org": { "name": "Marie", "subscription": "both", "written": true },
        "zoe@example.net": { "name": "Zoë", "subscription": "both", "written": true },
    });
    assert_eq!(read(prosody, &john).await, shown);
}

#[tokio::test]
async fn nothing_that_has_not_changed_is_written() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let mut client = prosody.login(&john, "desk").await;
    client.roster().await;
    let list = json!({
        "a@example.org": { "name": "A", "groups": ["x", "y"] }, "b@example.org": { "name": "" },
        "c@example.org": { "subscription": "from" },
    });
    assert_eq!(write(prosody, &john, &list, &[]).await["written"], 3);
    assert_eq!(pushes(&mut client).await.len(), 3);
    let version = version(&mut client).await;
    let again = json!({
        "A@Example.ORG": { "name": "A", "groups": ["y", "x", "y"] }, "b@example.org": {},
        "c@example.org": { "subscription": "from", "name": "" },
    });
    let nothing = json!({ "written": 0, "removed": 0 });
    assert_eq!(
        write(prosody, &john, &again, &["d@example.org"]).await,
        nothing
    );
    assert_eq!(write(prosody, &john, &json!({}), &[]).await, nothing);
    assert_eq!(pushes(&mut client).await, []);
    assert_eq!(self::version(&mut client).await, version);

    let list =
        json!({ "a@example.org": { "name": "B" }, "b@example.org": {}, "d@example.org": {} });
    let changed = json!({ "written": 2, "removed": 1 });
    assert_eq!(
        write(prosody, &john, &list, &["c@example.org"]).await,
        changed
    );
    assert_eq!(pushes(&mut client).await.len(), 3);
    assert_eq!(
        self::version(&mut client).await,
        version + 1,
        "one step for all of them"
    );
    for groups in [
        json!(["x"]),
        json!(["x", "y"]),
        json!(["z", "y"]),
        json!([]),
    ] {
        let list = json!({ "a@example.org": { "name": "B", "groups": groups } });
        assert_eq!(write(prosody, &john, &list, &[]).await["written"], 1);
        assert_eq!(write(prosody, &john, &list, &[]).await, nothing);
    }
}

/// A client that is cut off between two pushes has the first one's version, and must not think that it has all.
#[tokio::test]
async fn only_the_last_push_has_the_new_version() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let mut client = prosody.login(&john, "desk").await;
    let before = version(&mut client).await;
    let list = json!({ "a@example.org": {}, "b@example.org": {}, "c@example.org": {} });
    write(prosody, &john, &list, &[]).await;
    let mut versions = Vec::new();
    for _ in 0..3 {
        let push = client.expect("a push", is_push).await;
        versions.push(version_of(&push));
    }
    assert_eq!(versions, [before, before, before + 1]);
    assert_eq!(version(&mut client).await, before + 1);
}

/// Which pairs the gateway may have written half is the gateway's affair.
#[tokio::test]
async fn clients_hear_nothing_of_open_pairs() {
    let mut prosody = Prosody::builder().rostergate().start();
    let john = prosody.account("john");
    let mut client = prosody.login(&john, "desk").await;
    client.roster().await;
    let pairs = async |prosody: &Prosody, body: &Value| {
        let endpoint = prosody.list(&john.local);
        let changed = put(&endpoint, DOMAIN, body.to_string().as_bytes()).await;
        let changed: Value = serde_json::from_str(changed.text()).expect("JSON");
        assert_eq!(changed, json!({ "written": 0, "removed": 0 }));
        let shown = endpoint.request("GET", &[("Host", DOMAIN)], "").await;
        let shown: Value = serde_json::from_str(shown.text()).expect("JSON");
        shown["open"].clone()
    };
    for is_saved in [false, true] {
        if is_saved {
            write(&prosody, &john, &json!({ "marie@example.org": {} }), &[]).await;
            pushes(&mut client).await;
        }
        let before = version(&mut client).await;
        let open = json!({ "open": ["Anna@example.org"] });
        assert_eq!(pairs(&prosody, &open).await, json!(["anna@example.org"]));
        let close = json!({ "close": ["anna@example.org", "zoe@example.org"] });
        assert_eq!(pairs(&prosody, &close).await, Value::Null);
        assert_eq!(version(&mut client).await, before, "{is_saved}");
        assert_eq!(client.fence().await, [], "{is_saved}");
    }
    pairs(&prosody, &json!({ "open": ["anna@example.org"] })).await;
    drop(client);
    prosody.stop().await;
    prosody.start_again();
    let kept = pairs(&prosody, &json!({})).await;
    assert_eq!(kept, json!(["anna@example.org"]), "on disk");
}

/// To Prosody a list that was never saved has version 1, and so has one that was saved once.
#[tokio::test]
async fn the_first_list_is_never_taken_for_the_empty_one() {
    let prosody = Prosody::shared_rostergate();
    let john = prosody.account("john");
    let mut client = prosody.login(&john, "desk").await;
    let empty = version(&mut client).await;
    client.logout().await;
    write(prosody, &john, &json!({ "marie@example.org": {} }), &[]).await;
    let mut client = prosody.login(&john, "desk").await;
    let known = format!("<query xmlns='{ROSTER}' ver='{empty}'/>");
    let reply = client.iq("get", "", &known).await;
    let query = reply.child(ROSTER, "query").expect("the whole list");
    assert_eq!(query.children().count(), 1, "{reply}");
}

/// Those that users made before the module came.
#[tokio::test]
async fn older_contacts_are_told_from_written_ones() {
    let mut prosody = Prosody::builder().start();
    let (john, marie) = (prosody.account("john"), prosody.account("marie"));
    let mut one = prosody.login(&john, "desk").await;
    let mut other = prosody.login(&marie, "desk").await;
    for client in [&mut one, &mut other] {
        client.roster().await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
    }
    let say = |client: &Client, kind: &str, to: &Account| {
        let to = to.jid();
        client.send(&format!(
            "<presence xmlns='{CLIENT}' type='{kind}' to='{to}'/>"
        ));
    };
    say(&one, "subscribe", &marie);
    other.expect_presence(&john.jid(), "subscribe").await;
    say(&other, "subscribed", &john);
    say(&other, "subscribe", &john);
    one.expect_presence(&marie.jid(), "subscribe").await;
    say(&one, "subscribed", &marie);
    sees(&mut other, &one, "").await;
    let aside = "<query xmlns='jabber:iq:roster'><item jid='zoe@example.net' name='Zoe'/></query>";
    one.iq("set", "", aside).await;
    one.send(&format!(
        "<presence xmlns='{CLIENT}' type='subscribe' to='nobody@{DOMAIN}'/>"
    ));
    one.fence().await;
    let paul = prosody.account("paul");
    let mut third = prosody.login(&paul, "desk").await;
    say(&third, "subscribe", &john);
    third.fence().await;
    prosody.stop().await;
    prosody.start_again_with(&Prosody::builder().rostergate());

    let mine = json!({ "name": "Zoe", "subscription": "none" });
    let before = json!({
        (marie.jid()): { "subscription": "both" },
        "zoe@example.net": mine,
        (format!("nobody@{DOMAIN}")): { "subscription": "none", "ask": "subscribe" },
    });
    assert_eq!(read(&prosody, &john).await, before);
    let mut one = available(&Transport::Tcp(prosody.c2s()), &john, "desk").await;
    // Prosody asks again, as it does at every login, and that is refused in silence.
    let error = |stanza: &Element| stanza.attr("type") == Some("error");
    one.expect_none("error", error).await;
    // It is as the site says already; that it says so is new.
    let taken = write(&prosody, &john, &json!({ (marie.jid()): {} }), &[]).await;
    assert_eq!(taken, json!({ "written": 1, "removed": 0 }));
    assert_eq!(pushes(&mut one).await, []);
    let nobody = format!("nobody@{DOMAIN}");
    let asked = json!({ (nobody.as_str()): { "subscription": "none" } });
    write(&prosody, &john, &asked, &[]).await;
    assert_eq!(pushes(&mut one).await, [item(&nobody, None, &[], "none")]);
    write(&prosody, &john, &json!({ (paul.jid()): {} }), &[]).await;
    let after = json!({
        (paul.jid()): { "subscription": "both", "written": true },
        (marie.jid()): { "subscription": "both", "written": true },
        "zoe@example.net": mine,
        (nobody): { "subscription": "none", "written": true },
    });
    assert_eq!(read(&prosody, &john).await, after);
    drop(one);
    prosody.stop().await;
    prosody.start_again();
    assert_eq!(read(&prosody, &john).await, after, "on disk");
}

/// Those that users sent each other before the module came, which they cannot answer any more.
#[tokio::test]
async fn requests_of_before_are_shown_to_nobody() {
    let mut prosody = Prosody::builder().start();
    let (john, paul, zoe) = (
        prosody.account("john"),
        prosody.account("paul"),
        prosody.account("zoe"),
    );
    for asking in [&paul, &zoe] {
        let mut client = prosody.login(asking, "desk").await;
        let to = john.jid();
        client.send(&format!(
            "<presence xmlns='{CLIENT}' type='subscribe' to='{to}'/>"
        ));
        client.fence().await;
    }
    let requests = async |prosody: &Prosody| {
        let mut client = available(&Transport::Tcp(prosody.c2s()), &john, "desk").await;
        let seen = client.fence().await;
        let requests = seen
            .iter()
            .filter(|it| it.attr("type") == Some("subscribe"));
        let from = requests.map(|it| it.attr("from").expect("a sender").to_owned());
        from.collect::<Vec<_>>()
    };
    prosody.stop().await;
    prosody.start_again_with(&Prosody::builder().rostergate());
    write(&prosody, &john, &json!({ (paul.jid()): {} }), &[]).await;
    // Of those who are contacts by now, they are gone for good.
    prosody.stop().await;
    prosody.start_again_with(&Prosody::builder());
    assert_eq!(requests(&prosody).await, [zoe.jid()]);

    prosody.stop().await;
    let file = prosody.list_file(&john);
    let text = std::fs::read_to_string(&file).expect("it is saved");
    let (start, damage) = ("[\"pending\"] = {", "[\"eve@example.org\"] = {};");
    let damaged = text.replacen(start, &format!("{start} {damage}"), 1);
    assert_ne!(damaged, text);
    std::fs::write(&file, damaged).expect("it can be written");
    prosody.start_again_with(&Prosody::builder().rostergate());
    assert_eq!(requests(&prosody).await, [""; 0], "it comes online");
}

/// 50,000 items, from nothing and again. With `--nocapture` it says what that took.
#[tokio::test]
async fn a_thousand_lists_are_written_while_others_chat() {
    const USERS: usize = 1_000;
    const CONTACTS: usize = 50;
    let prosody = Prosody::builder().rostergate().quiet().start();
    let accounts: Vec<_> = (0..USERS)
        .map(|n| prosody.account_named(&format!("user{n}")))
        .collect();
    let bodies = (0..USERS).map(|user| {
        let contacts = (1..=CONTACTS).map(|n| {
            let contact = (user + n * 7) % USERS;
            let data = json!({ "name": format!("User {contact}"), "groups": ["Friends", format!("Group {}", n % 5)] });
            (accounts[contact].jid(), data)
        });
        json!({ "contacts": serde_json::Map::from_iter(contacts) }).to_string()
    });
    let bodies: Vec<_> = bodies.collect();
    let mut chat = prosody.login(&prosody.account("chat"), "desk").await;
    let mut connection = Connection::open(&prosody.list("")).await;
    for (pass, expected) in [("from nothing", USERS * CONTACTS), ("again", 0)] {
        let (begun, cpu) = (Instant::now(), cpu_time(prosody.pid()));
        let (mut longest, mut written) = (Duration::ZERO, 0);
        for (account, body) in accounts.iter().zip(&bodies) {
            let path = prosody.list(&account.local).path;
            connection.send("PUT", &path, &[], body).await;
            let sent = Instant::now();
            assert_eq!(chat.fence().await, []);
            longest = longest.max(sent.elapsed());
            let response = connection.response().await;
            let done: Value = serde_json::from_slice(&response.body).expect("JSON");
            written += done["written"].as_u64().expect("a number");
        }
        let (took, cpu) = (begun.elapsed(), cpu_time(prosody.pid()) - cpu);
        println!("{pass}: {took:?}, {cpu:?} of them Prosody's; others waited at most {longest:?}");
        assert_eq!(written, expected as u64);
    }
}

fn transports(prosody: &Prosody) -> [Transport; 3] {
    let bosh = Transport::Bosh(prosody.bosh());
    [
        Transport::Tcp(prosody.c2s()),
        bosh,
        Transport::WebSocket(prosody.websocket()),
    ]
}

/// Logs in, asks for the list, and becomes available.
pub(crate) async fn available(transport: &Transport, account: &Account, resource: &str) -> Client {
    let mut client = Client::login(transport, account, resource).await;
    client.roster().await;
    client.send_presence("");
    client.expect_presence(&client.jid.clone(), "").await;
    client
}

/// The same, and wants to hear of avatars.
pub(crate) async fn notified(transport: &Transport, account: &Account, resource: &str) -> Client {
    let mut client = Client::login(transport, account, resource).await;
    client.roster().await;
    // SHA-1 of "client/pc//test<urn:xmpp:avatar:metadata+notify<"
    let caps = format!(
        "<c xmlns='{CAPS}' hash='sha-1' node='http://example.org/test' ver='+gkEkL6Vj6ji8ckY3Q/RAag5OaE='/>"
    );
    client.send_presence(&caps);
    client.expect_presence(&client.jid.clone(), "").await;
    let asks = |stanza: &Element| {
        stanza.attr("type") == Some("get") && stanza.child(DISCO, "query").is_some()
    };
    for query in client.fence().await.iter().filter(|stanza| asks(stanza)) {
        let (id, from) = (
            query.attr("id").expect("an id"),
            query.attr("from").expect("a sender"),
        );
        client.send(&format!(
            "<iq xmlns='{CLIENT}' type='result' id='{id}' to='{from}'><query xmlns='{DISCO}'>\
             <identity category='client' type='pc' name='test'/><feature var='{AVATAR}+notify'/></query></iq>"
        ));
    }
    client.fence().await;
    client
}

pub(crate) async fn publish_avatar(client: &mut Client, id: &str) {
    let reply = client
        .iq(
            "set",
            "",
            &format!(
                "<pubsub xmlns='{PUBSUB}'><publish node='{AVATAR}'><item id='{id}'><metadata xmlns='{AVATAR}'>\
                 <info bytes='1' id='{id}' type='image/png'/></metadata></item></publish></pubsub>"
            ),
        )
        .await;
    assert_eq!(reply.attr("type"), Some("result"), "{reply}");
}

/// Whose avatars have come by now, in order; but for the own one.
pub(crate) async fn avatars(client: &mut Client) -> Vec<(String, String)> {
    let own = client.jid.split('/').next().expect("a bare JID").to_owned();
    let mut seen = Vec::new();
    for stanza in client.fence().await {
        let Some(event) = stanza.child(EVENT, "event") else {
            continue;
        };
        let items = event.children().next().expect("items");
        assert_eq!(items.attr("node"), Some(AVATAR));
        let from = stanza.attr("from").expect("a sender").to_owned();
        if from != own {
            let item = items.children().next().expect("an item");
            seen.push((from, item.attr("id").expect("an id").to_owned()));
        }
    }
    seen
}

/// Writes changes; gives what the module has done.
pub(crate) async fn write(
    prosody: &Prosody,
    user: &Account,
    contacts: &Value,
    remove: &[&str],
) -> Value {
    let body = json!({ "contacts": contacts, "remove": remove }).to_string();
    let response = put(&prosody.list(&user.local), &user.domain, body.as_bytes()).await;
    assert_eq!(response.status(), 200, "{}", response.text());
    serde_json::from_slice(&response.body).expect("JSON")
}

pub(crate) async fn put(endpoint: &Endpoint, host: &str, body: &[u8]) -> Response {
    let mut connection = Connection::open(endpoint).await;
    let length = body.len();
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n",
        endpoint.path
    );
    connection.write(&[head.as_bytes(), body].concat()).await;
    connection.response().await
}

pub(crate) async fn read(prosody: &Prosody, user: &Account) -> Value {
    let response = prosody
        .list(&user.local)
        .request("GET", &[("Host", &user.domain)], "")
        .await;
    assert_eq!(response.status(), 200, "{}", response.text());
    let mut list: Value = serde_json::from_slice(&response.body).expect("JSON");
    list["contacts"].take()
}

/// The pushes that have come by now, by contact.
pub(crate) async fn pushes(client: &mut Client) -> Vec<Item> {
    let seen = client.fence().await;
    let mut items: Vec<Item> = seen
        .iter()
        .filter(|stanza| is_push(stanza))
        .map(|push| {
            Item::of(
                push.child(ROSTER, "query")
                    .expect("a query")
                    .children()
                    .next()
                    .expect("an item"),
            )
        })
        .collect();
    items.sort_by(|one, other| one.jid.cmp(&other.jid));
    items
}

/// The version of the list.
pub(crate) async fn version(client: &mut Client) -> u64 {
    let reply = client
        .iq("get", "", &format!("<query xmlns='{ROSTER}'/>"))
        .await;
    version_of(&reply)
}

fn version_of(stanza: &Element) -> u64 {
    let query = stanza.child(ROSTER, "query").expect("a query");
    query
        .attr("ver")
        .expect("a version")
        .parse()
        .expect("a number")
}
