//! Values that tests share.

use jid::BareJid;

use super::{Contact, Subscription, Username};

pub(crate) fn user(name: &str) -> Username {
    Username::prepare(name).unwrap()
}

pub(crate) fn contact(jid: &str) -> Contact {
    Contact::new(BareJid::new(jid).unwrap(), None, vec![], Subscription::Both)
}
