//! The log's one writer: a thread that makes whatever is queued durable together.
//!
//! Everything that waits is one frame of the journal, one write and one `fdatasync`; then all of it is acknowledged. While
//! the disk is busy the next frame gathers, so the frames grow with the load and a lone write waits for nobody. A write that
//! has the member to itself is made where it is appended, if the disk was quick of late.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use keelson_wire::raft as wire;
use keelson_wire::raft::{JournalFrame, JournalRun};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;

use super::solitude::Solitude;
use super::types::TypeConfig;
use crate::disk::{self, free_space};
use crate::failpoints::{Bug, planted};
use crate::journal::Journal;

/// More than this in one frame would only make the first of it wait.
const MAX_FRAME_BYTES: usize = 4 << 20;
/// Free space is looked at after this time, or after an eighth of the reserve was written.
const LOOK_AT_SPACE: Duration = Duration::from_millis(20);
/// Entries up to this many bytes share a run, which is read as a whole.
pub const RUN_BYTES: usize = 256 << 10;
/// A disk that takes longer is not waited for by the thread that serves everybody.
const QUICK: Duration = Duration::from_millis(20);
/// After a write that was not quick, so long the writer's own thread makes them all.
const DISTRUST: Duration = Duration::from_secs(1);

/// Some consecutive entries, encoded one after the other.
#[derive(Default)]
pub struct Run {
    pub first: u64,
    pub count: u64,
    pub entries: Vec<u8>,
}

type Done = oneshot::Sender<std::io::Result<()>>;

pub enum Job {
    Append {
        runs: Vec<Run>,
        flushed: IOFlushed<TypeConfig>,
    },
    Vote {
        vote: wire::Vote,
        done: Done,
    },
    /// Everything from this index on goes.
    Truncate {
        from: u64,
        done: Done,
    },
    /// Everything up to this one goes.
    Purge {
        upto: wire::LogId,
        done: Done,
    },
}

/// What the writer tells others while it works.
#[derive(Default)]
pub struct Progress {
    /// The highest index that readers find on the disk.
    pub written: AtomicU64,
    /// Little space is left on the disk: what takes more of it shall be refused.
    pub low_space: AtomicBool,
    /// The newest that is known to be committed. It needs no acknowledgement and wakes nobody: it goes with the next frame.
    pub committed: Mutex<Option<wire::LogId>>,
    pub syncs: Counter,
    pub entries: Counter,
    /// The last entry that is gone from the log.
    pub purged: Gauge,
    /// What the writer is told: whether anybody would be kept waiting.
    pub solitude: Arc<Solitude>,
}

pub struct LogWriter {
    jobs: Jobs,
}

enum Jobs {
    Thread {
        queue: mpsc::Sender<Job>,
        shared: Arc<Shared>,
    },
    #[cfg(test)]
    Task(tokio::sync::mpsc::UnboundedSender<Job>),
}

/// What the writer's thread shares with the one that appends.
struct Shared {
    writer: Mutex<Writer>,
    solitude: Arc<Solitude>,
    /// Jobs that were given to the thread and are not done.
    queued: AtomicUsize,
}

struct Writer {
    journal: Journal,
    progress: Arc<Progress>,
    space: Option<Space>,
    looked_at_space: Option<Instant>,
    /// Bytes written since then.
    unlooked: u64,
    /// When a write last took the disk longer than [`QUICK`].
    was_slow: Option<Instant>,
    /// After a failed write or sync nothing can be known of what the disk holds: no later write may pretend.
    failed: Option<String>,
}

/// Where free space is looked for.
struct Space {
    directory: File,
    path: PathBuf,
    /// Bytes that shall be free.
    reserve: u64,
}

/// One batch on its way to the disk, and who waits for it.
#[derive(Default)]
struct Group {
    /// Without the entries.
    frame: JournalFrame,
    runs: Vec<Run>,
    bytes: usize,
    flushed: Vec<IOFlushed<TypeConfig>>,
    done: Vec<Done>,
}

