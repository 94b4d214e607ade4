//! Several gateways as one: whichever the site calls, all of them do it.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Map, Value, json};
use tokio::join;

use support::{
    backend::{Backend, Fault},
    bosh::creation,
    client::{Account, Client},
    gateway::{Builder, Gateway, Server as _},
    nats::Nats,
    prosody::Prosody,
    rostergate,
    sasl::Mechanism,
    within,
};

use crate::site::item;

const NODES: [&str; 3] = ["a", "b", "c"];

/// A name that no other cluster has: the tests share a NATS.
fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{number}", std::process::id())
}

/// One of the gateways that are called `name` at this NATS.
fn member(nats: &Nats, name: &str, node: &str, builder: Builder) -> Builder {
    let url = nats.url();
    builder.tables(&format!(
        "[cluster]\nnats = [\"{url}\"]\nname = \"{name}\"\nnode = \"{node}\"\n"
    ))
}

/// A site with three gateways.
struct Three {
    backend: Backend,
    prosody: &'static Prosody,
    gateways: [Gateway; 3],
}

impl Three {
    async fn new() -> Self {
        Self::at(Nats::shared(), |builder| builder).await
    }

    async fn at(nats: &Nats, change: impl Fn(Builder) -> Builder) -> Self {
        Self::before(Prosody::shared(), nats, change).await
    }

    async fn before(
        prosody: &'static Prosody,
        nats: &Nats,
        change: impl Fn(Builder) -> Builder,
    ) -> Self {
        let (backend, name) = (Backend::start(), name());
        let gateways = NODES.map(|node| {
            let builder = Gateway::builder(prosody).backend(&backend);
            member(nats, &name, node, change(builder)).start()
        });
        let three = Self {
            backend,
            prosody,
            gateways,
        };
        three.meet(3).await;
        three
    }

    /// Waits until each gateway knows so many.
    async fn meet(&self, count: usize) {
        for gateway in &self.gateways {
            meet(gateway, count).await;
        }
    }

    fn member(&self, name: &str) -> Account {
        let account = self.prosody.account(name);
        self.backend.set(&account.local, json!({}));
        account
    }

    fn list(&self, owner: &Account, friends: &[&str]) {
        let contacts = friends.iter().map(|jid| ((*jid).to_owned(), json!({})));
        let contacts: Map<String, Value> = contacts.collect();
        self.backend.set(&owner.local, contacts.into());
    }

    /// Logs in at one of the gateways, gets the roster and becomes available.
    async fn online(&self, place: usize, account: &Account, resource: &str) -> Client {
        let mut client = self.gateways[place].login(account, resource).await;
        client.roster().await;
        client.send_presence("");
        client.expect_presence(&client.jid.clone(), "").await;
        client
    }

    async fn call(&self, place: usize, method: &str, path: &str, body: &str) -> (u16, Value) {
        call(&self.gateways[place], method, path, body).await
    }

    /// What a `GET` of the API says.
    async fn look(&self, place: usize, path: &str) -> (u16, Value) {
        self.call(place, "GET", path, "").await
    }

    async fn refresh(&self, place: usize, users: &[&str]) -> (u16, Value) {
        let body = json!(users).to_string();
        self.call(place, "POST", "refresh", &body).await
    }
}

async fn call(gateway: &Gateway, method: &str, path: &str, body: &str) -> (u16, Value) {
    let endpoint = gateway.admin().at(&format!("/roster_admin/{path}"));
    let answer = endpoint.request(method, &[], body).await;
    let json = serde_json::from_str(answer.text()).unwrap_or_else(|_| panic!("{answer:?}"));
    (answer.status(), json)
}

async fn metric(gateway: &Gateway, name: &str) -> Option<String> {
    let answer = gateway.monitoring().request("GET", &[], "").await;
    let lines = answer.text().lines();
    let mut found = lines.filter(|line| line.starts_with(&format!("rostergate_{name}{{")));
    found
        .next()
        .and_then(|line| line.rsplit(' ').next())
        .map(str::to_owned)
}

