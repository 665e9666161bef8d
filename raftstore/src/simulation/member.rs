//! One member: its disk, which outlives it, and a runtime of its own, which does not.
//!
//! Each member has a runtime, so that all of it can end at one moment, as a process does, and so that its clock is its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::RaftLogReader as _;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::runtime::Runtime;
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
use crate::leases::Leases;
use crate::mvcc::Limits;
use crate::raft::{Consensus, Dialer, Log, LogWriter, Machine, Peer, PeerDoor, Settings, vote_to_wire};
use crate::watch::Hub;

/// Small, so that there are many and they come and go.
const SEGMENT_BYTES: u64 = 16 << 10;
/// Few, so that members which were away need a snapshot.
const KEPT_ENTRIES: u64 = 10;
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
    /// Whether a forgotten vote is looked for at the start, or only what comes of it.
    pub judge_votes: bool,
}

/// What a member has come to while it starts.
#[derive(Default)]
pub struct Progress {
    pub requests: Option<Arc<Requests>>,
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

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(task));
        }
    }

    pub fn look(&self, evidence: &mut Evidence, consensus: &Consensus) -> Result<(), String> {
        // Nothing is waited for but memory.
        futures::executor::block_on(evidence.look(consensus))
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
    let requests = Arc::new(Requests::new(consensus.clone(), leases, limits));
    progress.lock().requests = Some(requests.clone());
    tokio::spawn(keep_house(consensus.clone()));
    consensus.recovered().await.map_err(|error| error.to_string())?;
    for number in 0..CLIENTS {
        let client = Client {
            requests: requests.clone(),
            history: surroundings.history.clone(),
            ended: surroundings.clients_ended.clone(),
            seed: seed.wrapping_mul(31).wrapping_add(number),
        };
        tokio::spawn(client.run());
    }
    Ok(())
}

/// The roles of a member that change its disk, at their pace.
async fn keep_house(consensus: Arc<Consensus>) {
    use keelson_process::supervision::Role as _;
    let mut housekeeper = Housekeeper::new(consensus, Retention::Everything, u64::MAX);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // What fails here fails the member, and that is looked for.
        let _ = housekeeper.handle(()).await;
    }
}
