//! 4.6: Directed Presence.

use super::friends::Friends;
use support::xml::CLIENT;

#[tokio::test]
async fn reaches_strangers_who_hear_of_the_end() {
    let friends = Friends::to_be();
    let mut marie = friends.online(&friends.marie, "web").await;
    let john = friends.login(&friends.john, "web").await;
    john.send(&format!(
        "<presence xmlns='{CLIENT}' to='{}'><status>hello</status></presence>",
        marie.jid
    ));
    let presence = marie.expect_presence(&john.jid, "").await;
    let status = presence.child(CLIENT, "status").expect("a status");
    assert_eq!(status.text(), "hello");
    let jid = john.jid.clone();
    john.logout().await;
    marie.expect_presence(&jid, "unavailable").await;
}
