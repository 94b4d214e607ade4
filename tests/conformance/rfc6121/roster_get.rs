//! 2.1.3 and 2.1.4, 2.2: Roster Get, Roster Result, Retrieving the Roster on Login.

use super::friends::{Friends, is_refused};
use support::xml::ROSTER;

#[tokio::test]
async fn answers_with_the_contacts() {
    let friends = Friends::new().await;
    friends.rename("Marie & Co.", "Paris").await;
    let mut client = friends.login(&friends.john, "web").await;
    let reply = client
        .iq("get", "", &format!("<query xmlns='{ROSTER}'/>"))
        .await;
    assert_eq!(reply.attr("type"), Some("result"), "{reply}");
    let from = reply.attr("from");
    assert!(
        from.is_none_or(|from| from == friends.john.jid()),
        "{reply}"
    );
    let to = reply.attr("to");
    assert!(to.is_none_or(|to| to == client.jid), "{reply}");
    let query = reply.child(ROSTER, "query").expect("a result has a query");
    let items: Vec<_> = query.children().collect();
    assert_eq!(items.len(), 1, "{reply}");
    assert_eq!(items[0].attr("jid"), Some(&*friends.marie.jid()), "{reply}");
    assert_eq!(items[0].attr("name"), Some("Marie & Co."), "{reply}");
    assert_eq!(items[0].attr("subscription"), Some("both"), "{reply}");
    let groups: Vec<_> = items[0].children().map(|group| group.text()).collect();
    assert_eq!(groups, ["Paris"], "{reply}");
}

#[tokio::test]
async fn answers_without_items_where_there_are_no_contacts() {
    let friends = Friends::to_be();
    let mut client = friends.login(&friends.john, "web").await;
    assert!(client.roster().await.is_empty());
}

#[tokio::test]
async fn answers_what_is_addressed_to_the_own_account() {
    let friends = Friends::new().await;
    let mut client = friends.login(&friends.john, "web").await;
    let own = friends.john.jid();
    let reply = client
        .iq("get", &own, &format!("<query xmlns='{ROSTER}'/>"))
        .await;
    assert!(reply.attr("from").is_none_or(|from| from == own), "{reply}");
    let query = reply.child(ROSTER, "query").expect("a result has a query");
    assert_eq!(query.children().count(), 1, "{reply}");
}

#[tokio::test]
async fn answers_again() {
    let friends = Friends::new().await;
    let mut client = friends.login(&friends.john, "web").await;
    let first = client.roster().await;
    assert_eq!(first.len(), 1);
    assert_eq!(client.roster().await, first);
}

#[tokio::test]
async fn shows_nobody_the_list_of_another() {
    let friends = Friends::new().await;
    let mut client = friends.login(&friends.john, "web").await;
    let query = format!("<query xmlns='{ROSTER}'/>");
    let reply = client.iq("get", &friends.marie.jid(), &query).await;
    assert!(is_refused(&reply), "{reply}");
}
