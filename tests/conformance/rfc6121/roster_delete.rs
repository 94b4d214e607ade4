//! 2.5: Deleting a Roster Item.

use super::friends::{Friends, expect_push};

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
    john.expect_presence(&marie.jid.clone(), "unavailable")
        .await;
    marie
        .expect_presence(&john.jid.clone(), "unavailable")
        .await;
    assert!(john.roster().await.is_empty());
    john.send_presence("<show>away</show>");
    let from = john.jid.clone();
    john.fence().await;
    let shown = |element: &crate::support::xml::Element| element.is_presence(&from, "");
    marie
        .expect_none("presence of who is no contact", shown)
        .await;
}
