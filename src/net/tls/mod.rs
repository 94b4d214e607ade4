//! TLS: the certificates that our listeners show and ask for, and the checks of those that XMPP servers show.
//!
//! Files are read here; when that happens, and what a policy is called in the configuration, is
//! not known here. The provider is always *ring*, named outright; the process default is neither
//! read nor set.

mod client;
mod clients;
mod error;
mod identity;
mod pem;
mod server;

pub use client::{Trust, client_config, system_roots};
pub use clients::{ClientAuthority, ClientChain, Refusal};
pub use error::TlsError;
pub use identity::Identity;
pub(crate) use pem::authorities;
pub use server::CertificateStore;
