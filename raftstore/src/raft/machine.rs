//! The replicated state machine: applies what is committed, in order, and shows the result to readers and watches.
//!
//! [`WriterPermit`] is the right to do so. There is one, so what holds it sees the state, the database and the watches
//! at one moment: applying publishes to all three under it, and a watch registers under it, with no gap between the
//! two. Readers take a picture and need no permit.
//!
//! The database is not synced with each command: the log is durable, and after a crash it is applied again from where
//! the database is. A checkpoint syncs it, and only then may the log before it go.

use std::io;
use std::sync::Arc;

use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::OptionalSend;
use openraft::RaftSnapshotBuilder;
use openraft::entry::RaftPayload as _;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::codec;
use super::off_thread;
use super::snapshot::{Pin, SnapshotData};
use super::types::{LogId, Outcome, Payload, Peer, SnapshotMeta, StoredMembership, Term, TypeConfig};
use super::watch;
use crate::disk::{self, Batch, NextState, States};
use crate::failpoints::{Point, reached};
use crate::mvcc::{Compaction, State, Writer};
use crate::watch::Hub;

/// Commands that are applied as one batch at most.
const APPLY_TOGETHER: usize = 256;
/// Revisions whose keys are compacted in one step.
const COMPACT_STEP: usize = 512;

pub type MachineSnapshot = Snapshot<Term, u64, Peer, SnapshotData>;

pub struct Machine {
    writer: Mutex<Writer>,
    visible: RwLock<State>,
    hub: Arc<Hub>,
    states: Mutex<Box<dyn States>>,
    applied: watch::Sender<u64>,
    pin: Pin,
}

/// The right to change what is visible; held by one at a time.
pub struct WriterPermit<'a> {
    machine: &'a Machine,
    writer: MutexGuard<'a, Writer>,
}

impl WriterPermit<'_> {
    pub fn state(&self) -> &State {
        self.writer.state()
    }

    /// From now on events carry the previous value, or no longer do.
    pub fn set_with_previous(&mut self, with_previous: bool) {
        self.writer.with_previous = with_previous;
    }

    /// Makes everything that was applied durable-to-be and visible, and wakes whom it concerns.
    fn publish(&mut self) -> disk::Result<()> {
        self.show()?;
        self.machine.hub.ring();
        Ok(())
    }

    /// As [`Self::publish`], but wakes nobody.
    fn show(&mut self) -> disk::Result<()> {
        let committed = self.writer.finish()?;
        let revision = committed.state.revision;
        let index = committed.state.applied_index();
        *self.machine.visible.write() = committed.state;
        self.machine.hub.publish(revision, committed.changes);
        self.machine.applied.send_replace(index);
        Ok(())
    }
}

impl Machine {
    pub fn open(states: Box<dyn States>, hub: Arc<Hub>) -> disk::Result<Self> {
        let state = State::load(states.open()?)?;
        hub.reset(state.revision);
        let applied = watch::Sender::new(state.applied_index());
        Ok(Self {
            writer: Mutex::new(Writer::new(state.clone())),
            visible: RwLock::new(state),
            hub,
            states: Mutex::new(states),
            applied,
            pin: Pin::default(),
        })
    }

