//! A backend that fails, in every way there is: whoever told of a change hears so, lists stay as they
//! were, and whoever logs in meanwhile is told to ask again.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::{net::TcpStream, task::yield_now};

use support::{
    backend::Fault,
    client::{Account, Client, is_push},
    gateway::Gateway,
    prosody::Prosody,
    within,
    xml::{CLIENT, ROSTER},
};

use crate::site::Site;

/// For what the gateway tries again less and less often.
const PATIENCE: Duration = Duration::from_secs(60);

fn answer(body: &str) -> Fault {
    Fault::Answer {
        content_type: "application/json",
        body: body.to_owned().into(),
    }
}

fn site() -> Site {
    Site::with(Prosody::shared(), |gateway| {
        gateway.host("backend_timeout = \"500ms\"")
    })
}

/// Both ways to tell of a change are answered with the failure.
async fn is_told(gateway: &Gateway, user: &Account, case: &str) {
    let admin = gateway.admin();
    let array = json!([user.local]).to_string();
    let post = admin.at("/roster_admin/refresh");
    let post = post.request("POST", &[], &array).await;
    assert_eq!(post.status(), 500, "{case}");
    let get = admin.at(&format!("/roster_admin/refresh/{}", user.local));
    let get = get.request("GET", &[], "").await;
    assert_eq!(get.status(), 502, "{case}");
}

/// A session without a list to fall back to is told to ask again, and goes on.
async fn is_told_to_ask_again(client: &mut Client, case: &str) {
    let answer = client.refused_roster().await;
    assert_eq!(answer.error(), Some("internal-server-error"), "{case}");
    let error = answer.child(CLIENT, "error").expect("an error");
    assert_eq!(error.attr("type"), Some("wait"), "{case}");
    client.fence().await;
}

#[tokio::test]
async fn every_failure_is_told_changes_nothing_and_passes() {
    let site = site();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut online = site.online(&john, "web").await;
    for fault in faults(&site, &marie) {
        let case = format!("{fault:.60?}");
        site.backend.fail(&john.local, fault.clone());
        is_told(&site.gateway, &john, &case).await;
        assert!(online.roster().await.contains_key(&marie.jid()), "{case}");
        online.expect_none("push", is_push).await;
    }
}

/// Every way in which a list can be no list.
fn faults(site: &Site, marie: &Account) -> Vec<Fault> {
    let elsewhere = format!("http://{}/contacts/{}", site.backend.address(), marie.local);
    let array = json!([marie.jid()]).to_string();
    let deep = "[".repeat(1001) + &"]".repeat(1001);
    vec![
        Fault::Status(404),
        Fault::Status(500),
        Fault::Status(204),
        Fault::Redirect(elsewhere),
        Fault::Drop,
        Fault::Hang,
        Fault::HangMidway,
        answer("<html></html>"),
        answer("{\"a@x.org\": oops"),
        answer(""),
        answer("null"),
        answer("42"),
        answer("\"x\""),
        answer(&array),
        answer(&deep),
        // Errors that are told with status 200.
        answer("{\"error\": \"down\"}"),
        answer("{\"status\": \"error\"}"),
        answer("{\"result\": \"success\", \"data\": {\"marie@example.org\": {}}}"),
        answer("{\"ver\": \"1\", \"items\": [{\"jid\": \"marie@example.org\"}]}"),
        answer("{\"error.message\": \"down\"}"),
        answer("{\"error\": \"down\", \"api.example.org\": {}}"),
    ]
}

/// It waits for its list for a while; then it is told, and does not ask again.
#[tokio::test]
async fn a_client_that_logs_in_meanwhile_gets_the_list_once_there_is_one() {
    let site = site();
    let marie = site.member("marie");
    let each = faults(&site, &marie).into_iter().map(|fault| {
        let (site, marie) = (&site, &marie);
        async move {
            let case = format!("{fault:.60?}");
            let late = site.member("late");
            site.list(&late, &[marie]);
            site.backend.fail(&late.local, fault);
            let mut client = site.gateway.login(&late, "web").await;
            is_told_to_ask_again(&mut client, &case).await;
            site.backend.heal(&late.local);
            let push = client.expect_within(PATIENCE, "the list", is_push).await;
            assert!(push.to_string().contains(&marie.jid()), "{case}: {push}");
            assert!(client.roster().await.contains_key(&marie.jid()), "{case}");
        }
    });
    join_all(each).await;
}

/// Who is waiting has it as soon as it is there; who has been told, by a refresh.
#[tokio::test]
async fn a_backend_that_comes_back_is_noticed() {
    let site = site();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    site.backend.fail(&john.local, Fault::Status(503));
    let mut waiting = site.gateway.login(&john, "waiting").await;
    let get = waiting.send_iq("get", "", &format!("<query xmlns='{ROSTER}'/>"));
    let asked = async {
        while site.backend.fetches(&john.local) < 2 {
            yield_now().await
        }
    };
    within("the second try", asked).await;
    site.backend.heal(&john.local);
    let answer = waiting.expect("the list", |it| it.is_reply_to(&get)).await;
    assert!(answer.to_string().contains(&marie.jid()), "{answer}");

    site.backend.fail(&marie.local, Fault::Status(503));
    let mut told = site.gateway.login(&marie, "told").await;
    is_told_to_ask_again(&mut told, "503").await;
    told.send_presence("");
    told.fence().await;
    site.backend.heal(&marie.local);
    site.refresh(&[&marie]).await;
    assert_eq!(told.expect_push().await.jid, john.jid());
    waiting.send_presence("");
    told.expect_presence(&waiting.jid, "").await;
    waiting.expect_presence(&told.jid, "").await;
}

#[tokio::test]
async fn a_backend_that_is_gone_fails_nothing_else() {
    let site = site();
    let (john, marie) = (site.member("john"), site.member("marie"));
    site.befriend(&john, &marie);
    let mut online = site.online(&john, "web").await;
    let mut late = site.gateway.login(&marie, "web").await;
    let Site {
        backend, gateway, ..
    } = site;
    let address = backend.address();
    drop(backend);
    let gone = async { while TcpStream::connect(address).await.is_ok() {} };
    within("the end of the backend", gone).await;
    is_told(&gateway, &john, "gone").await;
    assert!(online.roster().await.contains_key(&marie.jid()));
    online.expect_none("push", is_push).await;
    is_told_to_ask_again(&mut late, "gone").await;
}
