//! XEP-0206, XMPP Over BOSH: a module per section, by anchor.

mod create;
mod initiate;
mod preconditions_sasl;
mod wrapper;