    pub fn permit(&self) -> WriterPermit<'_> {
        WriterPermit { machine: self, writer: self.writer.lock() }
    }

    /// The newest picture.
    pub fn state(&self) -> State {
        self.visible.read().clone()
    }

    /// The newest picture, with all its records for as long as the pin lives.
    pub fn pinned_state(&self) -> (State, Pin) {
        // No step of a compaction is between its look at the pins and its trimming.
        let _permit = self.permit();
        (self.state(), self.pin.clone())
    }

    /// Whether an alarm of this kind is raised, and the live bytes.
    pub fn space(&self, alarm: i32) -> (bool, u64) {
        let visible = self.visible.read();
        (visible.alarms.iter().any(|(_, raised)| *raised == alarm), visible.live_bytes)
    }

    pub fn revision(&self) -> i64 {
        self.visible.read().revision
    }

    pub fn compacted(&self) -> i64 {
        self.visible.read().compacted
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Returns when the log is applied up to `index`.
    pub async fn wait_applied(&self, index: u64) {
        if self.applied_index() >= index {
            return;
        }
        // The sender lives as long as this machine.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= index).await;
    }

    /// Syncs the database. Everything that was applied before is durable in it then.
    pub fn checkpoint(&self) -> disk::Result<()> {
        let storage = self.visible.read().storage.clone();
        reached(Point::BeforeCheckpoint);
        storage.sync()?;
        reached(Point::AfterCheckpoint);
        Ok(())
    }

    /// One step of taking compacted history off the disk; false when there is none left to take.
    pub fn compact_step(&self) -> disk::Result<bool> {
        if self.pin.is_held() {
            return Ok(false);
        }
        let state = self.state();
        let compaction = Compaction::pending(&state)?;
        if compaction.is_done() {
            return Ok(false);
        }
        let step = compaction.next_step(state.storage.as_ref(), COMPACT_STEP)?;
        let gone = {
            let mut permit = self.permit();
            // A snapshot may have been installed meanwhile; its database knows its own way.
            if !Arc::ptr_eq(&permit.state().storage, &state.storage) {
                return Ok(true);
            }
            // A picture may have been pinned meanwhile, and it looks at the histories that would be trimmed.
            if self.pin.is_held() {
                return Ok(false);
            }
            let gone = permit.writer.trim(step.keys, compaction.target);
            permit.publish()?;
            gone
        };
        reached(Point::DuringCompaction);
        let freed = Compaction::remove(state.storage.as_ref(), &gone, step.reached)?;
        let mut permit = self.permit();
        permit.writer.forget_bytes(freed);
        // What grows next is weighed by it, and perhaps nothing comes before.
        permit.show()?;
        Ok(true)
    }

    /// Rewrites the database into a fresh one: sled keeps the space of what was removed.
    pub fn defragment(&self) -> disk::Result<()> {
        let mut permit = self.permit();
        let next = self.begin_state()?;
        Self::copy(permit.state(), &next)?;
        self.states.lock().adopt(&next)?;
        let state = State { storage: next.storage.clone(), ..permit.state().clone() };
        permit.writer.replace(state);
        permit.publish()
    }

    fn copy(state: &State, next: &NextState) -> disk::Result<()> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        for record in state.storage.scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded) {
            let (key, value) = record?;
            bytes += value.len();
            batch.put(key.to_vec(), value);
            if batch.len() >= APPLY_TOGETHER || bytes > 1 << 20 {
                next.storage.write(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        next.storage.write(batch)?;
        next.storage.sync()
    }

    /// An empty database that a snapshot can be received into.
    pub fn begin_state(&self) -> disk::Result<NextState> {
        self.states.lock().begin()
    }

    /// From now on this one outlives the process, until it is installed or let go, or another one is kept.
    pub fn keep_state(&self, next: &NextState) -> disk::Result<()> {
        self.states.lock().keep(next)
    }

    /// What an earlier process kept, once.
    pub fn take_kept_state(&self) -> disk::Result<Option<NextState>> {
        self.states.lock().take_kept()
    }

    fn install(&self, next: &NextState) -> disk::Result<()> {
        next.storage.sync()?;
        let state = State::load(next.storage.clone())?;
        let mut permit = self.permit();
        reached(Point::BeforeInstall);
        self.states.lock().adopt(next)?;
        reached(Point::AfterInstall);
        permit.writer.replace(state);
        self.hub.reset(permit.state().revision);
        permit.publish()
    }

    fn picture(&self) -> Result<MachineSnapshot, codec::Error> {
        let (state, pin) = self.pinned_state();
        let meta = SnapshotMeta {
            last_log_id: state.position.applied.map(codec::log_id),
            last_membership: codec::stored_membership(&state.position.membership)?,
        };
        Ok(Snapshot { meta, snapshot: SnapshotData::Picture { state: Box::new(state), _pin: pin } })
    }

    fn apply_together(&self, entries: Vec<EntryResponder<TypeConfig>>) -> disk::Result<()> {
        let mut permit = self.permit();
        let mut answers = Vec::with_capacity(entries.len());
        for (entry, responder) in entries {
            let id = codec::log_id_to_wire(&entry.log_id);
            let outcome = match &entry.payload {
                Payload::Normal(command) => Outcome(permit.writer.apply(&command.message)?),
                Payload::Blank => Outcome::default(),
                Payload::Membership(_) => Outcome::default(),
            };
            if let Some(membership) = entry.payload.get_membership() {
                let stored = StoredMembership::new(Some(entry.log_id), membership);
                permit.writer.membership(codec::stored_membership_to_wire(&stored));
            }
            permit.writer.applied(id);
            if let Some(responder) = responder {
                answers.push((responder, outcome));
            }
        }
        reached(Point::BeforeApply);
        permit.show()?;
        drop(permit);
        reached(Point::AfterApply);
        for (responder, outcome) in answers {
            responder.send(outcome);
        }
        self.hub.ring();
        Ok(())
    }
}

/// The machine as openraft sees it.
#[derive(Clone)]
pub struct Applier(pub Arc<Machine>);

impl RaftStateMachine<TypeConfig> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = self.0.state().position;
        Ok((position.applied.map(codec::log_id), codec::stored_membership(&position.membership)?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut entries = entries.fuse();
        while let Some(first) = entries.next().await {
            // Mostly it is one: room for the most would be a large buffer, made and given up with each.
            let mut together = vec![first?];
            while together.len() < APPLY_TOGETHER
                && let Some(Some(next)) = entries.next().now_or_never()
            {
                together.push(next?);
            }
            #[cfg(test)]
            crate::simulation::before_applying().await;
            self.0.apply_together(together)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        match snapshot {
            SnapshotData::Received(next) => {
                let machine = self.0.clone();
                let installed = off_thread::run(move || machine.install(&next)).await;
                installed.map_err(io::Error::other)??;
                tracing::info!(%meta, "snapshot installed");
                Ok(())
            }
            // A picture of this member's own state is in place already.
            SnapshotData::Picture { .. } => Ok(()),
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<MachineSnapshot>> {
        let picture = self.0.picture()?;
        Ok(picture.meta.last_log_id.is_some().then_some(picture))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Applier {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<MachineSnapshot> {
        let picture = self.0.picture()?;
        let machine = self.0.clone();
        off_thread::run(move || machine.checkpoint()).await.map_err(io::Error::other)??;
        Ok(picture)
    }
}
