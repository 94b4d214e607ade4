//! 2.5: Deleting a Roster Item.

use super::friends::{Friends, expect_push};
use support::{
    client::{Account, Client},
    xml::Element,
};

#[tokio::test]
async fn pushes_the_removal_and_hides_both() {
    let friends = Friends::new().await;
    let mut john = friends.online(&friends.john, "web").await;
    let mut marie = friends.online(&friends.marie, "web").await;
    john.expect_presence(&marie.jid.clone(), "").await;
    marie.expect_presence(&john.jid.clone(), "").await;
    friends.remove().await;
    let item = expect_push(&mut john, &friends.john).await;
    assert_eq!(item.attr("jid"), Some(&*friends.marie.jid()), "{item}");
    assert_eq!(item.attr("subscription"), Some("remove"), "{item}");
    expect_gone(&mut john, &marie.jid, &friends.marie).await;
    expect_gone(&mut marie, &john.jid, &friends.john).await;
    assert!(john.roster().await.is_empty());
    john.send_presence("<show>away</show>");
    let from = john.jid.clone();
    john.fence().await;
    let shown = |element: &Element| element.is_presence(&from, "");
    marie
        .expect_none("presence of who is no contact", shown)
        .await;
}

/// The one resource goes away, or the contact with all that it has.
async fn expect_gone(client: &mut Client, full: &str, account: &Account) {
    let bare = account.jid();
    let gone = |element: &Element| {
        [full, &bare]
            .iter()
            .any(|from| element.is_presence(from, "unavailable"))
    };
    client.expect("the contact to go away", gone).await;
}
