//! Who a process is and who it speaks with: mutual TLS with identities from the cluster's CA.
//!
//! An identity is a client certificate's common name (the user) and organizations (the groups), as Kubernetes reads them.

mod files;
mod peer;

pub use files::{ClientAuth, Error, TlsFiles, TlsMaterial};
pub use peer::Identity;