impl LogWriter {
    /// `reserve`: bytes of free disk space below which [`Progress::low_space`] is raised.
    pub fn start(journal: Journal, progress: Arc<Progress>, directory: PathBuf, reserve: u64) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel();
        let solitude = progress.solitude.clone();
        let space = Space { directory: File::open(&directory)?, path: directory, reserve };
        let writer = Mutex::new(Writer::new(journal, progress, Some(space)));
        let shared = Arc::new(Shared { writer, solitude, queued: AtomicUsize::new(0) });
        let working = shared.clone();
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || working.run(&jobs))?;
        Ok(Self { jobs: Jobs::Thread { queue, shared } })
    }

    /// The writer as a task of the simulation, on a disk that takes its time.
    #[cfg(test)]
    pub fn simulated(
        journal: Journal,
        progress: Arc<Progress>,
        mut disk_time: impl FnMut() -> std::time::Duration + Send + 'static,
    ) -> Self {
        let (jobs, mut queue) = tokio::sync::mpsc::unbounded_channel();
        let mut writer = Writer::new(journal, progress, None);
        tokio::spawn(async move {
            let mut waiting = None;
            loop {
                let first = match waiting.take() {
                    Some(job) => job,
                    None => match queue.recv().await {
                        Some(job) => job,
                        None => return,
                    },
                };
                let mut group = Group::default();
                waiting = writer.gather(&mut group, first, || queue.try_recv().ok());
                if !group.is_empty() {
                    group.acknowledge_if_planted();
                    tokio::time::sleep(disk_time()).await;
                    writer.commit(group);
                    while queue.is_empty() && writer.reclaim_step() {}
                }
            }
        });
        Self { jobs: Jobs::Task(jobs) }
    }

    pub fn send(&self, job: Job) -> std::io::Result<()> {
        let sent = match &self.jobs {
            Jobs::Thread { queue, shared } => {
                let Some(job) = shared.do_at_once(job) else { return Ok(()) };
                shared.queued.fetch_add(1, Ordering::AcqRel);
                queue.send(job).is_ok()
            }
            #[cfg(test)]
            Jobs::Task(jobs) => jobs.send(job).is_ok(),
        };
        if sent { Ok(()) } else { Err(std::io::Error::other("the log's writer has ended")) }
    }
}

impl Shared {
    fn run(&self, queue: &mpsc::Receiver<Job>) {
        self.writer.lock().look_at_space();
        let mut waiting = None;
        while let Some(first) = waiting.take().or_else(|| self.next(queue)) {
            let mut writer = self.writer.lock();
            let mut group = Group::default();
            waiting = writer.gather(&mut group, first, || queue.try_recv().ok());
            let jobs = group.jobs();
            if jobs > 0 {
                if group.acknowledge_if_planted() {
                    // As long as a slow disk may take.
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                writer.commit(group);
                self.queued.fetch_sub(jobs, Ordering::AcqRel);
            }
        }
    }

    /// Waits for work. Meanwhile files go that a purge has left, one at a time: who comes waits for one at most.
    fn next(&self, queue: &mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(mpsc::TryRecvError::Empty) if self.writer.lock().reclaim_step() => {}
                Err(_) => return queue.recv().ok(),
            }
        }
    }

    /// Appends where this is called, if nobody has to wait for that. Gives back what the thread shall do: it keeps the
    /// order of what was given to it, so nothing may overtake that.
    fn do_at_once(&self, job: Job) -> Option<Job> {
        let is_append = matches!(job, Job::Append { .. }) && !planted(Bug::AckBeforeSync);
        if !is_append || !self.solitude.holds() || self.queued.load(Ordering::Acquire) > 0 {
            return Some(job);
        }
        let Some(mut writer) = self.writer.try_lock().filter(|writer| writer.is_quick()) else { return Some(job) };
        let mut group = Group::default();
        writer.gather(&mut group, job, || None);
        writer.commit(group);
        None
    }
}

impl Writer {
    fn new(journal: Journal, progress: Arc<Progress>, space: Option<Space>) -> Self {
        let (looked_at_space, was_slow) = (None, None);
        Self { journal, progress, space, looked_at_space, unlooked: 0, was_slow, failed: None }
    }

    fn is_quick(&self) -> bool {
        self.was_slow.is_none_or(|slow| slow.elapsed() > DISTRUST)
    }

    fn reclaim_step(&mut self) -> bool {
        if self.failed.is_some() {
            return false;
        }
        self.journal.reclaim_step().unwrap_or_else(|error| {
            self.fail(error.to_string());
            false
        })
    }

    fn fail(&mut self, cause: String) {
        tracing::error!(cause, "the log cannot be written");
        self.failed = Some(cause);
    }

