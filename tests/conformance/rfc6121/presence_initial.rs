//! 4.2: Initial Presence.

use super::friends::Friends;
use support::xml::{CLIENT, Element};

#[tokio::test]
async fn shows_contacts_to_each_other() {
    let friends = Friends::new().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    marie.send_presence("<show>chat</show>");
    let mut john = friends.online(&friends.john, "web").await;
    marie.expect_presence(&john.jid.clone(), "").await;
    let from = marie.jid.clone();
    let seen = |element: &Element| {
        element.is_presence(&from, "") && element.child(CLIENT, "show").is_some()
    };
    let presence = john.expect("the contact as it is", seen).await;
    assert_eq!(presence.child(CLIENT, "show").expect("seen").text(), "chat");
}

#[tokio::test]
async fn shows_resources_to_each_other() {
    let friends = Friends::to_be();
    let mut one = friends.online(&friends.john, "one").await;
    let mut two = friends.online(&friends.john, "two").await;
    one.expect_presence(&two.jid.clone(), "").await;
    two.expect_presence(&one.jid.clone(), "").await;
}

#[tokio::test]
async fn shows_every_resource_of_a_contact() {
    let friends = Friends::new().await;
    let one = friends.online(&friends.john, "one").await;
    let two = friends.online(&friends.john, "two").await;
    let mut marie = friends.online(&friends.marie, "web").await;
    marie.expect_presence(&one.jid, "").await;
    marie.expect_presence(&two.jid, "").await;
}

#[tokio::test]
async fn shows_nothing_before() {
    let friends = Friends::new().await;
    let mut silent = friends.login(&friends.john, "web").await;
    silent.roster().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    let (of_marie, of_john) = (marie.jid.clone(), silent.jid.clone());
    let shown = |element: &Element| element.is_presence(&of_john, "");
    marie.expect_none("presence of who sent none", shown).await;
    let shown = |element: &Element| element.is_presence(&of_marie, "");
    silent
        .expect_none("presence without being available", shown)
        .await;
}

#[tokio::test]
async fn shows_nothing_to_strangers() {
    let friends = Friends::to_be();
    let mut marie = friends.online(&friends.marie, "web").await;
    let john = friends.online(&friends.john, "web").await;
    let shown = |element: &Element| element.is_presence(&john.jid, "");
    marie.expect_none("presence of a stranger", shown).await;
}
