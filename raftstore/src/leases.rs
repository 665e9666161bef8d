//! Leases: how long each has left.
//!
//! That a lease exists is replicated; its time runs on the leader alone. A new leader gives every lease its whole time
//! again, so a change of leader never cuts one short, and time runs on the monotonic clock, so the wall clock may jump.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use keelson_process::BoxError;
use keelson_process::supervision::Role;
use keelson_wire::etcdserverpb::LeaseRevokeRequest;
use keelson_wire::raft as wire;
use keelson_wire::raft::raft_client::RaftClient;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::mvcc::Lease;
use crate::raft::{Consensus, PeerChannel};
use crate::refusal::Refusal;

/// Leases that are revoked in one turn at most: many may end at one moment. As many in a second as in etcd.
const REVOKE_TOGETHER: usize = 500;
/// As in etcd: about 285 years.
pub const MAX_TTL: i64 = 9_000_000_000;

#[derive(Clone)]
pub struct Leases {
    consensus: Arc<Consensus>,
    deadlines: Arc<Mutex<Deadlines>>,
}

/// Pure: what ends when.
#[derive(Default)]
pub struct Deadlines {
    /// The leadership that these deadlines belong to.
    term: Option<u64>,
    known: OrdMap<i64, Lease>,
    by_lease: HashMap<i64, Instant>,
    queue: BTreeSet<(Instant, i64)>,
}

impl Deadlines {
    /// Takes in which leases there are. With a new term each has its whole time before it.
    pub fn update(&mut self, term: u64, leases: &OrdMap<i64, Lease>, now: Instant) {
        if self.term != Some(term) {
            *self = Self { term: Some(term), ..Self::default() };
        }
        if self.known.ptr_eq(leases) {
            return;
        }
        // What two pictures share is skipped: a change costs what changed, however many leases there are.
        let known = std::mem::replace(&mut self.known, leases.clone());
        for difference in known.diff(leases) {
            match difference {
                DiffItem::Add(id, lease) => self.set(*id, now + seconds(lease.ttl)),
                DiffItem::Remove(id, _) => self.forget(*id),
                // It ended, and its id was granted anew, between two looks.
                DiffItem::Update { old: (_, old), new: (id, new) } if old.granted != new.granted => {
                    self.set(*id, now + seconds(new.ttl));
                }
                DiffItem::Update { .. } => {}
            }
        }
    }

    /// Begins a lease's time anew, unless it is up: then the lease is being ended, and nothing holds it any more.
    pub fn renew(&mut self, id: i64, ttl: i64, now: Instant) -> bool {
        let lives = self.by_lease.get(&id).is_some_and(|deadline| *deadline > now);
        if lives {
            self.set(id, now + seconds(ttl));
        }
        lives
    }

    fn set(&mut self, id: i64, deadline: Instant) {
        self.forget(id);
        self.by_lease.insert(id, deadline);
        self.queue.insert((deadline, id));
    }

    fn forget(&mut self, id: i64) {
        if let Some(deadline) = self.by_lease.remove(&id) {
            self.queue.remove(&(deadline, id));
        }
    }

    pub fn ended(&self, now: Instant, limit: usize) -> Vec<i64> {
        self.queue.iter().take_while(|(deadline, _)| *deadline <= now).take(limit).map(|(_, id)| *id).collect()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.clamp(0, MAX_TTL) as u64)
}

impl Leases {
    pub fn new(consensus: Arc<Consensus>) -> Self {
        Self { consensus, deadlines: Arc::default() }
    }

    /// etcd's shortest: longer than an election takes.
    pub fn min_ttl(&self) -> i64 {
        (self.consensus.settings().election_timeout * 3 / 2).as_secs_f64().ceil() as i64
    }

