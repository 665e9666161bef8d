//! What has to be done now and then: checkpoints, compactions that were asked for and those that were not, alarms.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keelson_process::BoxError;
use keelson_process::supervision::Role;
use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest};
use keelson_wire::raft as wire;
use keelson_wire::raft::command::Change;
use tokio::time::Instant;

use crate::raft::{Consensus, off_thread};

/// However few they are, they are checkpointed after this time.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// Steps of a compaction in one turn.
const COMPACT_STEPS: usize = 64;

/// What is compacted without being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Everything,
    Time(Duration),
    Revisions(i64),
}

/// Pure: finds the revision that is old enough. Every member looks, and the leader's word counts: one that comes to lead
/// knows what is old.
pub struct AutoCompaction {
    retention: Retention,
    /// Revisions and when they were the newest, oldest first; of those that are old enough, the last one.
    seen: VecDeque<(Instant, i64)>,
}

impl AutoCompaction {
    pub fn new(retention: Retention) -> Self {
        Self { retention, seen: VecDeque::new() }
    }

    /// The revision to compact at, if there is something to gain.
    pub fn due(&mut self, now: Instant, revision: i64, compacted: i64) -> Option<i64> {
        let target = match self.retention {
            Retention::Everything => return None,
            Retention::Revisions(kept) => {
                // Not for each single revision: in steps of a tenth of what is kept.
                let target = revision - kept;
                (target - compacted > kept / 10).then_some(target)?
            }
            Retention::Time(kept) => {
                // Ten looks in a span are exact enough.
                let is_due = self.seen.back().is_none_or(|(seen, _)| now - *seen >= kept / 10);
                if is_due {
                    self.seen.push_back((now, revision));
                }
                let is_old = |look: Option<&(Instant, i64)>| look.is_some_and(|(seen, _)| now - *seen >= kept);
                while is_old(self.seen.get(1)) {
                    self.seen.pop_front();
                }
                // It stays: if nothing comes of it now, the next turn tries again.
                self.seen.front().filter(|look| is_old(Some(look))).map(|(_, revision)| *revision)?
            }
        };
        (target > compacted).then_some(target)
    }
}

pub struct Housekeeper {
    consensus: Arc<Consensus>,
    auto_compaction: AutoCompaction,
    /// Entries applied since the last checkpoint that make one due.
    checkpoint_entries: u64,
    checkpointed: (Instant, u64),
    /// What was applied when this life began. A checkpoint of no more than that is no news to openraft.
    begun: u64,
}

impl Housekeeper {
    pub fn new(consensus: Arc<Consensus>, retention: Retention, checkpoint_entries: u64) -> Self {
        let begun = consensus.machine().applied_index();
        // What earlier lives applied counts, too: one that ends again and again would never let its log go. The last
        // checkpoint that let some of it go was at least so far behind that.
        let checkpointed = consensus.log().purged().saturating_add(consensus.settings().kept_entries).min(begun);
        let auto_compaction = AutoCompaction::new(retention);
        Self { consensus, auto_compaction, checkpoint_entries, checkpointed: (Instant::now(), checkpointed), begun }
    }

    async fn checkpoint(&mut self) -> Result<(), BoxError> {
        let applied = self.consensus.machine().applied_index();
        let (when, index) = self.checkpointed;
        let entries = applied.saturating_sub(index);
        let is_due = entries >= self.checkpoint_entries || (entries > 0 && when.elapsed() >= CHECKPOINT_EVERY);
        if is_due && applied > self.begun {
            self.consensus.checkpoint().await?;
            self.checkpointed = (Instant::now(), applied);
        }
        Ok(())
    }

