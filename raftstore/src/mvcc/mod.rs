//! The replicated state: keys with all their revisions, leases, alarms and members, as etcd's v3 API means them.
//!
//! One 64-bit revision counts the changes of the whole store. [`State`] is an immutable picture of it that costs a few
//! reference counts to take; reads work on such a picture and block nobody. [`Writer`] makes the next picture, one
//! committed command after the other, the same on every member. Values live in the database, by revision; in memory
//! is the index from keys to revisions.

mod compaction;
mod hash;
mod history;
mod index;
mod layout;
mod load;
mod newest;
mod range;
mod state;
#[cfg(test)]
mod tests;
mod txn;
mod validate;
mod writer;

pub use compaction::Compaction;
pub use hash::hash_kv;
pub use history::{KeyHistory, Newest, Revision};
pub use index::KeyIndex;
pub use layout::{Key, state_records};
pub use range::{Error, KeyRange, MAX_RESPONSE_HINT, range};
pub use state::{Lease, Position, State, Values};
pub use txn::read_txn;
pub use validate::{Limits, check_delete_range, check_put, check_range, check_txn, is_read_only, is_serializable};
pub use writer::{Change, ChangeEvent, Committed, Writer};
