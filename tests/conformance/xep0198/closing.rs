//! 4, 6: what is acknowledged at the end, and that a session that ended in good order cannot be resumed.

use super::Managed;
use support::{
    webstream::{CLOSE_ELEMENT, h},
    xml::{FRAMING, SM},
};

#[tokio::test]
async fn ends_for_good_when_the_client_closes_the_stream() {
    let mut session = Managed::new().await;
    session.greet().await;
    let mut another = session.another().await;
    let state = session.web.managed().clone();
    session.web.log_out().await;
    session
        .desk
        .expect_presence(&state.jid, "unavailable")
        .await;
    let failed = another.resume(state).await;
    assert!(failed.is(SM, "failed"), "{failed}");
}

#[tokio::test]
async fn ends_for_good_after_a_stream_error() {
    let mut session = Managed::new().await;
    session.greet().await;
    let mut another = session.another().await;
    let state = session.web.managed().clone();
    session.web.send("<presence").await;
    let steps = session.web.end().await.steps;
    assert!(
        steps.ends_with(&["<close/>".to_owned(), "1000".to_owned()]),
        "{steps:?}"
    );
    session
        .desk
        .expect_presence(&state.jid, "unavailable")
        .await;
    let failed = another.resume(state).await;
    assert!(failed.is(SM, "failed"), "{failed}");
}

/// The client then knows what it need not send again.
#[tokio::test]
async fn acknowledges_before_it_closes() {
    let mut session = Managed::new().await;
    session.say("one").await;
    session.desk.expect_message("one").await;
    session.web.fence().await;
    session.web.expect_acknowledged().await;
    session.say("two").await;
    session.desk.expect_message("two").await;
    session.web.send(CLOSE_ELEMENT).await;
    let mut last = None;
    loop {
        let element = session.web.receive().await.expect("<close/>");
        if element.is(SM, "a") {
            last = Some(h(&element));
        } else if element.is(FRAMING, "close") {
            break;
        }
    }
    assert!(matches!(last, Some(2 | 3)), "{last:?}");
}
