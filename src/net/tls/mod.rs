//! TLS: the certificates that our listeners show and ask for, and the checks of those that servers show.
//!
//! The files are read here. When that happens, and how the configuration names a policy, is not known here. The
//! provider is always *ring*, passed explicitly; the default of the process is neither read nor set.

mod client;
mod clients;
mod error;
mod identity;
mod pem;
mod server;

pub use client::{Trust, client_config};
pub use clients::{ClientAuthority, ClientChain, Refusal};
pub use error::TlsError;
pub use identity::Identity;
pub(crate) use pem::authorities;
pub use server::CertificateStore;
