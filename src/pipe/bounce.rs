//! What becomes of stanzas that a client never got (XEP-0206 "Undelivered Stanzas"): senders hear.

use std::borrow::Cow;

use bytes::Bytes;

use crate::proto::{
    stanza::{IqType, Kind, MessageType, Stanza},
    xml::write,
};

/// The error that goes back to the sender of `stanza`; `None` where silence is right: presence, and
/// whatever is an answer itself.
pub fn bounce(stanza: &Stanza) -> Option<Stanza> {
    let (name, condition) = match stanza.kind() {
        Kind::Iq(IqType::Get | IqType::Set) => ("iq", "service-unavailable"),
        Kind::Message(MessageType::Other) => ("message", "recipient-unavailable"),
        _ => return None,
    };
    let mut text = format!("<{name} xmlns='jabber:client' type='error").into_bytes();
    let attributes: [(&str, Option<Cow<'_, str>>); 2] =
        [("' id='", stanza.id()), ("' to='", stanza.from())];
    for (name, value) in attributes {
        if let Some(value) = value {
            text.extend_from_slice(name.as_bytes());
            write::attribute_into(&mut text, &value);
        }
    }
    text.extend_from_slice(
        format!(
            "'><error type='wait'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>\
             </{name}>"
        )
        .as_bytes(),
    );
    Some(Stanza::from_trusted(text.into(), 0, Bytes::new()))
}
