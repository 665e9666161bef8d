//! Further writes and conditions of the transaction that writes an object.

use bytes::Bytes;

/// Keys are whole store keys (`/registry/ipaddresses/10.96.0.10`).
#[derive(Debug, Clone)]
pub enum Companion {
    /// The key must be absent, and is created with this value (JSON without resourceVersion).
    Create { key: String, value: Bytes },
    /// Removed if it is there.
    Delete { key: String },
    /// The key must still be at this modification revision (0: absent).
    Unchanged { key: String, revision: i64 },
}
