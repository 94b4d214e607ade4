//! 4.5: Unavailable Presence.

use super::friends::Friends;
use support::xml::CLIENT;

#[tokio::test]
async fn shows_a_goodbye_with_its_words() {
    let friends = Friends::new().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    let john = friends.online(&friends.john, "web").await;
    marie.expect_presence(&john.jid, "").await;
    john.send(&format!(
        "<presence xmlns='{CLIENT}' type='unavailable'><status>gone home</status></presence>"
    ));
    let presence = marie.expect_presence(&john.jid, "unavailable").await;
    let status = presence.child(CLIENT, "status").expect("a status");
    assert_eq!(status.text(), "gone home");
}

#[tokio::test]
async fn shows_the_end_of_a_session() {
    let friends = Friends::new().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    let john = friends.online(&friends.john, "web").await;
    marie.expect_presence(&john.jid, "").await;
    let jid = john.jid.clone();
    john.logout().await;
    marie.expect_presence(&jid, "unavailable").await;
}

#[tokio::test]
async fn shows_nothing_more_to_who_has_left() {
    let friends = Friends::new().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    let mut john = friends.online(&friends.john, "web").await;
    john.expect_presence(&marie.jid.clone(), "").await;
    marie.expect_presence(&john.jid.clone(), "").await;
    john.send(&format!("<presence xmlns='{CLIENT}' type='unavailable'/>"));
    marie
        .expect_presence(&john.jid.clone(), "unavailable")
        .await;
    marie.send_presence("<show>away</show>");
    marie.fence().await;
    let from = marie.jid.clone();
    let shown = |element: &support::xml::Element| element.is_presence(&from, "");
    john.expect_none("presence to who has left", shown).await;
}
