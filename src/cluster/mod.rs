//! Several gateways as one: which there are, and what they ask each other, over NATS.
//!
//! | file | what |
//! |---|---|
//! | `members` | who is there, and whether this gateway may be a member; pure |
//! | `wire` | the encoding; pure |
//! | `assembly` | bodies that come in parts; pure |
//! | `answering` | what others have asked, bounded; pure |
//! | `nats` | the handle: sends, listens, waits |
//!
//! Nothing here knows what a question is about: that is for those who ask, and for [`Answers`].

pub mod answering;
pub mod assembly;
pub mod members;
mod nats;
#[cfg(test)]
mod tests;
pub mod wire;

pub use self::{
    members::{Member, Trouble},
    nats::{Answers, Cluster, NameTaken, SetupError, Unanswered, own_name},
    wire::Question,
};
pub use crate::config::NodeName;