async fn meet(gateway: &Gateway, count: usize) {
    within("meeting", async {
        while metric(gateway, "cluster_members").await != Some(count.to_string()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn done(updated: usize) -> (u16, Value) {
    let message = "roster update complete";
    let body = json!({"status": "ok", "message": message, "updated": updated, "errors": 0});
    (200, body)
}

#[tokio::test]
async fn a_refresh_reaches_users_wherever_they_are_and_fetches_for_nobody_else() {
    let three = Three::new().await;
    let [john, marie, aaron] = ["john", "marie", "aaron"].map(|name| three.member(name));
    let mut web = three.online(0, &john, "web").await;
    let mut phone = three.online(1, &john, "phone").await;
    let mut marie_web = three.online(2, &marie, "web").await;
    let before = [&john, &marie, &aaron].map(|it| three.backend.fetches(&it.local));
    for owner in [&john, &marie, &aaron] {
        three.list(owner, &["ann@example.org"]);
    }

    let users = [&*john.local, &*marie.local, &*aaron.local];
    assert_eq!(three.refresh(0, &users).await, done(3));
    for client in [&mut web, &mut phone, &mut marie_web] {
        let expected = item("ann@example.org", None, &[], "both");
        assert_eq!(client.expect_push().await, expected);
    }
    let after = [&john, &marie, &aaron].map(|it| three.backend.fetches(&it.local));
    let fetched = [0, 1, 2].map(|index| after[index] - before[index]);
    assert_eq!(fetched, [2, 1, 0], "one for each gateway with a session");

    // One by name, at a gateway where the user has no session.
    three.list(&marie, &[]);
    let path = format!("refresh/{}", marie.local);
    assert_eq!(three.call(1, "GET", &path, "").await.0, 200);
    assert_eq!(
        marie_web.expect_push().await.subscription.as_deref(),
        Some("remove")
    );
}

#[tokio::test]
async fn a_user_has_failed_who_has_failed_anywhere() {
    let three = Three::new().await;
    let (john, marie) = (three.member("john"), three.member("marie"));
    let _web = three.online(1, &john, "web").await;
    let mut marie_web = three.online(2, &marie, "web").await;
    three.list(&marie, &["ann@example.org"]);
    three.backend.fail(&john.local, Fault::Status(503));
    let users = [&*john.local, &*marie.local, &*john.local];
    let (status, body) = three.refresh(0, &users).await;
    let reason = "gateway b: backend answered 503";
    let failed = json!([
        {"username": john.local, "reason": reason},
        {"username": john.local, "reason": reason},
    ]);
    let expected = json!({
        "status": "ok", "message": "roster update complete", "updated": 1, "errors": 2, "failed": failed,
    });
    assert_eq!((status, body), (200, expected));
    marie_web.expect_push().await;
    let (status, body) = three.refresh(2, &[&john.local]).await;
    assert_eq!((status, &body["errors"]), (500, &json!(1)));
    let (status, body) = three
        .call(0, "GET", &format!("refresh/{}", john.local), "")
        .await;
    assert_eq!((status, &body["message"]), (502, &json!(reason)));
}

#[tokio::test]
async fn a_list_that_is_put_reaches_all() {
    let three = Three::new().await;
    let john = three.member("john");
    let mut clients = [
        three.online(0, &john, "one").await,
        three.online(1, &john, "two").await,
        three.online(2, &john, "three").await,
    ];
    let before = three.backend.fetches(&john.local);
    let list = json!({"ann@example.org": {"name": "Ann"}}).to_string();
    let path = format!("rosters/{}", john.local);
    assert_eq!(three.call(1, "PUT", &path, &list).await, done(1));
    for client in &mut clients {
        let expected = item("ann@example.org", Some("Ann"), &[], "both");
        assert_eq!(client.expect_push().await, expected);
    }
    assert_eq!(three.backend.fetches(&john.local), before);
    // A long one comes in parts.
    let data = json!({"name": "x".repeat(1000)});
    let friends = (0..700).map(|number| (format!("c{number}@example.org"), data.clone()));
    let list = Value::Object(friends.collect()).to_string();
    assert!(
        list.len() > 600 << 10 && list.len() < 1 << 20,
        "{}",
        list.len()
    );
    assert_eq!(three.call(0, "PUT", &path, &list).await, done(1));
    for client in &mut clients {
        assert_eq!(client.roster().await.len(), 700);
    }
    let (status, body) = three.call(0, "PUT", &path, "{").await;
    assert_eq!(status, 400, "{body}");
}

/// Behind a balancer, two calls may be under way by two gateways.
#[tokio::test]
async fn of_two_lists_that_are_put_at_once_one_is_there_everywhere() {
    let three = Three::new().await;
    let john = three.member("john");
    let mut clients = Vec::new();
    for (place, name) in NODES.into_iter().enumerate() {
        clients.push(three.online(place, &john, name).await);
    }
    let path = format!("rosters/{}", john.local);
    for round in 0..20 {
        let list = |friend: &str| json!({ format!("{friend}{round}@example.org"): {} }).to_string();
        let (one, other) = (list("ann"), list("ben"));
        let put = |place, list| three.call(place, "PUT", &path, list);
        let ((first, _), (second, _)) = join!(put(0, &one), put(2, &other));
        assert_eq!((first, second), (200, 200));
        let mut lists = Vec::new();
        for client in &mut clients {
            lists.push(client.roster().await.into_keys().collect::<Vec<_>>());
        }
        assert_eq!(lists[0].len(), 1, "{lists:?}");
        lists.dedup();
        assert_eq!(lists.len(), 1, "{lists:?}");
    }
}

#[tokio::test]
async fn sessions_end_wherever_they_are_and_the_account_is_shut_out_everywhere() {
    let three = Three::new().await;
    let (john, marie) = (three.member("john"), three.member("marie"));
    let mut clients = [
        three.online(0, &john, "one").await,
        three.online(1, &john, "two").await,
        three.online(2, &john, "three").await,
    ];
    let mut other = three.online(1, &marie, "web").await;
    let path = format!("sessions?user={}", john.local);
    let answer = three.call(2, "DELETE", &path, "").await;
    let expected = json!({"status": "ok", "message": "sessions ended: 3", "ended": 3});
    assert_eq!(answer, (200, expected));
    for client in &mut clients {
        client.expect_end().await;
    }
    for gateway in &three.gateways {
        let mut again = Client::connect(&gateway.transport(), &john.domain).await;
        let answer = again.try_authenticate(Mechanism::Plain, &john).await;
        assert!(answer.is_err(), "shut out for a while");
    }
    other.send_presence("<show>away</show>");
    other.expect_presence(&other.jid.clone(), "").await;
}

#[tokio::test]
async fn presence_is_that_of_all_resources_wherever_they_are() {
    let three = Three::new().await;
    let [john, marie, aaron] = ["john", "marie", "aaron"].map(|name| three.member(name));
    let web = three.online(0, &john, "web").await;
    let phone = three.online(1, &john, "phone").await;
    let marie_web = three.online(2, &marie, "web").await;
    web.send_presence("<show>away</show><priority>1</priority>");
    phone.send_presence("<show>dnd</show><priority>5</priority>");
    let path = format!(
        "presence?user={}&user={}&user={}",
        john.local, marie.local, aaron.local
    );
    for place in 0..3 {
        within("presence", async {
            loop {
                let (status, body) = three.look(place, &path).await;
                assert_eq!(status, 200, "{body}");
                let of_john = &body[&john.local];
                if of_john["show"] == "dnd" && of_john["resources"] == 2 {
                    assert_eq!(body[&marie.local]["available"], true, "{body}");
                    assert_eq!(body[&aaron.local], json!({"available": false}));
                    return;
                }
            }
        })
        .await;
    }
    let (_, body) = three.look(1, "presence?limit=1000").await;
    let listed = body["users"].as_object().expect("users");
    assert_eq!(listed.len(), 2, "{body}");
    assert_eq!(listed[&john.local]["resources"], 2, "{body}");
    let (_, body) = three.look(1, "presence?limit=1").await;
    assert_eq!(body["users"].as_object().map(Map::len), Some(1), "{body}");
    assert!(body["next"].is_string(), "{body}");
    // Who is at two gateways is one, whichever part of the list is shown.
    let names = [&*john.local, &*marie.local];
    let first = names.iter().min().expect("a name");
    for place in 0..3 {
        for query in ["limit=1".to_owned(), format!("limit=1&after={first}")] {
            let (_, body) = three.look(place, &format!("presence?{query}")).await;
            assert_eq!(body["message"], "available: 2", "{query}: {body}");
        }
    }

    // Only then it counts as gone.
    phone.logout().await;
    marie_web.logout().await;
    within("the phone's end", async {
        let path = format!("presence?user={}", john.local);
        while three.look(2, &path).await.1[&john.local]["resources"] != 1 {}
    })
    .await;
}

#[tokio::test]
async fn sessions_and_numbers_are_those_of_all_gateways() {
    let three = Three::new().await;
    let [john, marie] = ["john", "marie"].map(|name| three.member(name));
    let _web = three.online(0, &john, "web").await;
    let _phone = three.online(1, &john, "phone").await;
    let _marie = three.online(2, &marie, "web").await;
    let (status, body) = three.call(1, "GET", "sessions", "").await;
    assert_eq!(
        (status, &body["counts"]["total"]),
        (200, &json!(3)),
        "{body}"
    );
    let listed = body["sessions"].as_array().expect("sessions");
    let mut found: Vec<_> = listed
        .iter()
        .map(|it| (it["gateway"].as_str(), it["jid"].as_str()))
        .collect();
    found.sort_unstable();
    let jids = [
        format!("{}/web", john.jid()),
        format!("{}/phone", john.jid()),
        format!("{}/web", marie.jid()),
    ];
    let expected = [("a", &jids[0]), ("b", &jids[1]), ("c", &jids[2])];
    assert_eq!(
        found,
        expected.map(|(node, jid)| (Some(node), Some(jid.as_str())))
    );
    // One after the other.
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("sessions?limit=1{after}");
        let (_, body) = three.call(2, "GET", &path, "").await;
        seen.push(body["sessions"][0]["gateway"].as_str().map(str::to_owned));
        let Some(next) = body["next"].as_str() else {
            break;
        };
        after = format!("&after={next}");
    }
    seen.sort_unstable();
    assert_eq!(seen, NODES.map(|node| Some(node.to_owned())));
    let (_, body) = three.call(0, "GET", "status", "").await;
    assert_eq!(body["sessions"]["total"], 3, "{body}");
    let gateways = body["gateways"].as_array().expect("gateways");
    let lines = gateways
        .iter()
        .map(|it| (&it["name"], &it["answers"], &it["sessions"]));
    let expected = NODES.map(|node| (json!(node), json!(true), json!(1)));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        expected.each_ref().map(|(a, b, c)| (a, b, c))
    );
}

#[tokio::test]
async fn the_status_shows_a_gateway_that_does_not_answer() {
    let mut three = Three::new().await;
    let john = three.member("john");
    let _web = three.online(2, &john, "web").await;
    let line_of_c = |body: &Value| {
        let gateways = body["gateways"].as_array().expect("gateways");
        let found = gateways.iter().find(|it| it["name"] == "c");
        found.cloned().unwrap_or_default()
    };
    // What it says of its sessions, once a second, has been heard.
    let (_, body) = three.look(0, "status").await;
    let well = line_of_c(&body);
    assert_eq!(
        (&well["answers"], &well["sessions"]),
        (&json!(true), &json!(1))
    );
    three.gateways[2].signal("STOP");
    let (status, body) = three.look(0, "status").await;
    let mut silent = line_of_c(&body);
    let reason = "gateway c did not answer";
    assert_eq!((status, &body["incomplete"]), (200, &json!([reason])));
    assert_eq!(
        (&silent["answers"], &silent["reason"]),
        (&json!(false), &json!(reason))
    );
    assert_eq!(silent["version"], well["version"]);
    assert!(silent["started"].is_string(), "{silent}");
    // It counts as gone, and is still shown.
    meet(&three.gateways[0], 2).await;
    let (_, body) = three.look(0, "status").await;
    silent = line_of_c(&body);
    assert_eq!(
        (&silent["answers"], &silent["sessions"]),
        (&json!(false), &json!(null))
    );
    let reason = silent["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("not heard for "), "{reason}");
    assert_eq!(body["incomplete"], json!(null), "nobody waits for it");
    // It comes again; or in good order goes.
    three.gateways[2].signal("CONT");
    meet(&three.gateways[0], 3).await;
    let (_, body) = three.look(0, "status").await;
    assert_eq!(line_of_c(&body)["answers"], true, "{body}");
    three.gateways[2].signal("TERM");
    assert!(three.gateways[2].wait().success());
    meet(&three.gateways[0], 2).await;
    let (_, body) = three.look(0, "status").await;
    assert_eq!(line_of_c(&body), json!(null), "{body}");
}

#[tokio::test]
async fn a_list_is_shown_by_whoever_knows_it() {
    let three = Three::new().await;
    let john = three.member("john");
    three.list(&john, &["ann@example.org"]);
    let _web = three.online(1, &john, "web").await;
    let path = format!("rosters/{}", john.local);
    for place in 0..3 {
        let (status, body) = three.call(place, "GET", &path, "").await;
        assert_eq!(
            (status, &body["roster"]["fresh"]),
            (200, &json!(true)),
            "{body}"
        );
        assert_eq!(body["roster"]["contacts"][0]["jid"], "ann@example.org");
    }
    let (status, _) = three.call(0, "GET", "rosters/nobody", "").await;
    assert_eq!(status, 404);
}

/// NATS takes messages of 1 MiB, or of what it is configured for; and requests may be longer.
#[tokio::test]
async fn very_many_users_are_refreshed_everywhere() {
    for config in ["", "max_payload: 65536"] {
        let nats = Nats::configured(config);
        let three = Three::at(&nats, |builder| builder.admin("max_body = \"4MiB\"")).await;
        let john = three.member("john");
        let mut web = three.online(1, &john, "web").await;
        three.list(&john, &["ann@example.org"]);
        let nobody = (0..100_000).map(|number| format!("nobody-{number}"));
        let names: Vec<_> = nobody.chain([john.local.clone()]).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(three.refresh(0, &names).await, done(100_001));
        assert_eq!(web.expect_push().await.jid, "ann@example.org");
        // Who fails at another gateway is named, wherever in the request.
        three.backend.fail(&john.local, Fault::Status(503));
        let (status, body) = three.refresh(0, &names).await;
        let reason = "gateway b: backend answered 503";
        let failed = json!([{"username": john.local, "reason": reason}]);
        assert_eq!((status, &body["failed"]), (200, &failed));
    }
}

#[tokio::test]
async fn a_token_is_good_once_whichever_gateway_is_asked() {
    let mut nats = Nats::start();
    let login = |builder: Builder| builder.host("login = \"http\"");
    let three = Three::at(&nats, login).await;
    let token = async |place| {
        let body = json!({"username": "john"}).to_string();
        let (status, body) = three.call(place, "POST", "token", &body).await;
        assert_eq!(status, 200, "{body}");
        body["password"].as_str().expect("a text").to_owned()
    };
    let domain = &three.prosody.place().domain;
    let ask = async |place: usize, user: &str, token: &str| {
        let path = format!("/xmpp_auth/check_password?user={user}&server={domain}&pass={token}");
        let answer = three.gateways[place].admin().at(&path);
        answer.request("GET", &[], "").await.text().to_owned()
    };
    let first = token(0).await;
    assert_eq!(ask(1, "marie", &first).await, "false");
    assert_eq!(ask(1, "john", &first).await, "true");
    for place in 0..3 {
        assert_eq!(ask(place, "john", &first).await, "false", "{place}");
    }
    // Whoever is shut out gets no other way in.
    let revoked = token(2).await;
    let (status, _) = three.call(0, "DELETE", "sessions?user=john", "").await;
    assert_eq!(status, 200);
    assert_eq!(ask(1, "john", &revoked).await, "false");

    let (own, other) = (token(0).await, token(1).await);
    nats.kill();
    within("the outage", async {
        while metric(&three.gateways[0], "cluster_connected")
            .await
            .as_deref()
            != Some("0")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ask(0, "john", &own).await, "true");
    assert_eq!(
        ask(0, "john", &other).await,
        "false",
        "who made it cannot be asked"
    );
    nats.start_again();
    three.meet(3).await;
    assert_eq!(ask(0, "john", &other).await, "true");
}

#[tokio::test]
async fn the_second_gateway_of_a_name_says_so_and_does_not_start() {
    let nats = Nats::shared();
    let (prosody, name) = (Prosody::shared(), name());
    let first = member(nats, &name, "a", Gateway::builder(prosody)).start();
    meet(&first, 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("rostergate.toml");
    let text = member(nats, &name, "a", Gateway::builder(prosody)).config();
    fs::write(&config, text).expect("it can be written");
    let mut second = Command::new(rostergate());
    let second = second.arg("serve").arg("--config").arg(&config).output();
    let second = second.expect("it ends by itself");
    let log = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success(), "{log}");
    let told = format!(
        "another gateway of the cluster \"{name}\" is called a: give each a cluster.node of its own"
    );
    assert!(log.contains(&told), "{log}");
    assert_eq!(
        metric(&first, "cluster_members").await.as_deref(),
        Some("1")
    );
}

/// It cannot know of the other one before NATS is there, and must not be sent to afterwards.
#[tokio::test]
async fn the_second_gateway_of_a_name_takes_no_sessions_while_the_first_is_there() {
    let mut nats = Nats::start();
    nats.kill();
    let (prosody, name) = (Prosody::shared(), name());
    let first = member(&nats, &name, "a", Gateway::builder(prosody)).start();
    let second = member(&nats, &name, "a", Gateway::builder(prosody)).start();
    let ready = second.monitoring().at("/readyz");
    let ready = async || ready.request("GET", &[], "").await;
    assert_eq!(ready().await.status(), 200);
    nats.start_again();
    meet(&first, 1).await;
    within("the second one notices", async {
        while ready().await.status() != 503 {}
    })
    .await;
    let told = "another gateway of the cluster has the name of this one";
    assert!(ready().await.text().contains(told));
    let refused = second
        .bosh()
        .post(&creation(&prosody.account("john").domain, &[]))
        .await;
    assert_eq!(refused.status(), 503, "{refused:?}");
    first.signal("KILL");
    within("the second one takes over", async {
        while ready().await.status() != 200 {}
    })
    .await;
    let _web = second.login(&prosody.account("john"), "web").await;
}

#[tokio::test]
async fn who_leaves_in_good_order_is_not_waited_for() {
    let mut three = Three::new().await;
    let john = three.member("john");
    let _web = three.online(0, &john, "web").await;
    three.gateways[1].signal("TERM");
    assert!(three.gateways[1].wait().success());
    meet(&three.gateways[0], 2).await;
    let log = three.gateways[0].log();
    let gone: Vec<_> = log
        .lines()
        .filter(|it| it.contains("gateway has gone"))
        .collect();
    assert!(
        matches!(gone[..], [line] if line.contains("said_goodbye=true")),
        "{gone:?}"
    );
    assert_eq!(three.refresh(0, &[&john.local]).await, done(1));
}

#[tokio::test]
async fn a_gateway_that_is_dead_is_named_until_it_counts_as_gone() {
    let mut three = Three::new().await;
    let john = three.member("john");
    let _web = three.online(0, &john, "web").await;
    three.gateways[1].signal("KILL");
    three.gateways[1].wait();
    let (status, body) = three.refresh(0, &[&john.local]).await;
    let failed = json!([{"username": john.local, "reason": "gateway b did not answer"}]);
    assert_eq!((status, &body["failed"]), (500, &failed));
    meet(&three.gateways[0], 2).await;
    assert_eq!(three.refresh(0, &[&john.local]).await, done(1));
}

#[tokio::test]
async fn without_nats_what_is_here_goes_on_and_lists_are_right_when_it_is_back() {
    let mut nats = Nats::start();
    // Of the client of NATS, nothing is said but where the filter names it.
    let quiet = |builder: Builder| builder.env("ROSTERGATE_LOG", "debug");
    let three = Three::at(&nats, quiet).await;
    let (john, marie) = (three.member("john"), three.member("marie"));
    let mut web = three.online(0, &john, "web").await;
    let mut phone = three.online(1, &john, "phone").await;
    nats.kill();
    for gateway in &three.gateways {
        within("the outage", async {
            while metric(gateway, "cluster_connected").await.as_deref() != Some("0") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let ready = gateway.monitoring().at("/readyz");
        assert_eq!(ready.request("GET", &[], "").await.status(), 200);
    }
    // Logins, and what the site says about users here.
    let _marie = three.online(2, &marie, "web").await;
    three.list(&john, &["ann@example.org"]);
    let (status, body) = three.refresh(0, &[&john.local]).await;
    let reason = "what other gateways have is not known: NATS is away";
    let failed = json!([{"username": john.local, "reason": reason}]);
    assert_eq!((status, &body["failed"]), (500, &failed));
    assert_eq!(web.expect_push().await.jid, "ann@example.org");
    let path = format!("sessions?user={}", marie.local);
    let (status, body) = three.call(2, "DELETE", &path, "").await;
    assert_eq!((status, &body["message"]), (502, &json!(reason)));
    nats.start_again();
    three.meet(3).await;
    // Nobody has told it again.
    assert_eq!(phone.expect_push().await.jid, "ann@example.org");
    assert_eq!(three.refresh(2, &[&john.local]).await, done(1));
    let log = three.gateways[1].log();
    assert_eq!(log.matches("NATS is away").count(), 1, "{log}");
    assert!(!log.contains("async_nats"), "{log}");
}

#[tokio::test]
async fn gateways_begin_without_nats_and_find_each_other_later() {
    let mut nats = Nats::start();
    nats.kill();
    let (prosody, name) = (Prosody::shared(), name());
    let gateways =
        ["a", "b"].map(|node| member(&nats, &name, node, Gateway::builder(prosody)).start());
    let john = prosody.account("john");
    let _web = gateways[0].login(&john, "web").await;
    nats.start_again();
    for gateway in &gateways {
        meet(gateway, 2).await;
    }
}

#[tokio::test]
async fn gateways_of_other_names_are_none_of_ours() {
    let nats = Nats::shared();
    let prosody = Prosody::shared();
    let one = member(nats, &name(), "a", Gateway::builder(prosody)).start();
    let other = member(nats, &name(), "a", Gateway::builder(prosody)).start();
    for gateway in [&one, &other] {
        meet(gateway, 1).await;
    }
}
