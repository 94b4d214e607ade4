//! 4.4: Subsequent Presence Broadcast.

use super::friends::Friends;
use support::xml::{CLIENT, Element};

#[tokio::test]
async fn shows_changes_as_they_were_sent() {
    let friends = Friends::new().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    let john = friends.online(&friends.john, "web").await;
    marie.expect_presence(&john.jid, "").await;
    john.send_presence(
        "<show>dnd</show><status xml:lang='de'>schreibt &amp; liest</status>\
         <priority>-3</priority><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>",
    );
    let changed = |element: &Element| {
        element.is_presence(&john.jid, "") && element.child(CLIENT, "show").is_some()
    };
    let presence = marie.expect("the change", changed).await;
    let text = |name| presence.child(CLIENT, name).map(Element::text);
    assert_eq!(text("show").as_deref(), Some("dnd"), "{presence}");
    assert_eq!(
        text("status").as_deref(),
        Some("schreibt & liest"),
        "{presence}"
    );
    assert_eq!(text("priority").as_deref(), Some("-3"), "{presence}");
    let caps = presence.child("http://jabber.org/protocol/caps", "c");
    assert_eq!(
        caps.and_then(|caps| caps.attr("ver")),
        Some("v"),
        "{presence}"
    );
}

#[tokio::test]
async fn shows_changes_in_order() {
    let friends = Friends::new().await;
    let mut marie = friends.online(&friends.marie, "web").await;
    let mut john = friends.online(&friends.john, "web").await;
    // Who has not yet seen the other may be shown the last of several changes alone.
    john.expect_presence(&marie.jid.clone(), "").await;
    for number in 0..20 {
        john.send_presence(&format!("<status>{number}</status>"));
    }
    for number in 0..20 {
        let changed = |element: &Element| {
            element.is_presence(&john.jid, "") && element.child(CLIENT, "status").is_some()
        };
        let presence = marie.expect("the next change", changed).await;
        let status = presence.child(CLIENT, "status").expect("seen").text();
        assert_eq!(status, number.to_string());
    }
}