    /// Begins the time anew; 0 if there is no such lease. Asks the leader if it is another.
    pub async fn renew(&self, id: i64) -> Result<i64, Refusal> {
        if self.consensus.leadership().is_leader {
            return self.renew_here(id).await;
        }
        let request = wire::RenewLeaseRequest { cluster_id: self.consensus.cluster_id(), id };
        let answer = self.leader_client()?.renew_lease(request).await.map_err(|_| Refusal::LeaderChanged)?;
        Ok(answer.into_inner().ttl)
    }

    /// Waits, as etcd does, for the end of a lease whose time is up.
    pub async fn renew_here(&self, id: i64) -> Result<i64, Refusal> {
        // Whoever was deposed and does not know it must not say that a lease lives, whether to its own client or to that
        // of another member that does not know it either.
        self.consensus.read_barrier().await?;
        let machine = self.consensus.machine();
        loop {
            let leadership = self.consensus.leadership();
            if !leadership.is_leader {
                return Err(Refusal::NotLeader);
            }
            let state = machine.state();
            let Some(lease) = state.leases.get(&id) else { return Ok(0) };
            {
                let (mut deadlines, now) = (self.deadlines.lock(), Instant::now());
                deadlines.update(leadership.term, &state.leases, now);
                if deadlines.renew(id, lease.ttl, now) {
                    return Ok(lease.ttl);
                }
            }
            let ended = machine.wait_applied(state.applied_index() + 1);
            tokio::time::timeout(self.consensus.patience(), ended).await.map_err(|_| Refusal::Timeout)?;
        }
    }

    /// Seconds left and seconds granted; -1 and 0 if there is no such lease.
    pub async fn remaining(&self, id: i64) -> Result<(i64, i64), Refusal> {
        if self.consensus.leadership().is_leader {
            return self.remaining_here(id);
        }
        let request = wire::RemainingLeaseRequest { cluster_id: self.consensus.cluster_id(), id };
        let answer = self.leader_client()?.remaining_lease(request).await.map_err(|_| Refusal::LeaderChanged)?;
        let answer = answer.into_inner();
        Ok((answer.ttl, answer.granted_ttl))
    }

    pub fn remaining_here(&self, id: i64) -> Result<(i64, i64), Refusal> {
        let leadership = self.consensus.leadership();
        if !leadership.is_leader {
            return Err(Refusal::NotLeader);
        }
        let state = self.consensus.machine().state();
        let Some(lease) = state.leases.get(&id) else { return Ok((-1, 0)) };
        let now = Instant::now();
        let mut deadlines = self.deadlines.lock();
        deadlines.update(leadership.term, &state.leases, now);
        let left = deadlines.by_lease.get(&id).map_or(seconds(lease.ttl), |deadline| deadline.duration_since(now));
        Ok((left.as_secs_f64().ceil() as i64, lease.ttl))
    }

    fn leader_client(&self) -> Result<RaftClient<PeerChannel>, Refusal> {
        let leader = self.consensus.leadership().leader.ok_or(Refusal::NoLeader)?;
        let peer = self.consensus.peer(leader).ok_or(Refusal::NoLeader)?;
        self.consensus.dialer().client(&peer).map_err(|_| Refusal::NoLeader)
    }
}

/// The role that ends leases. Its mail is the passing of time.
pub struct Keeper {
    leases: Leases,
}

impl Keeper {
    pub fn new(leases: Leases) -> Self {
        Self { leases }
    }
}

impl Role for Keeper {
    type Mail = ();

