//! Renderer of contacts as XML: the `<item/>` elements of RFC 6121 §2.1.2, sorted as the roster is.
//!
//! The elements bear no `xmlns`; they belong inside `<query xmlns='jabber:iq:roster'>`.

use bytes::Bytes;

use super::Contact;
use crate::proto::xml::write::Tag;

/// All items one after the other, and where each one ends.
pub(crate) fn items(contacts: &[Contact]) -> (Bytes, Box<[usize]>) {
    let mut out = Vec::with_capacity(contacts.len() * 96);
    let mut ends = Vec::with_capacity(contacts.len());
    for contact in contacts {
        item(&mut out, contact);
        ends.push(out.len());
    }
    // Rosters live long: give back what the estimate was too large by.
    out.shrink_to_fit();
    (out.into(), ends.into())
}

fn item(out: &mut Vec<u8>, contact: &Contact) {
    let item = Tag::within(out, "item")
        .attribute("jid", contact.jid.as_str())
        .attribute_if("name", contact.name.as_deref())
        .attribute("subscription", contact.subscription.as_str());
    if contact.groups.is_empty() {
        item.empty();
        return;
    }
    item.content(|out| {
        for group in &contact.groups {
            Tag::within(out, "group").text(group);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::{Subscription, testing::contact};

    fn rendered(contact: Contact) -> String {
        String::from_utf8(items(&[contact]).0.to_vec()).unwrap()
    }

    #[test]
    fn an_item_bears_what_is_known() {
        let mut it = contact("a@x.org");
        assert_eq!(
            rendered(it.clone()),
            "<item jid='a@x.org' subscription='both'/>"
        );
        it.name = Some("Anna".into());
        it.groups = vec!["Work".into(), "Friends".into()];
        it.subscription = Subscription::To;
        assert_eq!(
            rendered(it),
            "<item jid='a@x.org' name='Anna' subscription='to'>\
             <group>Work</group><group>Friends</group></item>"
        );
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        let mut it = contact("a@x.org");
        it.name = Some("<&>'\"\u{1}\u{ffff}é\u{1f600}".into());
        it.groups = vec!["</group>".into()];
        assert_eq!(
            rendered(it),
            "<item jid='a@x.org' name='&lt;&amp;&gt;&apos;&quot;é\u{1f600}' subscription='both'>\
             <group>&lt;/group&gt;</group></item>"
        );
    }
}
