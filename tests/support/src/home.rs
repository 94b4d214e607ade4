//! Home: an XMPP server that stores messages for those who are away.

use crate::{
    client::{Account, Client},
    ejabberd::Ejabberd,
    gateway::{Builder, Gateway},
    prosody::Prosody,
};

/// A server with offline storage.
pub enum Home {
    Prosody(Box<Prosody>),
    Ejabberd(&'static Ejabberd),
}

impl Home {
    /// One that keeps as many unacknowledged stanzas of a session.
    pub fn prosody(queue: u32) -> Self {
        let prosody = Prosody::builder().option(&format!("smacks_max_queue_size = {queue}"));
        Self::Prosody(Box::new(prosody.start()))
    }

    pub fn ejabberd() -> Self {
        Self::Ejabberd(Ejabberd::shared())
    }

    pub async fn account(&self, name: &str) -> Account {
        match self {
            Self::Prosody(prosody) => prosody.account(name),
            Self::Ejabberd(ejabberd) => ejabberd.account(name).await,
        }
    }

    pub async fn contact(&self, name: &str) -> Client {
        match self {
            Self::Prosody(prosody) => prosody.contact(name).await,
            Self::Ejabberd(ejabberd) => ejabberd.contact(name).await,
        }
    }

    /// A gateway before it.
    pub fn gateway(&self) -> Builder {
        match self {
            Self::Prosody(prosody) => Gateway::builder(&**prosody),
            // It keeps 5,000 stanzas.
            Self::Ejabberd(ejabberd) => {
                Gateway::builder(*ejabberd).session("max_unconfirmed = 4000")
            }
        }
    }
}
