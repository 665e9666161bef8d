//! The keys of the state database. The first byte is the kind; keys of one kind have one length.
//!
//! ```text
//! r <revision: 8> <place in its transaction: 4>   a KeyValue; version 0 marks a delete
//! l <lease: 8>                                    a LeaseGrantRequest
//! a <member: 8> <alarm: 4>                        nothing
//! n <member: 8>                                   a MemberAttributes
//! h                                               the StateHead
//! v                                               the StoredMembership
//! c                                               how far the history is compacted on this member's disk
//! i                                               the SnapshotReceipt of a state that is being received: it is not whole
//! ```
//!
//! On the disk the records `r` are bundled, under the kind `x` (`disk::bundles`).

use std::ops::Bound;

use bytes::Bytes;

use super::Revision;
use crate::disk::{Records, Storage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Record(Revision),
    Lease(i64),
    Alarm(u64, i32),
    Member(u64),
    Head,
    Membership,
    Compacted,
    Receipt,
}

impl Key {
    pub fn encode(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(13);
        match self {
            Self::Record(revision) => {
                key.push(b'r');
                key.extend_from_slice(&revision.main.to_be_bytes());
                key.extend_from_slice(&revision.sub.to_be_bytes());
            }
            Self::Lease(id) => {
                key.push(b'l');
                key.extend_from_slice(&id.to_be_bytes());
            }
            Self::Alarm(member, alarm) => {
                key.push(b'a');
                key.extend_from_slice(&member.to_be_bytes());
                key.extend_from_slice(&alarm.to_be_bytes());
            }
            Self::Member(member) => {
                key.push(b'n');
                key.extend_from_slice(&member.to_be_bytes());
            }
            Self::Head => key.push(b'h'),
            Self::Membership => key.push(b'v'),
            Self::Compacted => key.push(b'c'),
            Self::Receipt => key.push(b'i'),
        }
        key
    }

    pub fn decode(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.split_first()?;
        Some(match (kind, rest.len()) {
            (b'r', 12) => Self::Record(Revision {
                main: i64::from_be_bytes(rest[..8].try_into().ok()?),
                sub: u32::from_be_bytes(rest[8..].try_into().ok()?),
            }),
            (b'l', 8) => Self::Lease(i64::from_be_bytes(rest.try_into().ok()?)),
            (b'a', 12) => {
                let member = u64::from_be_bytes(rest[..8].try_into().ok()?);
                Self::Alarm(member, i32::from_be_bytes(rest[8..].try_into().ok()?))
            }
            (b'n', 8) => Self::Member(u64::from_be_bytes(rest.try_into().ok()?)),
            (b'h', 0) => Self::Head,
            (b'v', 0) => Self::Membership,
            (b'c', 0) => Self::Compacted,
            (b'i', 0) => Self::Receipt,
            _ => return None,
        })
    }
}

/// The revisions from `first` to `last`, both in, as they lie in the database.
pub fn state_records(storage: &dyn Storage, first: i64, last: i64) -> Records {
    let start = Key::Record(Revision { main: first, sub: 0 }).encode();
    let end = Key::Record(Revision { main: last, sub: u32::MAX }).encode();
    storage.scan(Bound::Included(&start), Bound::Included(&end))
}

/// The stored form of nothing.
pub(super) const EMPTY: Bytes = Bytes::from_static(&[]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_and_ordered_by_revision() {
        let revision = |main, sub| Key::Record(Revision { main, sub });
        let keys = [
            revision(1, 0),
            revision(1, 1),
            revision(256, 0),
            Key::Lease(-1),
            Key::Alarm(3, 1),
            Key::Member(u64::MAX),
            Key::Head,
            Key::Membership,
            Key::Compacted,
            Key::Receipt,
        ];
        for key in keys {
            assert_eq!(Key::decode(&key.encode()), Some(key));
        }
        assert!(revision(1, 1).encode() < revision(2, 0).encode());
        assert!(revision(255, 9).encode() < revision(256, 0).encode());
    }
}
