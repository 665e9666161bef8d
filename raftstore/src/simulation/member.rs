//! One member: its disk, which outlives it, and a runtime of its own, which does not.
//!
//! Each member has a runtime, so that all of it can end at one moment, as a process does, and so that its clock is its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keelson_process::supervision::Role;
use openraft::RaftLogReader as _;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::carrier;
use super::clients::Client;
use super::evidence::{Evidence, SharedHistory};
use super::net::{Door, Id, Net};
use crate::disk::memory::MemoryStates;
use crate::doors::Requests;
use crate::housekeeping::{Housekeeper, Retention};
use crate::journal::Journal;
use crate::journal::power::PowerDirectory;
use crate::leases::{Keeper, Leases};
use crate::mvcc::Limits;
use crate::raft::{Consensus, Dialer, Log, LogWriter, Machine, Peer, PeerDoor, Settings, vote_to_wire};
use crate::watch::Hub;

/// Small, so that there are many and they come and go.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Few, so that members which were away need a snapshot.
const KEPT_ENTRIES: u64 = 10;
/// As few, so that the log is purged again and again.
const CHECKPOINT_ENTRIES: u64 = 40;
/// Of the roles: leases are looked after as often as in a member.
const TURN: Duration = Duration::from_millis(500);
const CLUSTER: u64 = 0x5eed;
const CLIENTS: u64 = 2;

/// What outlives the process.
#[derive(Clone, Default)]
pub struct Disk {
    log: PowerDirectory,
    states: MemoryStates,
    /// The longest time of a write, in milliseconds.
    slowness: Arc<AtomicU64>,
}

impl Disk {
    /// `power`: whether the kernel's memory is lost as well.
    pub fn crash(&self, power: bool, random: &mut StdRng) {
        if power {
            self.log.cut(random);
        } else {
            self.log.killed();
        }
        self.states.crash(random);
    }

    /// The power fails within so many steps of the log.
    pub fn fail_after(&self, steps: usize) {
        self.log.fail_after(steps);
    }

    pub fn steady(&self) {
        self.log.steady();
    }

    pub fn is_off(&self) -> bool {
        self.log.is_off()
    }

    pub fn set_slowness(&self, millis: u64) {
        self.slowness.store(millis, Ordering::Relaxed);
    }
}

/// What all members of a run share.
#[derive(Clone)]
pub struct Surroundings {
    pub net: Net,
    pub history: SharedHistory,
    pub clients_ended: Arc<AtomicBool>,
    /// Whether a forgotten vote is looked for, on the disk and in what the others are told, or only what comes of it.
    pub judge_votes: bool,
}

/// What a member has come to while it starts.
#[derive(Default)]
pub struct Progress {
    pub requests: Option<Arc<Requests>>,
    /// Clients may come.
    pub is_ready: bool,
    pub failure: Option<String>,
}

pub struct Process {
    runtime: Option<Runtime>,
    start: Instant,
    clock: u64,
    pub progress: Arc<Mutex<Progress>>,
}

impl Process {
    pub fn start(
        id: Id,
        disk: &Disk,
        surroundings: &Surroundings,
        founders: Option<BTreeMap<Id, Peer>>,
        seed: u64,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let start = runtime.block_on(async { Instant::now() });
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (disk, surroundings, told) = (disk.clone(), surroundings.clone(), progress.clone());
        let door = runtime.handle().clone();
        runtime.spawn(async move {
            if let Err(cause) = begin(id, disk, surroundings, founders, seed, door, &told).await {
                told.lock().failure.get_or_insert(cause);
            }
        });
        Self { runtime: Some(runtime), start, clock: 0, progress }
    }

    pub fn requests(&self) -> Option<Arc<Requests>> {
        self.progress.lock().requests.clone()
    }

    /// Where clients go, once they may.
    pub fn ready(&self) -> Option<Arc<Requests>> {
        let progress = self.progress.lock();
        progress.requests.clone().filter(|_| progress.is_ready)
    }

