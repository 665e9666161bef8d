//! The handle to consensus: what the doors of the store ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keelson_wire::raft as wire;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, InitializeError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::{Raft, ServerState, SnapshotPolicy};
use tokio::sync::{Notify, oneshot};

use super::departure;
use super::following::{Claim, Following, Heard};
use super::forward::{self, Fate, Forwarded, Forwarder};
use super::gate::{self, Gate};
use super::log::Log;
use super::machine::{Applier, Machine};
use super::network::Dialer;
use super::proposer::{self, Proposed, Proposer};
use super::solitude::Presence;
use super::types::{Command, Peer, TypeConfig};
use super::watch;
use crate::refusal::Refusal;

pub type RaftHandle = Raft<TypeConfig, Applier>;

/// How soon a failed disk ends the process. Whatever is proposed meanwhile is refused.
const FAILURE_LOOK: Duration = Duration::from_millis(200);
/// How often it is looked whether another member is ready to lead.
const READY_LOOK: Duration = Duration::from_millis(10);
/// Between attempts of a command at this member, while it leads and a quorum has not heard of that: the first, the last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(128);
/// A member that ends tries this long to hand its leadership to each of the others.
const HAND_ON: Duration = Duration::from_secs(2);

pub struct Settings {
    pub id: u64,
    pub heartbeat: Duration,
    pub election_timeout: Duration,
    pub max_request_bytes: usize,
    /// Live bytes above which nothing may grow.
    pub quota: u64,
    /// The log's entries that stay behind a checkpoint, for followers that lag a little.
    pub kept_entries: u64,
}

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<u64>,
    pub term: u64,
    pub is_leader: bool,
    pub is_learner: bool,
}

/// Why a command was not taken.
enum NotTaken {
    /// It is nowhere in a log: it may be proposed again.
    Elsewhere(Option<Peer>),
    Refused(Refusal),
}

pub struct Consensus {
    pub(super) raft: RaftHandle,
    settings: Settings,
    machine: Arc<Machine>,
    log: Log,
    dialer: Dialer,
    leadership: watch::Sender<Leadership>,
    proposer: Proposer,
    forwarder: Forwarder,
    following: Following,
    /// Where linearizable reads wait.
    reads: Gate<Result<(), Refusal>>,
    /// Rings when a leader's stream of entries breaks off.
    broken_off: Arc<Notify>,
}

