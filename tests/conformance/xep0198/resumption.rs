//! 5: Resumption.

use super::{Managed, bodies, numbers};
use support::{
    gateway::Gateway,
    site::{Site, only_rostergate},
    webstream::{WebStream, h},
    xml::{CLIENT, SM},
};

const DELAY: &str = "urn:xmpp:delay";

#[tokio::test]
async fn brings_what_was_sent_while_nobody_listened() {
    let mut session = Managed::new().await;
    let state = session.lose().await;
    session.write(&state.jid, 0..30).await;
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    assert_eq!(bodies(&mut session.web, 30).await, numbers(0..30));
    assert_eq!(session.web.fence().await, []);
}

#[tokio::test]
async fn brings_what_was_on_its_way_when_the_connection_was_lost() {
    let mut session = Managed::new().await;
    let jid = session.web.jid.clone();
    session.write(&jid, 0..30).await;
    // It has got ten of them, and has said so of four.
    assert_eq!(bodies(&mut session.web, 4).await, numbers(0..4));
    session.web.acknowledge().await;
    assert_eq!(bodies(&mut session.web, 6).await, numbers(4..10));
    let state = session.lose().await;
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    assert_eq!(bodies(&mut session.web, 20).await, numbers(10..30));
    assert_eq!(session.web.fence().await, []);
}

#[tokio::test]
async fn takes_what_it_has_not_got_and_nothing_twice() {
    let mut session = Managed::new().await;
    for number in 0..30 {
        session.say(&number.to_string()).await;
        if number == 10 {
            session.web.ask().await;
        }
    }
    // The rest may or may not have arrived.
    let state = session.lose().await;
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    session.say("last").await;
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    let arrived = session.desk.fence().await;
    let arrived = arrived.iter().filter_map(support::xml::Element::body);
    let mut expected = numbers(0..30);
    expected.push("last".to_owned());
    assert_eq!(arrived.collect::<Vec<_>>(), expected);
}

/// What the client never sent, because its connection was lost before, is taken as if nothing had happened.
#[tokio::test]
async fn takes_what_the_client_could_not_send() {
    let mut session = Managed::new().await;
    session.say("arrives").await;
    session.desk.expect_message("arrives").await;
    let mut state = session.lose().await;
    for number in 0..5 {
        let stanza = support::xml::message(&session.desk.jid, &number.to_string());
        state.unacknowledged.push_back(stanza);
        state.sent += 1;
    }
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    assert_eq!(h(&resumed), 1);
    for number in 0..5 {
        assert_eq!(session.desk.next().await.body(), Some(number.to_string()));
    }
}

#[tokio::test]
async fn keeps_its_id_and_its_counters_over_several_resumptions() {
    let mut session = Managed::new().await;
    for round in 0..5 {
        session.say(&format!("from {round}")).await;
        let state = session.lose().await;
        let text = format!("to {round}");
        session.desk.send_message(&state.jid, &text);
        session.settle().await;
        let resumed = session.web.resume(state).await;
        assert!(resumed.is(SM, "resumed"), "{round}: {resumed}");
        assert_eq!(bodies(&mut session.web, 1).await, [text]);
        session.desk.expect_message(&format!("from {round}")).await;
    }
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    let managed = session.web.managed();
    assert_eq!(managed.sent, 6);
}

#[tokio::test]
async fn resumes_twice_in_a_row_with_nothing_between() {
    let mut session = Managed::new().await;
    session.write(&session.web.jid.clone(), 0..3).await;
    let state = session.lose().await;
    let first = session.web.try_resume(&state).await;
    assert!(first.is(SM, "resumed"), "{first}");
    session.web = session.another().await;
    let second = session.web.resume(state).await;
    assert!(second.is(SM, "resumed"), "{second}");
    assert_eq!(bodies(&mut session.web, 3).await, numbers(0..3));
}

#[tokio::test]
async fn shows_contacts_nothing_of_it() {
    let mut session = Managed::new().await;
    session.greet().await;
    let state = session.lose().await;
    let jid = state.jid.clone();
    session.web.resume(state).await;
    session.say("still here").await;
    let seen = session
        .desk
        .until("the message", |it| it.is_message("still here"))
        .await;
    assert!(
        !seen.iter().any(|it| it.attr("from") == Some(&*jid)),
        "{seen:?}"
    );
}

