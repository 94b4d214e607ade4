//! Availability of a host's users (RFC 6121 §4), as the site is told of it: who is available, what they say of
//! themselves, and what changes. Plain values without I/O; who tells the site is [`crate::events`].
//!
//! [`users`] knows who is available, [`stated`] reads what a presence says, `seen` remembers when the others left, and
//! [`queue`] holds the events that the site has yet to hear.
//!
//! A user whose last resource has gone still counts as available for a while (the *delay*): whoever loads a page again,
//! or follows a link, is gone and back within seconds, and nobody wants to hear of that. There is one truth: a user
//! [is available](users::View::is_available) exactly if the latest event of the user is `online`.
//!
//! Several gateways tell one site, by ways of their own. Before one tells that somebody has come or gone, it asks the others
//! whether they have the user; after it was told, it asks again, as another one may have told the contrary at the same time, and
//! tells what is true. So what was heard last is true, once nothing changes any more.

pub mod queue;
mod seen;
pub mod stated;
#[cfg(test)]
mod tests;
pub mod users;
