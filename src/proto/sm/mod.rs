//! Stream management (XEP-0198), without resumption: who owns which stanza.
//!
//! [`initiator`] is what the gateway is towards an XMPP server.

pub mod initiator;