    /// Takes up what is queued. A truncation begins a group of its own: the entries before it must be on the disk.
    fn gather(&mut self, group: &mut Group, first: Job, mut queued: impl FnMut() -> Option<Job>) -> Option<Job> {
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append { runs, flushed } => {
                    for run in runs {
                        group.append(run);
                    }
                    group.flushed.push(flushed);
                }
                Job::Vote { vote, done } => {
                    group.frame.vote = Some(vote);
                    group.done.push(done);
                }
                Job::Purge { upto, done } => {
                    group.frame.purged = Some(upto);
                    group.done.push(done);
                }
                Job::Truncate { from, done } if group.is_empty() => {
                    group.frame.truncate_from = Some(from);
                    group.done.push(done);
                }
                Job::Truncate { .. } => return Some(job),
            }
            if group.bytes >= MAX_FRAME_BYTES {
                return None;
            }
            next = queued();
        }
        None
    }

    fn commit(&mut self, mut group: Group) {
        self.unlooked += group.bytes as u64;
        let begun = Instant::now();
        let outcome = match &self.failed {
            Some(cause) => Err(cause.clone()),
            None => self.write(&mut group).map_err(|error| error.to_string()),
        };
        if let Err(cause) = &outcome {
            self.fail(cause.clone());
        }
        if begun.elapsed() > QUICK {
            self.was_slow = Some(Instant::now());
        }
        let answer = || outcome.clone().map_err(std::io::Error::other);
        for flushed in group.flushed {
            flushed.io_completed(answer());
        }
        for done in group.done {
            // Whoever asked may have gone.
            let _ = done.send(answer());
        }
        self.look_at_space();
    }

    /// Mostly one frame; more if one job brought more than a frame should hold.
    fn write(&mut self, group: &mut Group) -> disk::Result<()> {
        let mut frame = std::mem::take(&mut group.frame);
        let mut bytes = 0;
        for run in group.runs.drain(..) {
            if bytes > 0 && bytes + run.entries.len() > MAX_FRAME_BYTES {
                self.write_frame(std::mem::take(&mut frame))?;
                bytes = 0;
            }
            bytes += run.entries.len();
            frame.runs.push(JournalRun { first: run.first, count: run.count, entries: run.entries.into() });
        }
        self.write_frame(frame)
    }

    fn write_frame(&mut self, mut frame: JournalFrame) -> disk::Result<()> {
        let last = frame.runs.last().map(|run| run.first + run.count - 1);
        // A quorum may have what this disk has not yet; a start must find every entry that it is told is committed.
        let reached = last.unwrap_or_else(|| self.progress.written.load(Ordering::Acquire));
        frame.committed = self.progress.committed.lock().take_if(|committed| committed.index <= reached);
        let entries = frame.runs.iter().map(|run| run.count).sum();
        self.journal.write(frame)?;
        self.progress.syncs.inc();
        self.progress.entries.inc_by(entries);
        if let Some(last) = last {
            self.progress.written.store(last, Ordering::Release);
        }
        Ok(())
    }

    fn look_at_space(&mut self) {
        let Some(Space { directory, path, reserve }) = &self.space else { return };
        let is_recent = self.looked_at_space.is_some_and(|looked| looked.elapsed() < LOOK_AT_SPACE);
        if is_recent && self.unlooked < *reserve / 8 {
            return;
        }
        self.looked_at_space = Some(Instant::now());
        self.unlooked = 0;
        let low = match free_space(directory) {
            Ok(free) => free < *reserve,
            Err(error) => {
                tracing::warn!(%error, "cannot tell the free space of the disk");
                false
            }
        };
        if self.progress.low_space.swap(low, Ordering::AcqRel) != low {
            tracing::warn!(low, reserve, directory = %path.display(), "disk space");
        }
    }
}

impl Group {
    /// How many jobs it came of.
    fn jobs(&self) -> usize {
        self.flushed.len() + self.done.len()
    }

    fn is_empty(&self) -> bool {
        self.jobs() == 0
    }

    /// The planted bug, and whether it is.
    fn acknowledge_if_planted(&mut self) -> bool {
        if planted(Bug::AckBeforeSync) {
            self.flushed.drain(..).for_each(|flushed| flushed.io_completed(Ok(())));
        }
        planted(Bug::AckBeforeSync)
    }

    /// Appends that follow each other share a run, as long as it stays small.
    fn append(&mut self, run: Run) {
        self.bytes += run.entries.len();
        if let Some(open) = self.runs.last_mut()
            && open.first + open.count == run.first
            && open.entries.len() + run.entries.len() <= RUN_BYTES
        {
            open.entries.extend_from_slice(&run.entries);
            open.count += run.count;
            return;
        }
        self.runs.push(run);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use keelson_wire::raft::{LogId, Vote};
    use openraft::async_runtime::Oneshot;
    use openraft::type_config::alias::OneshotOf;

    use super::*;
    use crate::journal::power::PowerDirectory;
    use crate::journal::{File, Files};

    /// Takes a file away only when it is let.
    struct Gated {
        files: PowerDirectory,
        begun: mpsc::Sender<()>,
        let_one: Mutex<mpsc::Receiver<()>>,
    }

    impl Files for Gated {
        fn list(&self) -> std::io::Result<Vec<String>> {
            self.files.list()
        }

        fn open(&self, name: &str) -> std::io::Result<Arc<dyn File>> {
            self.files.open(name)
        }

        fn create(&self, name: &str, length: u64) -> std::io::Result<Arc<dyn File>> {
            self.files.create(name, length)
        }

        fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
            self.files.rename(from, to)
        }

        fn remove(&self, name: &str) -> std::io::Result<()> {
            // Both fail when the test has no more to say: then all may go.
            let _ = self.begun.send(());
            let _ = self.let_one.lock().recv();
            self.files.remove(name)
        }

        fn sync_directory(&self) -> std::io::Result<()> {
            self.files.sync_directory()
        }
    }

