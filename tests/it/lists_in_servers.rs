//! Contact lists that a real server holds, and the gateway writes (`rosters = "server"`): what native clients and clients
//! of the gateway see, of Prosody and of ejabberd.

use std::{
    collections::BTreeSet,
    fs,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use support::{
    backend::Backend,
    client::{Account, Client, Item, Transport, is_push},
    ejabberd::Ejabberd,
    gateway::{Builder, Gateway},
    http::Connection,
    prosody::{self, Prosody},
    within, within_limit,
    xml::{CLIENT, Element, ROSTER},
};

use crate::{
    idle::cpu_time,
    prosody_module::{avatars, notified, publish_avatar, pushes},
    server_rosters::update,
    site::item,
};

const DELAY: &str = "urn:xmpp:delay";

#[derive(Clone, Copy)]
enum Server {
    Prosody(&'static Prosody),
    Ejabberd(&'static Ejabberd),
}

/// A gateway that writes lists into a server.
struct Scene {
    server: Server,
    backend: Backend,
    gateway: Gateway,
}

impl Scene {
    fn all() -> [Self; 2] {
        [Self::prosody(), Self::ejabberd()]
    }

    fn all_with(line: &str) -> [Self; 2] {
        [Self::prosody_with(line), Self::ejabberd_with(line, |it| it)]
    }

    fn prosody() -> Self {
        Self::prosody_with("")
    }

    fn prosody_with(line: &str) -> Self {
        let (server, backend) = (Prosody::shared_rostergate(), Backend::start());
        let url = format!("http://{}/rostergate", server.bosh().address);
        let token = prosody::TOKEN;
        let lines = format!(
            "rosters = \"server\"\nwriter = \"prosody\"\nwriter_url = \"{url}\"\nwriter_token = \"{token}\""
        );
        let gateway = Gateway::builder(server).backend(&backend).host(&lines);
        Self {
            server: Server::Prosody(server),
            backend,
            gateway: gateway.host(line).start(),
        }
    }

    fn ejabberd() -> Self {
        Self::ejabberd_with("", |gateway| gateway)
    }

    fn ejabberd_with(line: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let (server, backend) = (Ejabberd::shared_with_lists(), Backend::start());
        let gateway = Gateway::builder(server).backend(&backend);
        let gateway = gateway.host(&server.list_lines()).host(line);
        Self {
            server: Server::Ejabberd(server),
            backend,
            gateway: change(gateway).start(),
        }
    }

    async fn account(&self, name: &str) -> Account {
        let account = match self.server {
            Server::Prosody(server) => server.account(name),
            Server::Ejabberd(server) => server.account(name).await,
        };
        self.backend.set(&account.local, json!({}));
        account
    }

    /// How clients come that know nothing of the gateway.
    fn native(&self) -> Transport {
        Transport::Tcp(match self.server {
            Server::Prosody(server) => server.c2s(),
            Server::Ejabberd(server) => server.c2s(),
        })
    }

    fn web(&self) -> Transport {
        self.gateway.transport()
    }

    fn site(&self, user: &Account, contacts: &[&Account]) {
        let contacts = contacts.iter().map(|contact| {
            let data = json!({ "name": contact.local.to_uppercase(), "groups": ["A & B", "Work"] });
            (contact.jid(), data)
        });
        let contacts: Map<String, Value> = contacts.collect();
        self.backend.set(&user.local, contacts.into());
    }

    async fn refresh(&self, users: &[&Account]) {
        let users: Vec<_> = users.iter().map(|user| &*user.local).collect();
        update(&self.gateway, &users).await;
    }
}

fn friend(account: &Account) -> Item {
    let name = account.local.to_uppercase();
    item(&account.jid(), Some(&name), &["A & B", "Work"], "both")
}

async fn online(transport: &Transport, account: &Account, resource: &str) -> Client {
    let mut client = Client::login(transport, account, resource).await;
    client.roster().await;
    client.send_presence("");
    client.expect_presence(&client.jid.clone(), "").await;
    client
}

/// Waits until `other` is seen, which must be once.
async fn sees_once(client: &mut Client, other: &str) {
    let (jid, mut seen) = (client.jid.clone(), Vec::new());
    let awaiting = async {
        while presence_of(other, &seen).is_empty() {
            seen.extend(client.fence().await);
        }
        seen.extend(client.fence().await);
    };
    within(&format!("{jid} to see {other}"), awaiting).await;
    let mut told = presence_of(other, &seen);
    // ejabberd repeats it in answer to a probe, as something that was known.
    if told.len() > 1 {
        told.retain(|presence| presence.child(DELAY, "delay").is_none());
    }
    assert_eq!(told.len(), 1, "{jid}: {seen:?}");
    assert_eq!(told[0].attr("type"), None, "{jid}");
}

/// The presence of `from` that has come since it was pushed as a contact.
fn presence_of<'a>(from: &str, seen: &'a [Element]) -> Vec<&'a Element> {
    let pushed = seen.iter().rposition(is_push).unwrap_or(seen.len());
    let is_it =
        |stanza: &&Element| stanza.is(CLIENT, "presence") && stanza.attr("from") == Some(from);
    seen[pushed..].iter().filter(is_it).collect()
}

#[tokio::test]
async fn native_and_web_clients_have_one_list_and_see_each_other_once() {
    for scene in Scene::all() {
        let (john, marie) = (scene.account("john").await, scene.account("marie").await);
        let mut native = online(&scene.native(), &john, "native").await;
        let mut web = online(&scene.web(), &marie, "web").await;
        scene.site(&john, &[&marie]);
        scene.site(&marie, &[&john]);
        scene.refresh(&[&john, &marie]).await;
        let (one, other) = (native.jid.clone(), web.jid.clone());
        for (client, other, contact) in [(&mut native, &other, &marie), (&mut web, &one, &john)] {
            sees_once(client, other).await;
            let roster: Vec<_> = client.roster().await.into_values().collect();
            assert_eq!(roster, [friend(contact)]);
        }
        let mut second = online(&scene.native(), &marie, "native").await;
        let roster: Vec<_> = second.roster().await.into_values().collect();
        assert_eq!(roster, [friend(&john)]);
        second.expect_presence(&native.jid, "").await;
        native.expect_presence(&second.jid, "").await;
        for client in [&mut native, &mut web] {
            let seen = client.fence().await;
            let of_others = |stanza: &&Element| {
                stanza.is(CLIENT, "presence") && stanza.attr("from") != Some(&second.jid)
            };
            let more: Vec<_> = seen.iter().filter(of_others).collect();
            assert!(more.is_empty(), "{}: {more:?}", client.jid);
        }

        // A message goes either way, and who logs out is seen to.
        native.send_message(&web.jid, "hello");
        web.expect_message("hello").await;
        let jid = web.jid.clone();
        web.logout().await;
        native.expect_presence(&jid, "unavailable").await;
    }
}

#[tokio::test]
async fn presence_is_seen_once_whoever_is_refreshed_first() {
    for scene in Scene::all() {
        for whole in [true, false] {
            let (john, marie) = (scene.account("john").await, scene.account("marie").await);
            let mut native = online(&scene.native(), &john, "native").await;
            let mut web = online(&scene.web(), &marie, "web").await;
            scene.site(&john, &[&marie]);
            if whole {
                scene.site(&marie, &[&john]);
                scene.refresh(&[&john]).await;
            } else {
                scene.refresh(&[&john]).await;
                scene.site(&marie, &[&john]);
                scene.refresh(&[&marie]).await;
            }
            let (one, other) = (native.jid.clone(), web.jid.clone());
            sees_once(&mut native, &other).await;
            sees_once(&mut web, &one).await;
        }
    }
}

#[tokio::test]
async fn avatars_flow_as_soon_as_both_are_contacts_and_until_one_removes_the_other() {
    for scene in Scene::all() {
        let (john, marie) = (scene.account("john").await, scene.account("marie").await);
        let mut native = notified(&scene.native(), &john, "native").await;
        let mut web = notified(&scene.web(), &marie, "web").await;
        publish_avatar(&mut native, "j1").await;
        publish_avatar(&mut web, "m1").await;
        assert_eq!(avatars(&mut native).await, []);
        assert_eq!(avatars(&mut web).await, []);
        scene.site(&john, &[&marie]);
        scene.site(&marie, &[&john]);
        scene.refresh(&[&john, &marie]).await;
        let of = |client: &Account, id: &str| [(client.jid(), id.to_owned())];
        assert_eq!(awaited(&mut native).await, of(&marie, "m1"));
        assert_eq!(awaited(&mut web).await, of(&john, "j1"));
        publish_avatar(&mut native, "j2").await;
        publish_avatar(&mut web, "m2").await;
        assert_eq!(awaited(&mut native).await, of(&marie, "m2"));
        assert_eq!(awaited(&mut web).await, of(&john, "j2"));

        // One removes the other, and only that is told.
        scene.site(&john, &[]);
        scene.refresh(&[&john]).await;
        let (one, other) = (native.jid.clone(), web.jid.clone());
        native.expect_presence(&other, "unavailable").await;
        web.expect_presence(&one, "unavailable").await;
        publish_avatar(&mut native, "j3").await;
        publish_avatar(&mut web, "m3").await;
        native.send_presence("<show>away</show>");
        web.send_presence("<show>away</show>");
        for (client, other) in [(&mut native, &other), (&mut web, &one)] {
            client.expect_presence(&client.jid.clone(), "").await;
            let seen = client.fence().await;
            let of_other = |stanza: &&Element| {
                let from = stanza.attr("from").unwrap_or_default();
                !stanza.is(CLIENT, "iq") && other.starts_with(from) && !from.is_empty()
            };
            let ghosts: Vec<_> = seen.iter().filter(of_other).collect();
            assert!(ghosts.is_empty(), "{}: {ghosts:?}", client.jid);
        }
    }
}

/// The avatars that come, once one has.
async fn awaited(client: &mut Client) -> Vec<(String, String)> {
    let jid = client.jid.clone();
    let awaiting = async {
        loop {
            let seen = avatars(client).await;
            if !seen.is_empty() {
                return seen;
            }
        }
    };
    within(&format!("an avatar at {jid}"), awaiting).await
}

#[tokio::test]
async fn nobody_hears_of_what_has_not_changed() {
    for scene in Scene::all() {
        let (john, marie) = (scene.account("john").await, scene.account("marie").await);
        scene.site(&john, &[&marie]);
        scene.site(&marie, &[&john]);
        scene.refresh(&[&john, &marie]).await;
        let mut native = online(&scene.native(), &john, "native").await;
        let mut web = online(&scene.web(), &marie, "web").await;
        web.expect_presence(&native.jid, "").await;
        native.expect_presence(&web.jid, "").await;
        for client in [&mut native, &mut web] {
            client.fence().await;
        }
        let versions = [version(&mut native).await, version(&mut web).await];
        let before = written(&scene).await;
        scene.refresh(&[&john, &marie]).await;
        scene.refresh(&[&marie]).await;
        assert_eq!(written(&scene).await, before);
        for client in [&mut native, &mut web] {
            assert_eq!(client.fence().await, [], "{}", client.jid);
        }
        assert_eq!(
            [version(&mut native).await, version(&mut web).await],
            versions
        );

        // A new name is one push for the one whose list it is, and a new version.
        scene
            .backend
            .set(&john.local, json!({ (marie.jid()): { "name": "M" } }));
        scene.refresh(&[&john]).await;
        let pushed = pushes(&mut native).await;
        assert_eq!(pushed, [item(&marie.jid(), Some("M"), &[], "both")]);
        assert_eq!(native.fence().await, []);
        assert_eq!(web.fence().await, []);
        assert_ne!(version(&mut native).await, versions[0]);
        assert_eq!(version(&mut web).await, versions[1]);
        assert_eq!(written(&scene).await, before + 1);
    }
}

/// The version of the list (RFC 6121 §2.6).
async fn version(client: &mut Client) -> String {
    let get = format!("<query xmlns='{ROSTER}' ver=''/>");
    let reply = client.iq("get", "", &get).await;
    let query = reply.child(ROSTER, "query").expect("a query");
    query.attr("ver").expect("a version").to_owned()
}

/// How many contacts the gateway has written.
async fn written(scene: &Scene) -> u64 {
    let metrics = scene.gateway.monitoring().request("GET", &[], "").await;
    let mut lines = metrics.text().lines();
    let value = lines.find_map(|it| it.strip_prefix("rostergate_contacts_written_total{"));
    let value = value
        .and_then(|it| it.rsplit(' ').next())
        .expect("a metric");
    value.parse().expect("a number")
}

#[tokio::test]
async fn what_a_user_has_changed_is_put_right() {
    for scene in Scene::all() {
        let (john, marie) = (scene.account("john").await, scene.account("marie").await);
        scene.site(&john, &[&marie]);
        scene.site(&marie, &[&john]);
        scene.refresh(&[&john, &marie]).await;
        for by_login in [false, true] {
            let mut native = online(&scene.native(), &john, "native").await;
            let change = |item: &str| format!("<query xmlns='{ROSTER}'>{item}</query>");
            let remove = format!("<item jid='{}' subscription='remove'/>", marie.jid());
            let own = format!("<item jid='own-{by_login}@example.net' name='Mine'/>");
            for item in [own, remove] {
                let answer = native.iq("set", "", &change(&item)).await;
                let is_refused = matches!(scene.server, Server::Prosody(_));
                assert_eq!(answer.error().is_some(), is_refused, "{answer}");
            }
            pushes(&mut native).await;
            if by_login {
                let _web = scene.gateway.login(&john, "web").await;
                if matches!(scene.server, Server::Ejabberd(_)) {
                    native.expect("a push", is_push).await;
                }
            } else {
                scene.refresh(&[&john]).await;
            }
            let mut other = online(&scene.native(), &marie, "native").await;
            let repairing = async {
                while native.roster().await.get(&marie.jid()) != Some(&friend(&marie))
                    || other.roster().await.get(&john.jid()) != Some(&friend(&john))
                {
                }
            };
            within("both lists to be as before", repairing).await;
            let roster = native.roster().await;
            let is_kept = roster.contains_key(&format!("own-{by_login}@example.net"));
            assert_eq!(is_kept, matches!(scene.server, Server::Ejabberd(_)));
        }
    }
}

#[tokio::test]
async fn a_user_whom_the_server_does_not_know_is_named() {
    for scene in Scene::all() {
        let john = scene.account("john").await;
        let nobody = Account {
            local: format!("nobody-{}", john.local),
            ..john.clone()
        };
        scene.site(&nobody, &[&john]);
        scene.site(&john, &[&nobody]);
        let users = [&*john.local, &*nobody.local];
        let (status, summary) = crate::server_rosters::refresh(&scene.gateway, &users).await;
        assert_eq!((status, &summary["updated"]), (200, &json!(1)), "{summary}");
        let reason = crate::server_rosters::NO_ACCOUNT;
        let failed = json!([{ "username": nobody.local, "reason": reason }]);
        assert_eq!(summary["failed"], failed);
    }
}

/// Which contacts the gateway has written is kept beside ejabberd's lists, in XML.
#[tokio::test]
async fn contacts_with_odd_addresses_come_and_go() {
    for scene in Scene::all() {
        let john = scene.account("john").await;
        let mut desk = online(&scene.native(), &john, "desk").await;
        let odd = ["bob@o'brien.example", "bob@a&b.example"];
        let list = odd.map(|jid| (jid.to_owned(), json!({})));
        scene.backend.set(&john.local, Map::from_iter(list).into());
        scene.refresh(&[&john]).await;
        let listed: Vec<_> = desk.roster().await.into_keys().collect();
        assert_eq!(listed, [odd[1], odd[0]]);
        scene.site(&john, &[]);
        scene.refresh(&[&john]).await;
        assert!(desk.roster().await.is_empty());
    }
}

/// The list goes with the account, and Prosody knows nothing of that if another program deletes it.
#[tokio::test]
async fn an_account_of_prosody_that_is_made_again_gets_its_list_again() {
    let scene = Scene::prosody();
    let Server::Prosody(server) = scene.server else {
        unreachable!("it is one")
    };
    let (john, marie) = (scene.account("john").await, scene.account("marie").await);
    scene.site(&john, &[&marie]);
    scene.site(&marie, &[&john]);
    scene.refresh(&[&john, &marie]).await;
    fs::remove_file(server.list_file(&john)).expect("it was saved");
    scene.refresh(&[&john]).await;
    assert!(server.list_file(&john).exists(), "saved again");
}

#[tokio::test]
async fn an_ejabberd_that_is_not_set_up_is_told_with_the_cure() {
    let whole = Ejabberd::shared_with_lists();
    whole.account("john").await;
    let lines = whole.list_lines();
    let is_of_credentials =
        |line: &&str| line.starts_with("writer_user") || line.starts_with("writer_password");
    let nobody = lines.lines().filter(|line| !is_of_credentials(line));
    let nobody: String = nobody.map(|line| format!("{line}\n")).collect();
    let wrong =
        format!("{nobody}writer_user = \"rostergate@example.org\"\nwriter_password = \"x\"");
    let without = Ejabberd::with_lists("mod_admin_extra").start();
    without.account("john").await;
    for (server, lines, said) in [
        (
            whole,
            nobody,
            "ejabberd does not allow get_roster: name it, and the gateway, in api_permissions; see writer_password",
        ),
        (
            whole,
            wrong,
            "ejabberd does not let the gateway in (it answered 401 to get_roster): see writer_token, writer_password",
        ),
        (
            &without,
            without.list_lines(),
            "ejabberd does not know get_roster: load mod_admin_extra",
        ),
    ] {
        let backend = Backend::start();
        let gateway = Gateway::builder(server).backend(&backend).host(&lines);
        let gateway = gateway.start();
        backend.set("john", json!({}));
        let (status, summary) = crate::server_rosters::refresh(&gateway, &["john"]).await;
        assert_eq!(
            (status, &summary["failed"][0]["reason"]),
            (500, &json!(said))
        );
    }
}

#[tokio::test]
async fn a_web_page_writes_no_list_of_ejabberd() {
    let scene = Scene::ejabberd();
    let john = scene.account("john").await;
    let Server::Ejabberd(server) = scene.server else {
        unreachable!("it is one");
    };
    // What a browser sends without asking before.
    let headers = [
        ("Content-Type", "text/plain"),
        ("Origin", "https://evil.example"),
    ];
    let api = server.api("add_rosteritem");
    let mut answers = BTreeSet::new();
    // Newer ones have several groups, and take no other arguments.
    for (name, groups) in [("group", json!("")), ("groups", json!([]))] {
        let mut item = json!({
            "localuser": john.local, "localhost": john.domain, "user": "eve", "host": "example.org",
            "nick": "", "subs": "both",
        });
        item[name] = groups;
        let answer = api.request("POST", &headers, &item.to_string()).await;
        answers.insert(answer.status());
    }
    assert_eq!(answers, BTreeSet::from([400, 403]));
    let mut native = online(&scene.native(), &john, "native").await;
    assert!(native.roster().await.is_empty());
}

/// Whoever of a pair is refreshed next finds what is left to do, even if the site has changed its mind meanwhile.
#[tokio::test]
async fn a_gateway_that_is_killed_between_the_two_writes_leaves_no_pair_half() {
    for (is_reverted, is_first) in [(true, true), (true, false), (false, false)] {
        for mut scene in Scene::all_with("writer_rate = 1") {
            let (john, marie) = (scene.account("john").await, scene.account("marie").await);
            let mut johns = online(&scene.native(), &john, "native").await;
            let mut maries = online(&scene.native(), &marie, "native").await;
            scene.site(&john, &[&marie]);
            scene.site(&marie, &[&john]);
            let path = format!("/roster_admin/refresh/{}", john.local);
            let refresh = scene.gateway.admin().at(&path);
            let prefer = [("Prefer", "respond-async")];
            assert_eq!(refresh.request("GET", &prefer, "").await.status(), 202);
            // Hers is written before his, which has to wait for the pace.
            maries.expect("a push", is_push).await;
            scene.gateway.signal("KILL");
            scene.gateway.wait();
            assert!(johns.roster().await.is_empty());
            assert_eq!(maries.roster().await.len(), 1);
            if is_reverted {
                scene.site(&john, &[]);
                scene.site(&marie, &[]);
            }
            scene.gateway = scene.gateway.start_again();
            let next = if is_first { &john } else { &marie };
            scene.refresh(&[next]).await;
            let expected = usize::from(!is_reverted);
            assert_eq!(johns.roster().await.len(), expected, "{}", next.local);
            assert_eq!(maries.roster().await.len(), expected, "{}", next.local);
        }
    }
}

/// Requests from before the site had the lists, as users of ejabberd may still send them.
#[tokio::test]
async fn whoever_has_asked_for_presence_in_vain_does_not_wait_for_an_answer() {
    for are_friends in [true, false] {
        for named in ["asking", "asked", "both"] {
            let scene = Scene::ejabberd();
            let (john, marie) = (scene.account("john").await, scene.account("marie").await);
            let mut asking = online(&scene.native(), &john, "native").await;
            let to = marie.jid();
            asking.send(&format!(
                "<presence xmlns='{CLIENT}' type='subscribe' to='{to}'/>"
            ));
            asking.expect("a push", is_push).await;
            let mut asked = online(&scene.native(), &marie, "native").await;
            asked.expect_presence(&john.jid(), "subscribe").await;
            // She lists him, in any case.
            scene.site(&john, &[&marie][..usize::from(are_friends)]);
            scene.site(&marie, &[&john]);
            let refresh = async || match named {
                "asking" => scene.refresh(&[&john]).await,
                "asked" => scene.refresh(&[&marie]).await,
                _ => scene.refresh(&[&john, &marie]).await,
            };
            refresh().await;
            let case = format!("{named}, friends: {are_friends}");
            let lists = [(&mut asking, &marie), (&mut asked, &john)];
            for (client, contact) in lists.into_iter().filter(|_| are_friends) {
                let roster = client.roster().await;
                assert_eq!(roster[&contact.jid()], friend(contact), "{case}");
            }
            // What cannot be seen is written twice, and then no more.
            for _ in 0..2 {
                scene.refresh(&[&marie]).await;
            }
            let before = written(&scene).await;
            scene.refresh(&[&marie]).await;
            scene.refresh(&[&john]).await;
            assert_eq!(written(&scene).await, before, "{case}");
            assert!(asked.roster().await.contains_key(&john.jid()), "{case}");
            let mut later = online(&scene.native(), &marie, "later").await;
            let is_request = |stanza: &Element| stanza.attr("type") == Some("subscribe");
            later.expect_none("request", is_request).await;
        }
    }
}

/// With `--nocapture` it says what that took, of as many lists as `LISTS` says.
#[tokio::test]
async fn many_lists_are_written_into_ejabberd_at_once_and_compared() {
    const CONTACTS: usize = 50;
    let lists = std::env::var("LISTS").map_or(60, |lists| lists.parse().expect("a number"));
    let scene = Scene::ejabberd_with("writer_rate = 100000", |it| it.admin("deadline = \"5m\""));
    let mut accounts = Vec::new();
    for _ in 0..lists {
        accounts.push(scene.account("u").await);
    }
    for (user, account) in accounts.iter().enumerate() {
        let near = (1..=CONTACTS / 2).flat_map(|n| [user + n, user + lists - n]);
        let contacts: Vec<_> = near.map(|it| &accounts[it % lists]).collect();
        scene.site(account, &contacts);
    }
    let Server::Ejabberd(server) = scene.server else {
        unreachable!("it is one");
    };
    let users: Vec<_> = accounts.iter().map(|it| &*it.local).collect();
    for (pass, contacts) in [("from nothing", lists * CONTACTS), ("again", 0)] {
        let (begun, cpu, before) = (
            Instant::now(),
            cpu_time(server.pid()),
            written(&scene).await,
        );
        let api = scene.gateway.admin().at("/roster_admin/refresh");
        let mut connection = Connection::open(&api).await;
        connection
            .send("POST", &api.path, &[], &json!(users).to_string())
            .await;
        let refreshing = connection.try_response();
        let summary = within_limit(Duration::from_secs(280), pass, refreshing).await;
        let summary = summary.expect("an answer");
        assert_eq!(summary.status(), 200);
        assert!(
            summary.text().contains("\"errors\":0"),
            "{}",
            summary.text()
        );
        let (took, cpu) = (begun.elapsed(), cpu_time(server.pid()) - cpu);
        println!("{pass}: {lists} lists, {took:?}, {cpu:?} of them ejabberd's");
        assert_eq!(written(&scene).await - before, contacts as u64);
    }
    let mut native = online(&scene.native(), &accounts[0], "native").await;
    assert_eq!(native.roster().await.len(), CONTACTS);
}

#[tokio::test]
async fn who_holds_the_lists_changes_with_a_restart_and_each_client_sees_one() {
    for mut scene in Scene::all() {
        let (john, marie) = (scene.account("john").await, scene.account("marie").await);
        let befriend = |scene: &Scene, are_friends: bool| {
            let count = usize::from(are_friends);
            scene.site(&john, &[&marie][..count]);
            scene.site(&marie, &[&john][..count]);
        };
        befriend(&scene, true);
        let path = scene.gateway.config_path();
        let config = fs::read_to_string(&path).expect("it is there");
        let is_of_server =
            |line: &&str| !line.starts_with("rosters = ") && !line.starts_with("writer");
        let lines = config.lines().filter(is_of_server);
        let of_gateway: String = lines.map(|line| format!("{line}\n")).collect();

        // From the gateway to the server, and back.
        fs::write(&path, &of_gateway).expect("it can be written");
        for next in [config, of_gateway] {
            scene.gateway.signal("TERM");
            scene.gateway.wait();
            scene.gateway = scene.gateway.start_again();
            scene.refresh(&[&john, &marie]).await;
            let mut web = online(&scene.web(), &john, "web").await;
            let mut other = online(&scene.web(), &marie, "web").await;
            let jids = [web.jid.clone(), other.jid.clone()];
            let case = match (scene.server, next.contains("rosters = ")) {
                (Server::Prosody(_), true) => "Prosody, of the gateway",
                (Server::Prosody(_), false) => "Prosody, of the server",
                (Server::Ejabberd(_), true) => "ejabberd, of the gateway",
                (Server::Ejabberd(_), false) => "ejabberd, of the server",
            };
            assert_eq!(seen(&mut web, &jids[1]).await, [""], "{case}");
            assert_eq!(seen(&mut other, &jids[0]).await, [""], "{case}");
            fs::write(&path, next).expect("it can be written");
            scene.gateway.signal("HUP");
            let reloading = async {
                while !scene
                    .gateway
                    .log()
                    .contains("changed, but not before a restart")
                {
                    web.fence().await;
                }
            };
            within("a reload", reloading).await;
            for are_friends in [false, true] {
                befriend(&scene, are_friends);
                scene.refresh(&[&john, &marie]).await;
                let kind = if are_friends { "" } else { "unavailable" };
                assert_eq!(seen(&mut web, &jids[1]).await, [kind], "{case}");
                assert_eq!(seen(&mut other, &jids[0]).await, [kind], "{case}");
                let contacts = usize::from(are_friends);
                // Who is no contact any more shows nothing.
                let show = if are_friends { "xa" } else { "away" };
                other.send_presence(&format!("<show>{show}</show>"));
                other.fence().await;
                let shown = seen_by(&mut web, &jids[1], contacts).await;
                assert_eq!(shown, vec![""; contacts], "{case}");
            }
            assert_eq!(web.roster().await.len(), 1, "{case}");
        }
    }
}

/// By what docs/servers.md says about Prosody. Accounts, and the lists in its storage, stay as they are.
#[tokio::test]
async fn prosody_forgets_its_lists_when_the_gateway_has_them_again() {
    let with_lists = Prosody::builder().rostergate();
    let without_lists = Prosody::builder()
        .modules(["pep"])
        .roster(false)
        .option("storage = { roster = \"none\" }");
    let mut prosody = with_lists.clone().start();
    let (backend, gateway) = (Backend::start(), |of_server: bool, prosody: &Prosody| {
        let url = format!("http://{}/rostergate", prosody.bosh().address);
        let token = prosody::TOKEN;
        let lines = format!(
            "rosters = \"server\"\nwriter = \"prosody\"\nwriter_url = \"{url}\"\nwriter_token = \"{token}\""
        );
        Gateway::builder(prosody).host(if of_server { &lines } else { "" })
    });
    let [john, marie, anna] = ["john", "marie", "anna"].map(|name| prosody.account(name));
    let befriend = |pairs: &[(&Account, &Account)]| {
        for user in [&john, &marie, &anna] {
            let contacts = pairs.iter().filter_map(|(one, other)| {
                let is_user = |it: &Account| it.local == user.local;
                let contact = match (is_user(one), is_user(other)) {
                    (true, _) => other,
                    (_, true) => one,
                    _ => return None,
                };
                Some((contact.jid(), json!({})))
            });
            let contacts: Map<String, Value> = contacts.collect();
            backend.set(&user.local, contacts.into());
        }
    };
    let users = [&*john.local, &*marie.local, &*anna.local];
    befriend(&[(&john, &marie), (&john, &anna)]);
    let first = gateway(true, &prosody).backend(&backend).start();
    update(&first, &users).await;
    drop(first);
    for of_server in [false, true] {
        prosody.stop().await;
        prosody.start_again_with(if of_server {
            &with_lists
        } else {
            &without_lists
        });
        let gateway = gateway(of_server, &prosody).backend(&backend).start();
        // Anna is out; or Marie, when the server's lists are used again.
        let (friend, other) = match of_server {
            false => (&marie, &anna),
            true => (&anna, &marie),
        };
        befriend(&[(&john, friend)]);
        update(&gateway, &users).await;
        let mut native = Client::login(&Transport::Tcp(prosody.c2s()), other, "native").await;
        native.send_presence("");
        native.expect_presence(&native.jid.clone(), "").await;
        let mut friends = online(&gateway.transport(), friend, "web").await;
        let mut johns = online(&gateway.transport(), &john, "web").await;
        let case = if of_server {
            "the server"
        } else {
            "the gateway"
        };
        let jids = [johns.jid.clone(), friends.jid.clone()];
        let other = native.jid.clone();
        for (client, friend) in [(&mut johns, &jids[1]), (&mut friends, &jids[0])] {
            let (own, mut seen) = (client.jid.clone(), Vec::new());
            let count = |from: &str, seen: &[Element]| {
                let presence = seen.iter().filter(|it| it.is(CLIENT, "presence"));
                presence.filter(|it| it.attr("from") == Some(from)).count()
            };
            let seeing = async {
                while count(friend, &seen) == 0 {
                    seen.extend(client.fence().await);
                }
                // What else there is comes before the answer to this.
                client.send_message(&own, "last");
                client
                    .fence()
                    .await
                    .into_iter()
                    .for_each(|it| seen.push(it));
            };
            within(&format!("{friend} to be seen by {own}"), seeing).await;
            assert_eq!(count(friend, &seen), 1, "lists of {case}: {seen:?}");
            assert_eq!(count(&other, &seen), 0, "lists of {case}: {seen:?}");
        }
        // Whoever is no friend any more, and does not come by the gateway, sees nothing either.
        johns.send_presence("<show>away</show>");
        johns.expect_presence(&johns.jid.clone(), "").await;
        let seen = native.fence().await;
        let of_john = |it: &&Element| it.attr("from") == Some(&jids[0]);
        let seen: Vec<_> = seen.iter().filter(of_john).collect();
        assert!(seen.is_empty(), "lists of {case}: {seen:?}");
    }
}

/// The kinds of presence of `other` that come, once one has.
async fn seen(client: &mut Client, other: &str) -> Vec<String> {
    seen_by(client, other, 1).await
}

/// The same, once so many have.
async fn seen_by(client: &mut Client, other: &str, count: usize) -> Vec<String> {
    let (jid, mut told) = (client.jid.clone(), Vec::new());
    let of_other =
        |stanza: &Element| stanza.is(CLIENT, "presence") && stanza.attr("from") == Some(other);
    let awaiting = async {
        loop {
            told.extend(client.fence().await.into_iter().filter(of_other));
            if told.len() >= count {
                return;
            }
        }
    };
    within(&format!("{jid} to see {other}"), awaiting).await;
    // ejabberd repeats it in answer to a probe, as something that was known.
    if told.len() > count {
        told.retain(|presence| presence.child(DELAY, "delay").is_none());
    }
    let kinds = told.iter();
    kinds
        .map(|it| it.attr("type").unwrap_or_default().to_owned())
        .collect()
}