    async fn handle(&mut self, (): ()) -> Result<(), BoxError> {
        let consensus = &self.leases.consensus;
        let leadership = consensus.leadership();
        let ended = {
            let mut deadlines = self.leases.deadlines.lock();
            if !leadership.is_leader {
                deadlines.clear();
                return Ok(());
            }
            deadlines.update(leadership.term, &consensus.machine().state().leases, Instant::now());
            deadlines.ended(Instant::now(), REVOKE_TOGETHER)
        };
        let revoked = ended.into_iter().map(|id| {
            let revoke = wire::command::Change::LeaseRevoke(LeaseRevokeRequest { id });
            // By the next leader's count it may have lived on: what this one decided is nothing to that one.
            consensus.propose_as_leader(leadership.term, wire::Command { change: Some(revoke) })
        });
        for outcome in futures::future::join_all(revoked).await {
            if let Err(refusal) = outcome {
                // It is tried again at the next turn, here or by the next leader.
                tracing::debug!(%refusal, "an ended lease could not be revoked");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_gives_each_lease_its_whole_time() {
        let start = Instant::now();
        let leases = OrdMap::from_iter([(7, Lease { ttl: 10, ..Lease::default() })]);
        let mut deadlines = Deadlines::default();
        deadlines.update(1, &leases, start);
        let later = start + Duration::from_secs(9);
        assert!(deadlines.ended(later, 10).is_empty());
        assert_eq!(deadlines.ended(start + Duration::from_secs(10), 10), [7]);
        deadlines.update(2, &leases, later);
        assert!(deadlines.ended(start + Duration::from_secs(18), 10).is_empty());
        assert_eq!(deadlines.ended(start + Duration::from_secs(19), 10), [7]);
    }

    #[test]
    fn a_change_among_very_many_leases_costs_what_changed() {
        let now = Instant::now();
        let mut leases: OrdMap<i64, Lease> =
            (0..100_000).map(|id| (id, Lease { ttl: 10, ..Lease::default() })).collect();
        let mut deadlines = Deadlines::default();
        // Were each of these a walk over all, they would take minutes.
        for id in 0..5_000 {
            leases.insert(100_000 + id, Lease { ttl: 5, ..Lease::default() });
            deadlines.update(1, &leases, now);
            leases.remove(&id);
            deadlines.update(1, &leases, now);
        }
        assert_eq!(deadlines.by_lease.len(), 100_000);
        assert_eq!(deadlines.ended(now + Duration::from_secs(9), usize::MAX).len(), 5_000);
    }

    #[test]
    fn renewed_leases_last_and_revoked_ones_are_forgotten() {
        let start = Instant::now();
        let leases = OrdMap::from_iter([(1, Lease { ttl: 5, ..Lease::default() }), (2, Lease::default())]);
        let mut deadlines = Deadlines::default();
        deadlines.update(1, &leases, start);
        assert!(deadlines.renew(1, 50, start));
        assert_eq!(deadlines.ended(start + Duration::from_secs(6), 10), [2]);
        deadlines.update(1, &leases.without(&2), start);
        assert!(deadlines.ended(start + Duration::from_secs(6), 10).is_empty());
    }

    #[test]
    fn a_lease_whose_time_is_up_cannot_be_renewed() {
        let start = Instant::now();
        let leases = OrdMap::from_iter([(1, Lease { ttl: 5, ..Lease::default() })]);
        let mut deadlines = Deadlines::default();
        deadlines.update(1, &leases, start);
        let up = start + Duration::from_secs(5);
        assert_eq!(deadlines.ended(up, 10), [1]);
        // Its end may be on its way through the log by now.
        assert!(!deadlines.renew(1, 5, up));
        assert_eq!(deadlines.ended(up, 10), [1]);
    }

    #[test]
    fn an_id_that_is_granted_anew_has_its_whole_time() {
        let start = Instant::now();
        let granted = |granted| OrdMap::from_iter([(1, Lease { ttl: 5, granted, ..Lease::default() })]);
        let mut deadlines = Deadlines::default();
        deadlines.update(1, &granted(10), start);
        // The first one ended between two looks.
        let later = start + Duration::from_secs(4);
        deadlines.update(1, &granted(11), later);
        assert!(deadlines.ended(start + Duration::from_secs(8), 10).is_empty());
        assert_eq!(deadlines.ended(start + Duration::from_secs(9), 10), [1]);
    }
}