    /// Lets the member live for so many milliseconds of its own.
    pub fn run(&mut self, millis: u64) {
        self.clock += millis;
        let until = self.start + Duration::from_millis(self.clock);
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async move { tokio::time::sleep_until(until).await });
        }
    }

    /// Its clock goes on and it does not: it was stopped, or the machine slept.
    pub fn jump(&mut self, millis: u64) {
        self.clock += millis;
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async move { tokio::time::advance(Duration::from_millis(millis)).await });
        }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(task).abort_handle())
    }
}

/// As `member::start` puts a member together, on this disk and this network.
async fn begin(
    id: Id,
    disk: Disk,
    surroundings: Surroundings,
    founders: Option<BTreeMap<Id, Peer>>,
    seed: u64,
    runtime: tokio::runtime::Handle,
    progress: &Mutex<Progress>,
) -> Result<(), String> {
    let net = &surroundings.net;
    let hub = Arc::new(Hub::default());
    let machine = Machine::open(Box::new(disk.states.clone()), hub).map_err(|error| error.to_string())?;
    let machine = Arc::new(machine);
    let journal = Journal::recover(std::path::Path::new("/simulated"), Box::new(disk.log.clone()), SEGMENT_BYTES);
    let journal = journal.map_err(|error| error.to_string())?;
    let mut random = StdRng::seed_from_u64(seed);
    let slowness = disk.slowness.clone();
    let disk_time = move || Duration::from_millis(random.random_range(0..=slowness.load(Ordering::Relaxed).max(1)));
    let log = Log::written_by(journal, |journal, progress| Ok(LogWriter::simulated(journal, progress, disk_time)));
    let log = log.map_err(|error| error.to_string())?;
    let kept = log.clone().read_vote().await.map_err(|error| error.to_string())?;
    if surroundings.judge_votes {
        Evidence::vote(id, kept.as_ref().map(vote_to_wire), net.promise(id))?;
    }
    let is_new = log.is_empty();
    let settings = Settings {
        id,
        heartbeat: Duration::from_millis(60),
        election_timeout: Duration::from_millis(300),
        max_request_bytes: 1 << 20,
        quota: 1 << 30,
        kept_entries: KEPT_ENTRIES,
    };
    let dialer = Dialer::by(CLUSTER, carrier::connect(net, id));
    let consensus = Consensus::start(settings, log, machine, dialer).await.map_err(|error| error.to_string())?;
    let leases = Leases::new(consensus.clone());
    net.open_door(id, Door { runtime, service: PeerDoor::service(consensus.clone(), leases.clone()) });
    if let Some(founders) = founders.filter(|_| is_new) {
        consensus.initialize(founders).await.map_err(|error| error.to_string())?;
    }
    let limits = Limits { max_txn_ops: 128, max_request_bytes: 1 << 20 };
    let requests = Arc::new(Requests::new(consensus.clone(), leases.clone(), limits));
    progress.lock().requests = Some(requests.clone());
    tokio::spawn(play(Keeper::new(leases)));
    tokio::spawn(play(Housekeeper::new(consensus.clone(), Retention::Everything, CHECKPOINT_ENTRIES)));
    consensus.recovered().await.map_err(|error| error.to_string())?;
    progress.lock().is_ready = true;
    for number in 0..CLIENTS {
        let name = seed.wrapping_mul(31).wrapping_add(number);
        let client = Client {
            requests: requests.clone(),
            history: surroundings.history.clone(),
            net: net.clone(),
            ended: surroundings.clients_ended.clone(),
            random: StdRng::seed_from_u64(name),
            name,
        };
        tokio::spawn(client.run());
    }
    Ok(())
}

/// A role of a member, at its pace.
async fn play(mut role: impl Role<Mail = ()>) {
    loop {
        tokio::time::sleep(TURN).await;
        // What fails here fails the member, and that is looked for.
        let _ = role.handle(()).await;
    }
}