    fn append(index: u64) -> (Job, oneshot::Receiver<Result<(), std::io::Error>>) {
        let (done, flushed) = <OneshotOf<TypeConfig> as Oneshot>::channel();
        let runs = vec![Run { first: index, count: 1, entries: vec![b'e'; 100] }];
        (Job::Append { runs, flushed: IOFlushed::signal(done) }, flushed)
    }

    #[tokio::test]
    async fn a_write_that_is_alone_is_made_where_it_is_appended_and_overtakes_nothing() {
        let journal = Journal::recover(Path::new("log"), Box::new(PowerDirectory::default()), 1 << 20).expect("new");
        let progress = Arc::new(Progress::default());
        let writer = LogWriter::start(journal, progress.clone(), std::env::temp_dir(), 0).expect("a thread");
        let Jobs::Thread { shared, .. } = &writer.jobs else { unreachable!("it has a thread") };
        progress.solitude.set_only_member(true);

        let (job, mut flushed) = append(1);
        writer.send(job).expect("sent");
        assert!(matches!(flushed.try_recv(), Ok(Ok(()))), "it is done when it is sent");
        assert_eq!(progress.written.load(Ordering::Acquire), 1);

        // Somebody is at the journal: what comes meanwhile is the thread's, and then all that comes before it is done.
        let at_work = shared.writer.lock();
        let (job, mut second) = append(2);
        writer.send(job).expect("sent");
        let (job, mut third) = append(3);
        writer.send(job).expect("sent");
        assert!(second.try_recv().is_err() && third.try_recv().is_err());
        drop(at_work);
        let (job, fourth) = append(4);
        writer.send(job).expect("sent");
        for flushed in [second, third, fourth] {
            flushed.await.expect("answered").expect("written");
        }
        assert_eq!(progress.written.load(Ordering::Acquire), 4);

        // With company, and after the disk was slow, it is always the thread's.
        let company = [progress.solitude.enter(), progress.solitude.enter()];
        assert!(shared.do_at_once(append(5).0).is_some());
        drop(company);
        shared.writer.lock().was_slow = Some(Instant::now());
        assert!(shared.do_at_once(append(5).0).is_some());
    }

    #[tokio::test]
    async fn after_a_purge_a_write_waits_for_few_files_and_the_rest_goes_when_nobody_writes() {
        let files = PowerDirectory::default();
        let (begun, has_begun) = mpsc::channel();
        let (let_go, let_one) = mpsc::channel();
        let gated = Gated { files: files.clone(), begun, let_one: Mutex::new(let_one) };
        let mut journal = Journal::recover(Path::new("log"), Box::new(gated), 4 << 10).expect("new");
        for first in 1..=40 {
            let run = JournalRun { first, count: 1, entries: vec![b'e'; 3_000].into() };
            journal.write(JournalFrame { runs: vec![run], ..JournalFrame::default() }).expect("written");
        }
        let count = || Files::list(&files).expect("listed").len();
        assert_eq!(count(), 40, "each entry has a file of its own");
        let writer = LogWriter::start(journal, Arc::default(), std::env::temp_dir(), 0).expect("a thread");

        let (done, purged) = oneshot::channel();
        writer.send(Job::Purge { upto: LogId { term: 1, index: 39 }, done }).expect("sent");
        let in_time = |answer| tokio::time::timeout(Duration::from_secs(10), answer);
        let purged = in_time(purged).await.expect("the purge waits for no file that is taken away");
        purged.expect("answered").expect("purged");
        // The purge's own frame made the first file the spare one. The next one is about to go, since nobody writes.
        has_begun.recv().expect("it begins");
        let (done, voted) = oneshot::channel();
        writer.send(Job::Vote { vote: Vote::default(), done }).expect("sent");
        // That one, and the one that goes with the vote's frame.
        let_go.send(()).expect("the writer waits");
        let_go.send(()).expect("the writer waits");
        let voted = in_time(voted).await.expect("the vote waits for no more files");
        voted.expect("answered").expect("written");
        assert_eq!(count(), 38);

        drop((let_go, has_begun));
        let started = Instant::now();
        while count() > 2 {
            assert!(started.elapsed() < Duration::from_secs(30), "{} files are left", count());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
