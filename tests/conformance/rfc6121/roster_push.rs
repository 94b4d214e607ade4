//! 2.1.6: Roster Push.

use super::friends::{Friends, expect_push};
use support::{
    client::is_push,
    xml::{CLIENT, ROSTER, escape},
};

#[tokio::test]
async fn tells_of_a_change() {
    let friends = Friends::new().await;
    let mut client = friends.online(&friends.john, "web").await;
    friends.rename("Marie", "Paris").await;
    let item = expect_push(&mut client, &friends.john).await;
    assert_eq!(item.attr("jid"), Some(&*friends.marie.jid()), "{item}");
    assert_eq!(item.attr("name"), Some("Marie"), "{item}");
    assert_eq!(item.attr("subscription"), Some("both"), "{item}");
    let groups: Vec<_> = item.children().map(|group| group.text()).collect();
    assert_eq!(groups, ["Paris"], "{item}");
    friends.rename("Marianne", "Lyon").await;
    let item = expect_push(&mut client, &friends.john).await;
    assert_eq!(item.attr("name"), Some("Marianne"), "{item}");
    let groups: Vec<_> = item.children().map(|group| group.text()).collect();
    assert_eq!(groups, ["Lyon"], "{item}");
}

#[tokio::test]
async fn tells_every_resource_that_has_asked_for_the_list() {
    let friends = Friends::new().await;
    let mut one = friends.online(&friends.john, "one").await;
    let mut two = friends.online(&friends.john, "two").await;
    let mut silent = friends.login(&friends.john, "silent").await;
    silent.roster().await;
    let mut other = friends.login(&friends.john, "other").await;
    other.send_presence("");
    friends.rename("Marie", "Paris").await;
    for client in [&mut one, &mut two, &mut silent] {
        let item = expect_push(client, &friends.john).await;
        assert_eq!(item.attr("name"), Some("Marie"), "{item}");
    }
    other
        .expect_none("a push that it did not ask for", is_push)
        .await;
}

#[tokio::test]
async fn takes_any_reply() {
    let friends = Friends::new().await;
    let mut client = friends.online(&friends.john, "web").await;
    for name in ["one", "two"] {
        friends.rename(name, "Paris").await;
        let push = client.expect("a push", is_push).await;
        // The client has confirmed it already. It does so again, and then complains.
        let id = escape(push.attr("id").expect("a push has an id"));
        client.send(&format!(
            "<iq xmlns='{CLIENT}' type='result' id='{id}'/>\
             <iq xmlns='{CLIENT}' type='error' id='{id}'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        ));
        let nothing = client.fence().await;
        let replies = nothing.iter().filter(|element| element.is(CLIENT, "iq"));
        assert_eq!(replies.count(), 0, "{nothing:?}");
    }
    let query = client
        .iq("get", "", &format!("<query xmlns='{ROSTER}'/>"))
        .await;
    assert_eq!(query.attr("type"), Some("result"), "{query}");
}
