//! Whether a lease ever ended too early: before its time after the last renewal that somebody was told of.
//!
//! That a lease begins and ends is read off the entries that are applied; its time is the run's. The clock of a member may
//! jump ahead, which a machine's monotonic clock does not do: a lease may end earlier by as much as any member's did.

use std::collections::BTreeMap;

use keelson_wire::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};
use keelson_wire::raft::command::Change;

use super::net::Id;

/// Leases that end within a run have shorter times.
pub const SHORT_SECONDS: i64 = 100;
/// A step of the run, at both ends.
const EXACTNESS: u64 = 2;

/// What a client was told. It is judged after the entries of the same moment.
#[derive(Debug)]
pub enum Told {
    /// The lease lives, from when that was asked for.
    Renewed { id: i64, asked: u64 },
    /// A revocation is done: it will not happen later.
    Revoked { id: i64 },
}

/// One lease from its grant to its end. An id may be granted anew.
#[derive(Debug)]
struct Life {
    millis: u64,
    granted: u64,
    /// Its time has not begun before this.
    since: u64,
    ended: Option<u64>,
    /// A client may have ended it.
    is_revoked: bool,
}

#[derive(Default)]
pub struct Leases {
    lives: BTreeMap<i64, Vec<Life>>,
    /// Revocations of which clients do not know what became.
    revocations: BTreeMap<i64, u64>,
    /// When, whose clock, and by how many milliseconds.
    jumps: Vec<(u64, Id, u64)>,
    /// For the trace.
    pub news: Vec<String>,
    pub renewals: u64,
    /// Leases whose time was up.
    pub ended: u64,
    /// Entries were gone before they were seen: from here on nothing is known.
    pub is_torn: bool,
}

type Outcome = Result<(), String>;

impl Leases {
    pub fn jumped(&mut self, now: u64, member: Id, millis: u64) {
        self.jumps.push((now, member, millis));
    }

    /// A client is about to revoke it.
    pub fn revoking(&mut self, id: i64) {
        *self.revocations.entry(id).or_default() += 1;
    }

    pub fn told(&mut self, told: &Told) -> Outcome {
        match *told {
            Told::Renewed { id, asked } => self.renewed(id, asked),
            Told::Revoked { id } => {
                self.revocations.entry(id).and_modify(|open| *open -= 1);
                Ok(())
            }
        }
    }

    /// An entry was applied that nobody had applied before.
    pub fn applied(&mut self, change: Option<&Change>, now: u64) -> Outcome {
        match change {
            Some(Change::LeaseGrant(grant)) => self.granted(grant, now),
            Some(Change::LeaseRevoke(LeaseRevokeRequest { id })) => return self.end(*id, now),
            _ => {}
        }
        Ok(())
    }

    fn granted(&mut self, grant: &LeaseGrantRequest, now: u64) {
        let lives = self.lives.entry(grant.id).or_default();
        if lives.last().is_none_or(|life| life.ended.is_some()) {
            let millis = grant.ttl.unsigned_abs() * 1_000;
            self.news.push(format!("lease {} is granted for {millis} ms", grant.id));
            lives.push(Life { millis, granted: now, since: now, ended: None, is_revoked: false });
        }
    }

    fn end(&mut self, id: i64, now: u64) -> Outcome {
        let is_revoked = self.revocations.get(&id).is_some_and(|open| *open > 0);
        let Some(life) = self.lives.get_mut(&id).and_then(|lives| lives.last_mut()) else { return Ok(()) };
        if life.ended.is_some() {
            return Ok(());
        }
        (life.ended, life.is_revoked) = (Some(now), is_revoked);
        self.news.push(format!("lease {id} has ended, by a client: {is_revoked}"));
        self.ended += u64::from(!is_revoked);
        let life = self.lives[&id].len() - 1;
        self.judge(id, life)
    }

    fn renewed(&mut self, id: i64, asked: u64) -> Outcome {
        self.renewals += 1;
        let lives = self.lives.get_mut(&id).map(Vec::as_mut_slice).unwrap_or_default();
        let mut meant =
            lives.iter_mut().enumerate().rev().filter(|(_, life)| life.ended.is_none_or(|ended| ended >= asked));
        match (meant.next(), meant.next()) {
            (Some((place, life)), None) => {
                life.since = life.since.max(asked);
                self.news.push(format!("lease {id} is renewed from {asked} on"));
                self.judge(id, place)
            }
            // It was granted anew meanwhile.
            (Some(_), Some(_)) => Ok(()),
            (None, _) if self.is_torn => Ok(()),
            (None, _) => Err(format!("lease {id} was not there, and a client was told that it was renewed")),
        }
    }

    fn judge(&self, id: i64, place: usize) -> Outcome {
        let life = &self.lives[&id][place];
        let Some(ended) = life.ended.filter(|_| !life.is_revoked && !self.is_torn) else { return Ok(()) };
        let mut jumped: BTreeMap<Id, u64> = BTreeMap::new();
        for (at, member, millis) in &self.jumps {
            if (life.since..=ended).contains(at) {
                *jumped.entry(*member).or_default() += millis;
            }
        }
        let lived = ended - life.since.min(ended) + jumped.into_values().max().unwrap_or(0);
        if lived + EXACTNESS < life.millis {
            let Life { millis, granted, since, .. } = life;
            return Err(format!(
                "lease {id} of {millis} ms, granted at {granted} and renewed at {since}, ended at {ended}"
            ));
        }
        Ok(())
    }
}