/// A page that was left is not waited for as long as one whose network failed, but it is waited for.
#[tokio::test]
async fn resumes_after_a_close_frame_without_close() {
    let mut session = Managed::new().await;
    let another = session.another().await;
    let state = session.web.managed().clone();
    session.web.close(1001).await;
    std::mem::replace(&mut session.web, another).end().await;
    session.write(&state.jid, 0..3).await;
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    assert_eq!(bodies(&mut session.web, 3).await, numbers(0..3));
}

#[tokio::test]
async fn takes_the_place_of_a_connection_that_still_seems_alive() {
    let mut session = Managed::new().await;
    let mut state = session.web.managed().clone();
    session.write(&state.jid, 0..3).await;
    let mut new = session.another().await;
    let resumed = new.try_resume(&state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    let old = session.web.end().await.steps;
    let old: Vec<_> = old.iter().filter(|step| *step != "<message/>").collect();
    assert!(old.contains(&&"conflict".to_owned()), "{old:?}");
    state.received = 0;
    new.adopt(state, h(&resumed)).await;
    assert_eq!(bodies(&mut new, 3).await, numbers(0..3));
    new.fence().await;
}

#[tokio::test]
async fn takes_stanzas_that_come_right_after_resume() {
    let mut session = Managed::new().await;
    let state = session.lose().await;
    let (id, h) = (&state.id, state.received);
    let resume = format!("<resume xmlns='{SM}' previd='{id}' h='{h}'/>");
    session.web.send(&resume).await;
    // It does not wait for the answer.
    session.say("early").await;
    session
        .web
        .expect("<resumed/>", |it| it.is(SM, "resumed"))
        .await;
    session.desk.expect_message("early").await;
}

#[tokio::test]
async fn says_of_messages_that_waited_when_they_came() {
    only_rostergate("XEP-0198 does not say");
    let mut session = Managed::new().await;
    session.greet().await;
    let state = session.lose().await;
    session.write(&state.jid, 0..1).await;
    let presence = format!("<presence xmlns='{CLIENT}' to='{}'/>", state.jid);
    session.desk.send(&presence);
    session.settle().await;
    session.web.resume(state).await;
    let waited = session.web.expect_message("0").await;
    let delay = waited.child(DELAY, "delay").expect("a delay");
    assert!(
        delay.attr("stamp").is_some_and(|it| it.ends_with('Z')),
        "{waited}"
    );
    let presence = session.web.next().await;
    assert!(presence.child(DELAY, "delay").is_none(), "{presence}");
    let jid = session.web.jid.clone();
    session.desk.send_message(&jid, "now");
    let now = session.web.expect_message("now").await;
    assert!(now.child(DELAY, "delay").is_none(), "{now}");
}

#[tokio::test]
async fn keeps_what_it_has_promised_to_keep() {
    let gateway = Gateway::builder(Site::shared())
        .websocket("resume = \"3s\"")
        .start();
    let mut session = Managed::behind(gateway).await;
    session.greet().await;
    let lost = std::time::Instant::now();
    let state = session.lose().await;
    session.write(&state.jid, 0..3).await;
    // Until the last second.
    let wait = std::time::Duration::from_secs(2).saturating_sub(lost.elapsed());
    let gone = tokio::time::timeout(
        wait,
        session.desk.expect_presence(&state.jid, "unavailable"),
    );
    assert!(gone.await.is_err(), "it was kept");
    let resumed = session.web.resume(state).await;
    assert!(resumed.is(SM, "resumed"), "{resumed}");
    assert_eq!(bodies(&mut session.web, 3).await, numbers(0..3));
}

#[tokio::test]
async fn goes_on_by_another_endpoint_of_the_same_service() {
    let session = Managed::new().await;
    let endpoint = session.endpoint();
    let with_query = endpoint.at(&format!("{}?u=john", endpoint.path));
    let account = session.account.clone();
    let state = session.web.vanish();
    let mut web = WebStream::resumed(&with_query, &account, state).await;
    web.fence().await;
}
