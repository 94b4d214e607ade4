//! `[cluster]`: several gateways as one.

use std::sync::Arc;

use rustls::RootCertStore;

use super::{
    credentials::{self, Credentials},
    node::NodeName,
    reader::Section,
    url,
    value::Fault,
};

/// `[cluster]`
#[derive(Clone, Debug)]
pub struct Cluster {
    /// URLs of NATS servers. Empty: the gateway is alone.
    pub nats: Vec<String>,
    /// Gateways of one name are one.
    pub name: String,
    /// What this gateway is called among them; `None`: a name is drawn at each start.
    pub node: Option<NodeName>,
    /// The credentials that the gateway logs in to NATS with.
    pub credentials: Option<Credentials>,
    /// The only authorities that are trusted with TLS; absent: those of the system.
    pub authorities: Option<Arc<RootCertStore>>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            nats: Vec::new(),
            name: "rostergate".to_owned(),
            node: None,
            credentials: None,
            authorities: None,
        }
    }
}

/// The keys that only make sense beside `nats`.
const KEYS: [&str; 7] = [
    "node",
    "nats_user",
    "nats_password",
    "nats_password_file",
    "nats_token",
    "nats_token_file",
    "nats_ca",
];

/// Longest `name`, bytes.
const LONGEST: usize = 32;

impl Cluster {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut it = Self::default();
        if section.has_none("nats")
            && let Some(key) = KEYS.into_iter().find(|key| section.has(key))
        {
            let cure = "set cluster.nats, or leave it away";
            section.fault(key, Fault::new("without cluster.nats", cure));
        }
        section.list(&mut it.nats, "nats", url::nats);
        section.set(&mut it.name, "name", name);
        it.node = section.read("node", node);
        it.credentials = Credentials::read(section, &credentials::NATS, None);
        it.authorities = section.authorities("nats_ca");
        it
    }

    /// Whether there is more than this gateway.
    pub fn is_on(&self) -> bool {
        !self.nats.is_empty()
    }
}

/// A name that can stand in a subject of NATS.
fn name(text: &str) -> Result<String, Fault> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_legal) {
        return Ok(text.to_owned());
    }
    let cure = "write 1 to 32 letters, digits, - or _";
    Err(Fault::new("not the name of a cluster", cure))
}

fn node(text: &str) -> Result<NodeName, Fault> {
    NodeName::new(text).ok_or_else(|| {
        let cure = "write 1 to 16 of a to z and 0 to 9";
        Fault::new("not the name of a gateway", cure)
    })
}