    async fn compact(&mut self) -> Result<(), BoxError> {
        let machine = self.consensus.machine().clone();
        off_thread::run(move || {
            for _ in 0..COMPACT_STEPS {
                if !machine.compact_step()? {
                    break;
                }
            }
            Ok::<_, crate::disk::Error>(())
        })
        .await??;
        let state = self.consensus.machine().state();
        let due = self.auto_compaction.due(Instant::now(), state.revision, state.compacted);
        if let Some(revision) = due.filter(|_| self.consensus.leadership().is_leader) {
            let compaction = Change::Compaction(CompactionRequest { revision, physical: false });
            self.propose(compaction).await;
        }
        Ok(())
    }

    /// A disk that fills up by somebody else's doing stops the writes of all members before it stops this one.
    async fn watch_space(&self) {
        let alarm = AlarmType::Nospace as i32;
        let member_id = self.consensus.id();
        let low = self.consensus.log().progress().low_space.load(Ordering::Acquire);
        if low && !self.consensus.machine().state().alarms.contains(&(member_id, alarm)) {
            let action = AlarmAction::Activate as i32;
            self.propose(Change::Alarm(AlarmRequest { action, member_id, alarm })).await;
        }
    }

    async fn propose(&self, change: Change) {
        if let Err(refusal) = self.consensus.propose(wire::Command { change: Some(change) }).await {
            // The next turn tries again.
            tracing::debug!(%refusal, "housekeeping could not propose");
        }
    }
}

impl Role for Housekeeper {
    type Mail = ();

    async fn handle(&mut self, (): ()) -> Result<(), BoxError> {
        self.checkpoint().await?;
        self.compact().await?;
        self.watch_space().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_history_is_kept() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut compaction = AutoCompaction::new(Retention::Time(Duration::from_secs(100)));
        assert_eq!(compaction.due(at(0), 10, 0), None);
        assert_eq!(compaction.due(at(5), 11, 0), None);
        assert_eq!(compaction.due(at(50), 20, 0), None);
        assert_eq!(compaction.due(at(100), 30, 0), Some(10));
        assert_eq!(compaction.due(at(101), 30, 10), None);
        assert_eq!(compaction.due(at(150), 40, 10), Some(20));
        // Nothing came of it: a follower has no say, and a leader may be refused.
        assert_eq!(compaction.due(at(151), 40, 10), Some(20));
        assert_eq!(compaction.due(at(152), 40, 20), None);
        // Nobody looked for a long time. What was the newest then is old, and what came since may be young.
        assert_eq!(compaction.due(at(1_000), 90, 20), Some(40));
        assert_eq!(compaction.due(at(1_099), 99, 40), None);
        assert_eq!(compaction.due(at(1_100), 99, 40), Some(90));
    }

    /// A look is of a moment: what is written after it is younger than it, whatever the times of the turns.
    #[test]
    fn what_is_younger_than_the_time_is_never_compacted() {
        let start = Instant::now();
        let kept = Duration::from_millis(1_000);
        let mut compaction = AutoCompaction::new(Retention::Time(kept));
        let mut compacted = 0;
        // A revision each millisecond, a turn now and then.
        let turns = (0..200_u64).scan(0, |now, turn| {
            *now += [1, 40, 7, 350, 99, 101, 1_200][(turn % 7) as usize];
            Some(*now)
        });
        for now in turns {
            let revision = i64::try_from(now).expect("small");
            if let Some(target) = compaction.due(start + Duration::from_millis(now), revision, compacted) {
                assert!(target <= revision - 1_000, "at {revision}");
                compacted = target;
            }
        }
        assert!(compacted > 20_000, "{compacted}");
    }

    #[test]
    fn a_number_of_revisions_is_kept_and_compacted_in_steps() {
        let now = Instant::now();
        let mut compaction = AutoCompaction::new(Retention::Revisions(100));
        assert_eq!(compaction.due(now, 105, 0), None);
        assert_eq!(compaction.due(now, 120, 0), Some(20));
        assert_eq!(compaction.due(now, 121, 20), None);
        assert_eq!(AutoCompaction::new(Retention::Everything).due(now, 1_000_000, 0), None);
    }
}