impl Consensus {
    /// Starts openraft on this log and this machine.
    pub async fn start(
        settings: Settings,
        log: Log,
        machine: Arc<Machine>,
        dialer: Dialer,
    ) -> Result<Arc<Self>, crate::Error> {
        let election = settings.election_timeout.as_millis() as u64;
        let config = openraft::Config {
            cluster_name: format!("{:x}", dialer.cluster_id()),
            heartbeat_interval: settings.heartbeat.as_millis() as u64,
            election_timeout_min: election,
            election_timeout_max: election + election / 2,
            install_snapshot_timeout: 60_000,
            // Between attempts at a member that is away: one that comes back shall soon have a stream of entries.
            backoff: "20ms".to_owned(),
            // A checkpoint is due by time and bytes, not by entries: housekeeping asks for it.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: settings.kept_entries,
            purge_batch_size: settings.kept_entries.clamp(1, 256),
            max_payload_entries: 128,
            // Queues inside openraft: what is proposed waits for its answer, so there is never more than the doors let in.
            api_channel_size: Some(8_192),
            notification_channel_size: Some(8_192),
            enable_pre_vote: Some(true),
            // Entries go to followers while this member's own disk is still at them. A leader that went on in its old
            // term after a crash would give the places of those it lost to other entries, under the same ids.
            enable_leader_restore: Some(false),
            ..Default::default()
        };
        let config = config.validate().map_err(|error| crate::Error::Consensus(error.to_string()))?;
        let raft =
            Raft::new(settings.id, Arc::new(config), dialer.clone(), log.clone(), Applier(machine.clone())).await;
        let raft = raft.map_err(|error| crate::Error::Consensus(error.to_string()))?;
        let id = settings.id;
        let alone = raft.with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([id])).await;
        if alone.map_err(|error| crate::Error::Consensus(error.to_string()))? {
            // There is nobody to wait for.
            let elected = raft.trigger().elect(false).await;
            elected.map_err(|error| crate::Error::Consensus(error.to_string()))?;
        }
        let (proposer, proposed) = proposer::channel();
        let (forwarder, forwarded) = forward::channel();
        let (reads, waiters) = Gate::new();
        let following = Following::new(dialer.clone(), log.clone(), settings.election_timeout);
        let consensus = Arc::new(Self {
            raft,
            settings,
            machine,
            log,
            dialer,
            leadership: watch::Sender::default(),
            proposer,
            forwarder,
            following,
            reads,
            broken_off: Arc::default(),
        });
        tokio::spawn(proposer::serve(consensus.raft.clone(), proposed));
        tokio::spawn(forward::serve(consensus.clone(), forwarded));
        let asked = consensus.clone();
        tokio::spawn(gate::serve(waiters, move || {
            let asked = asked.clone();
            async move { asked.catch_up().await }
        }));
        tokio::spawn(follow_leadership(consensus.clone()));
        Ok(consensus)
    }

    /// Makes a cluster of these members, unless this member already belongs to one. Every member may do this, with the
    /// same members.
    pub async fn initialize(&self, members: BTreeMap<u64, Peer>) -> Result<(), crate::Error> {
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(crate::Error::Consensus(error.to_string())),
        }
    }

    /// Returns when everything that this member had acknowledged before it was started is applied again.
    pub async fn recovered(&self) -> Result<(), crate::Error> {
        let recovered = self.raft.wait_for_recovery(None).await;
        recovered.map(drop).map_err(|error| crate::Error::Consensus(error.to_string()))
    }

    /// From now on, a leader whose process has ended is replaced at once. By sight of the network itself: not simulated.
    pub fn heed_departures(self: &Arc<Self>) {
        tokio::spawn(departure::serve(self.clone(), self.broken_off.clone()));
    }

    /// Somebody campaigns against the leader that this member follows: it looks for itself whether that one's process has
    /// ended. It may have no stream of entries whose end would have told.
    pub(super) fn look_at_the_leader(&self) {
        self.broken_off.notify_one();
    }

    /// For a stream of entries that comes from another member.
    pub(super) fn line(&self) -> departure::Line {
        departure::Line::new(self.broken_off.clone())
    }

    pub fn id(&self) -> u64 {
        self.settings.id
    }

    pub fn cluster_id(&self) -> u64 {
        self.dialer.cluster_id()
    }

    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// One more request is under way, for as long as this is kept.
    pub fn enter(&self) -> Presence {
        self.log.progress().solitude.enter()
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Everything that openraft tells of itself, in words.
    #[cfg(test)]
    pub fn in_words(&self) -> String {
        self.raft.metrics().borrow_watched().to_string()
    }

    pub fn leadership(&self) -> Leadership {
        *self.leadership.borrow()
    }

    /// The last index of this member's log.
    pub fn last_log_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_log_index.unwrap_or(0)
    }

    /// Voters and learners, as this member knows them.
    pub fn members(&self) -> Vec<(u64, Peer, bool)> {
        let metrics = self.raft.metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let voters: Vec<u64> = membership.voter_ids().collect();
        membership.nodes().map(|(id, peer)| (*id, peer.clone(), !voters.contains(id))).collect()
    }

    pub fn peer(&self, id: u64) -> Option<Peer> {
        self.raft.metrics().borrow_watched().membership_config.get_node(&id).cloned()
    }

    /// Commits a command and answers with what applying it came to. Forwards to the leader if it is another.
    pub async fn propose(&self, message: wire::Command) -> Result<wire::Outcome, Refusal> {
        // What is nested too deep to be read again must not come into the log.
        let command = Command::new(&message).map_err(|_| Refusal::RequestTooLarge)?;
        drop(message);
        if command.encoded.len() > self.settings.max_request_bytes {
            return Err(Refusal::RequestTooLarge);
        }
        let patience = self.patience();
        tokio::time::timeout(patience, self.commit(command)).await.unwrap_or(Err(Refusal::Timeout))
    }

    /// As long as etcd waits: five seconds and two elections.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.settings.election_timeout
    }

    async fn commit(&self, command: Command) -> Result<wire::Outcome, Refusal> {
        let mut leadership = self.leadership.subscribe();
        loop {
            leadership.mark_unchanged();
            let leader = match self.append_when_heard(command.clone()).await {
                Ok((outcome, _)) => return Ok(outcome),
                Err(NotTaken::Refused(refusal)) => return Err(refusal),
                Err(NotTaken::Elsewhere(leader)) => leader,
            };
            let Some(leader) = leader else {
                self.wait_for_leader(&mut leadership).await?;
                continue;
            };
            let (answer, outcome) = oneshot::channel();
            let forwarded = Forwarded { leader, command: command.clone(), answer };
            self.forwarder.try_send(forwarded).map_err(|_| Refusal::TooManyRequests)?;
            match outcome.await.map_err(|_| Refusal::Stopped)? {
                Fate::Told(outcome) => return Ok(outcome),
                Fate::Unknown => return Err(Refusal::LeaderChanged),
                Fate::NotSent => self.wait_for_leader(&mut leadership).await?,
            }
        }
    }

    /// Appends to this member's log if it leads, and waits until the command is applied.
    async fn append(&self, command: Command) -> Result<(wire::Outcome, u64), NotTaken> {
        let (responder, response) = ProgressResponder::complete_only();
        let sent = self.proposer.send(Proposed { command, responder }).await;
        sent.map_err(|_| NotTaken::Refused(Refusal::Stopped))?;
        match response.await.map_err(|_| NotTaken::Refused(Refusal::Stopped))? {
            Ok(response) => Ok((response.data.0, response.log_id.index)),
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(NotTaken::Elsewhere(self.other_leader(forward))),
            Err(error) => {
                tracing::debug!(%error, "a command's fate is unknown");
                Err(NotTaken::Refused(Refusal::LeaderChanged))
            }
        }
    }

    /// As [`Self::append`]. For a moment after its election a leader takes nothing: a quorum has not heard of it. Nobody
    /// else leads then and nothing tells of the end of it, so it is asked again, soon and then less often.
    async fn append_when_heard(&self, command: Command) -> Result<(wire::Outcome, u64), NotTaken> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.append(command.clone()).await {
                Err(NotTaken::Elsewhere(None)) if self.leadership().is_leader && pause <= LAST_PAUSE => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    /// As [`Self::propose`], but only while this member leads in this term: what was decided by what one leader knows must
    /// not reach another.
    pub async fn propose_as_leader(&self, term: u64, message: wire::Command) -> Result<wire::Outcome, Refusal> {
        let (responder, response) = ProgressResponder::complete_only();
        let command = Command::new(&message).map_err(|_| Refusal::RequestTooLarge)?;
        let sent = self.raft.write(command).with_leader(term).responder(responder).await;
        sent.map_err(|_| Refusal::Stopped)?;
        let response = tokio::time::timeout(self.patience(), response).await.map_err(|_| Refusal::Timeout)?;
        match response.map_err(|_| Refusal::Stopped)? {
            Ok(response) => Ok(response.data.0),
            Err(_) => Err(Refusal::LeaderChanged),
        }
    }

    fn other_leader(&self, forward: ForwardToLeader<TypeConfig>) -> Option<Peer> {
        let id = forward.leader_id.filter(|id| *id != self.settings.id)?;
        forward.leader_node.or_else(|| self.peer(id))
    }

    /// An election is under way, or it has just ended: soon there is a leader.
    async fn wait_for_leader(&self, leadership: &mut watch::Receiver<Leadership>) -> Result<(), Refusal> {
        let patience = 3 * self.settings.election_timeout;
        match tokio::time::timeout(patience, leadership.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Refusal::Stopped),
            Err(_) if self.leadership().leader.is_some() => Ok(()),
            Err(_) => Err(Refusal::NoLeader),
        }
    }

    /// Commands of a follower's clients: proposed together, answered together with the highest index.
    pub(super) async fn propose_for_follower(
        &self,
        commands: Vec<Command>,
    ) -> Result<(Vec<wire::Outcome>, u64), Refusal> {
        let appended =
            futures::future::join_all(commands.into_iter().map(|command| self.append_when_heard(command))).await;
        let mut outcomes = Vec::with_capacity(appended.len());
        let mut highest = 0;
        for appended in appended {
            let refusal = match appended {
                Ok((outcome, index)) => {
                    highest = highest.max(index);
                    outcomes.push(outcome);
                    continue;
                }
                Err(NotTaken::Elsewhere(_)) => Refusal::LeaderChanged,
                Err(NotTaken::Refused(refusal)) => refusal,
            };
            outcomes.push(wire::Outcome { result: Some(wire::outcome::Result::Refusal(refusal.into())) });
        }
        Ok((outcomes, highest))
    }

    /// Returns when a read of this member's state is linearizable.
    pub async fn read_barrier(&self) -> Result<(), Refusal> {
        let passed = tokio::time::timeout(self.patience(), self.reads.ask());
        passed.await.unwrap_or(Err(Refusal::Timeout))?
    }

    /// Waits until the state of this member holds everything that was committed before the call.
    async fn catch_up(&self) -> Result<(), Refusal> {
        self.machine.wait_applied(self.leader_read_index().await?).await;
        Ok(())
    }

    /// The index that a state must have applied to be linearizable at this moment: asked of the leader.
    async fn leader_read_index(&self) -> Result<u64, Refusal> {
        let deadline = tokio::time::Instant::now() + self.patience();
        let mut leadership = self.leadership.subscribe();
        loop {
            leadership.mark_unchanged();
            let leader = match self.own_read_index(None).await {
                Ok(index) => return Ok(index),
                Err(NotTaken::Refused(refusal)) => return Err(refusal),
                Err(NotTaken::Elsewhere(leader)) => leader,
            };
            if tokio::time::Instant::now() >= deadline {
                return Err(Refusal::Timeout);
            }
            if let Some(leader) = leader
                && let Ok(mut client) = self.dialer.client(&leader)
            {
                let (cluster_id, asker) = (self.cluster_id(), self.settings.id);
                let request = wire::ReadIndexRequest { cluster_id, asker, vote: self.following.own_vote() };
                let mut request = tonic::Request::new(request);
                request.set_timeout(2 * self.settings.election_timeout);
                if let Ok(response) = client.read_index(request).await {
                    return Ok(response.into_inner().index);
                }
            }
            self.wait_for_leader(&mut leadership).await?;
        }
    }

    /// As [`Self::leader_read_index`], if this member leads: what is committed when the question comes, once a quorum has
    /// followed this member since. `heard`: what the asking member says of itself.
    async fn own_read_index(&self, heard: Option<Heard>) -> Result<u64, NotTaken> {
        let mut leadership = self.leadership.subscribe();
        let Leadership { term, is_leader, .. } = *leadership.borrow_and_update();
        if !is_leader {
            return Err(NotTaken::Elsewhere(self.leader_but_this()));
        }
        let claim = Claim { leader: self.settings.id, term };
        // Of openraft itself, and not of what it tells of itself in passing: a follower may have heard, applied and shown
        // what this member's own machine has not applied yet.
        let asked = self.raft.with_raft_state(move |state| {
            let committed = state.cluster_committed().max(state.local_committed());
            // In its own term, a leader knows of everything that was committed before; until then it waits for all it has.
            let index = match committed {
                Some(committed) if committed.leader_id.term >= term => committed.index,
                _ => state.log_ids.last().map_or(0, |last| last.index),
            };
            (index, state.membership_state.effective().clone())
        });
        let (index, membership) = asked.await.map_err(|_| NotTaken::Refused(Refusal::Stopped))?;
        let followed = self.following.confirmed(claim, membership.membership(), heard);
        let deposed = leadership.wait_for(|now| !now.is_leader || now.term != term);
        let limit = tokio::time::sleep(self.settings.election_timeout * 3 / 2);
        tokio::select! {
            biased;
            () = followed => Ok(index),
            _ = deposed => Err(NotTaken::Elsewhere(self.leader_but_this())),
            () = limit => Err(NotTaken::Refused(Refusal::NoLeader)),
        }
    }

    fn leader_but_this(&self) -> Option<Peer> {
        self.leadership().leader.filter(|leader| *leader != self.settings.id).and_then(|leader| self.peer(leader))
    }

    pub(super) async fn read_index_for_follower(&self, heard: Option<Heard>) -> Result<u64, Refusal> {
        match self.own_read_index(heard).await {
            Ok(index) => Ok(index),
            Err(NotTaken::Elsewhere(_)) => Err(Refusal::NotLeader),
            Err(NotTaken::Refused(refusal)) => Err(refusal),
        }
    }

    /// This member's newest vote.
    pub(super) fn vote(&self) -> Option<wire::Vote> {
        self.following.own_vote()
    }

    /// Syncs the state, after which openraft lets the old log go.
    pub async fn checkpoint(&self) -> Result<(), crate::Error> {
        self.raft.trigger().snapshot().await.map_err(|error| crate::Error::Consensus(error.to_string()))
    }

    /// Asks another voter to take over, and waits until it has. One that does not run, or lacks what this member has, is
    /// not asked: from then on this member would lead no more, and nobody would until an election.
    pub async fn move_leader(&self, target: u64) -> Result<(), Refusal> {
        if !self.leadership().is_leader {
            return Err(Refusal::NotLeader);
        }
        if !self.members().iter().any(|(id, _, is_learner)| *id == target && !is_learner) {
            return Err(Refusal::BadLeaderTransferee);
        }
        if target == self.settings.id {
            return Ok(());
        }
        self.wait_until_ready(target).await?;
        self.raft.trigger().transfer_leader(target).await.map_err(|_| Refusal::Stopped)?;
        let (own, mut leadership) = (self.settings.id, self.leadership.subscribe());
        let moved = leadership.wait_for(|leadership| leadership.leader.is_some_and(|leader| leader != own));
        match tokio::time::timeout(self.patience(), moved).await {
            Ok(Ok(_)) if self.leadership().leader == Some(target) => Ok(()),
            Ok(Ok(_)) => Err(Refusal::LeaderChanged),
            Ok(Err(_)) => Err(Refusal::Stopped),
            Err(_) => Err(Refusal::Timeout),
        }
    }

    /// The other member answers, and holds what this one holds now.
    async fn wait_until_ready(&self, target: u64) -> Result<(), Refusal> {
        let held = self.last_log_index();
        let peer = self.peer(target).ok_or(Refusal::BadLeaderTransferee)?;
        let ready = async {
            loop {
                if self.matched(target).is_some_and(|matched| matched >= held)
                    && let Ok(mut client) = self.dialer.client(&peer)
                    && client.identify(wire::IdentifyRequest { asker: 0 }).await.is_ok()
                {
                    return;
                }
                tokio::time::sleep(READY_LOOK).await;
            }
        };
        tokio::time::timeout(2 * self.settings.election_timeout, ready).await.map_err(|_| Refusal::Timeout)
    }

    /// Hands leadership on and stops taking part. A member that cannot go on has no leadership to hand on: the sooner it
    /// is gone, the sooner another one leads.
    pub async fn stop(&self) {
        if self.leadership().is_leader && self.failure().is_none() {
            let voters = self.members().into_iter().filter(|(id, _, learner)| *id != self.settings.id && !learner);
            for (successor, ..) in voters {
                let handed = tokio::time::timeout(HAND_ON, self.move_leader(successor)).await;
                tracing::info!(to = format!("{successor:x}"), ?handed, "leadership handed on");
                if !self.leadership().is_leader {
                    break;
                }
            }
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop in order");
        }
    }

    /// Resolves with the cause when openraft can go on no longer: its disk failed. Looked at now and then: openraft's
    /// metrics change with every write, and following them would wake a thread each time.
    pub async fn failed(&self) -> String {
        let mut looks = tokio::time::interval(FAILURE_LOOK);
        loop {
            looks.tick().await;
            if let Some(cause) = self.failure() {
                return cause;
            }
        }
    }

    pub fn failure(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }
}

async fn follow_leadership(consensus: Arc<Consensus>) {
    let mut metrics = consensus.raft.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_watched();
            let is_only_member = metrics.membership_config.nodes().all(|(id, _)| *id == metrics.id);
            consensus.log.progress().solitude.set_only_member(is_only_member);
            Leadership {
                leader: metrics.current_leader,
                term: metrics.vote.leader_id.term,
                is_leader: metrics.current_leader == Some(metrics.id) && metrics.state == ServerState::Leader,
                is_learner: metrics.state == ServerState::Learner,
            }
        };
        consensus.leadership.send_if_modified(|known| {
            let changed = *known != now;
            if changed && (known.leader, known.term) != (now.leader, now.term) {
                tracing::info!(leader = now.leader.map(|id| format!("{id:x}")), term = now.term, "leadership");
            }
            *known = now;
            changed
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
