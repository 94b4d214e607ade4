//! 4: Acks.

use super::{Managed, bodies, numbers};
use support::{
    site::only_rostergate,
    webstream::h,
    xml::{SM, STREAM_ERRORS},
};

#[tokio::test]
async fn answers_every_request_at_once() {
    let mut session = Managed::new().await;
    assert_eq!(session.web.ask().await, 0);
    for _ in 0..5 {
        session.web.ask().await;
    }
}

#[tokio::test]
async fn acknowledges_every_stanza_in_the_end() {
    let mut session = Managed::new().await;
    for number in 0..20 {
        session.say(&number.to_string()).await;
    }
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    assert_eq!(session.web.managed().acknowledged, 21);
    assert_eq!(session.web.ask().await, 21);
}

/// One request is enough: what the server had not confirmed then is acknowledged unasked.
#[tokio::test]
async fn acknowledges_what_was_sent_before_a_request_without_being_asked_again() {
    let mut session = Managed::new().await;
    for number in 0..20 {
        session.say(&number.to_string()).await;
    }
    session.web.send(&format!("<r xmlns='{SM}'/>")).await;
    while session.web.managed().acknowledged < 20 {
        session.web.next_h().await;
    }
}

#[tokio::test]
async fn never_acknowledges_more_than_was_sent_nor_less_than_before() {
    let mut session = Managed::new().await;
    let mut last = 0;
    for number in 1..=100 {
        session.say(&number.to_string()).await;
        // Its own account panics if it is too much.
        let h = session.web.ask().await;
        assert!((last..=number).contains(&h), "{h} of {number} after {last}");
        last = h;
    }
    session.web.expect_acknowledged().await;
}

#[tokio::test]
async fn counts_stanzas_and_nothing_else() {
    let mut session = Managed::new().await;
    for _ in 0..10 {
        session.web.ask().await;
        session.web.acknowledge().await;
    }
    session.web.ping(b"no stanza").await;
    session.say("one").await;
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    assert_eq!(session.web.ask().await, 2);
}

/// A burst of requests may be answered by fewer acknowledgements, but the last has to be told the truth.
#[tokio::test]
async fn survives_a_flood_of_requests() {
    let mut session = Managed::new().await;
    let request = format!("<r xmlns='{SM}'/>");
    for number in 0..200 {
        session.web.send(&request).await;
        if number % 10 == 0 {
            session.say(&number.to_string()).await;
        }
    }
    session.web.fence().await;
    session.web.expect_acknowledged().await;
}

#[tokio::test]
async fn asks_the_client_for_acknowledgements() {
    let mut session = Managed::new().await;
    let to = session.web.jid.clone();
    session.write(&to, 0..30).await;
    let (mut asked, mut seen) = (0, 0);
    while seen < 30 || asked == 0 {
        let element = session.web.receive().await.expect("an element");
        if element.is(SM, "r") {
            asked += 1;
            session.web.acknowledge().await;
        } else if element.body().is_some() {
            seen += 1;
        }
    }
    assert!(asked <= seen, "{asked} requests for {seen} stanzas");
}

#[tokio::test]
async fn never_asks_again_before_it_has_been_answered() {
    only_rostergate("XEP-0198 does not say");
    let mut session = Managed::new().await;
    let to = session.web.jid.clone();
    session.write(&to, 0..100).await;
    let (mut asked, mut seen) = (0, 0);
    while seen < 100 {
        let element = session.web.receive().await.expect("an element");
        asked += u32::from(element.is(SM, "r"));
        seen += u32::from(element.body().is_some());
    }
    assert!(asked <= 1, "asked {asked} times, never answered");
}

#[tokio::test]
async fn ignores_acknowledgements_that_say_nothing_new() {
    let mut session = Managed::new().await;
    let to = session.web.jid.clone();
    session.write(&to, 0..5).await;
    assert_eq!(bodies(&mut session.web, 5).await, numbers(0..5));
    for h in [5, 5, 3, 0, 4] {
        session
            .web
            .send(&format!("<a xmlns='{SM}' h='{h}'/>"))
            .await;
    }
    assert_eq!(session.web.fence().await, []);
}

#[tokio::test]
async fn ends_a_client_that_acknowledges_what_was_never_sent() {
    let mut session = Managed::new().await;
    let to = session.web.jid.clone();
    session.write(&to, 0..3).await;
    assert_eq!(bodies(&mut session.web, 3).await, numbers(0..3));
    session.web.send(&format!("<a xmlns='{SM}' h='4'/>")).await;
    let another = session.another().await;
    let id = session.web.managed().clone();
    let ended = std::mem::replace(&mut session.web, another).end().await;
    let error = ended.error.expect("a stream error");
    assert!(
        error.child(STREAM_ERRORS, "undefined-condition").is_some(),
        "{error}"
    );
    let count = error.child(SM, "handled-count-too-high");
    let count = count.unwrap_or_else(|| panic!("{error}"));
    assert_eq!(h(count), 4);
    assert_eq!(count.attr("send-count"), Some("3"));
    assert_eq!(ended.steps[ended.steps.len() - 2..], ["<close/>", "1000"]);
    let failed = session.web.resume(id).await;
    assert!(failed.is(SM, "failed"), "it has ended: {failed}");
}

/// Conversations met servers that counted the requests.
#[tokio::test]
async fn counts_right_with_a_request_between_every_two_stanzas() {
    let mut session = Managed::new().await;
    let request = format!("<r xmlns='{SM}'/>");
    for number in 0..50 {
        session.say(&number.to_string()).await;
        session.web.send(&request).await;
    }
    for number in 0..50 {
        session.desk.expect_message(&number.to_string()).await;
    }
    while session.web.managed().acknowledged < 50 {
        session.web.next_h().await;
    }
    let to = session.web.jid.clone();
    for number in 0..50 {
        session.desk.send_message(&to, &number.to_string());
        session.web.expect_message(&number.to_string()).await;
        session.web.acknowledge().await;
    }
    assert_eq!(session.web.fence().await, []);
}
