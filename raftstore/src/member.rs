//! One member, put together: disk, consensus, roles, doors; and taken apart in the opposite order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keelson_process::descriptors::raise_limit;
use keelson_process::identity::{ClientAuth, TlsFiles};
use keelson_process::supervision::{Spec, supervise};
use keelson_process::{Process, Shutdown};
use keelson_wire::raft as wire;
use keelson_wire::raft::command::Change;

use crate::Error;
use crate::bootstrap::{Beginning, begin};
use crate::disk::{DataDirectory, StateDirectory};
use crate::doors::{Answers, Door, DoorTls, Lanes, Place, Requests, Services, listen};
use crate::housekeeping::{Housekeeper, Retention};
use crate::journal::Journal;
use crate::leases::{Keeper, Leases};
use crate::mvcc::Limits;
use crate::novelty;
use crate::options::{CompactionMode, Options, duration};
use crate::raft::{Consensus, Dialer, Entrance, Log, Machine, PeerDoor, PeerTls, Settings};
use crate::watch;

const DEFAULT_QUOTA: u64 = 2 << 30;
/// Connections at the peer door, at most, and no more than an eighth of the files that may be open: each of the others has
/// a few.
const PEER_CONNECTIONS: usize = 256;
const LEASE_TURN: Duration = Duration::from_millis(500);
const HOUSEKEEPING_TURN: Duration = Duration::from_secs(1);

/// A member that runs, until its process' shutdown.
pub struct Running {
    consensus: Arc<Consensus>,
    /// Where the client doors are, in the flags' order: a port 0 was chosen by the kernel.
    pub client_addresses: Vec<SocketAddr>,
}

/// Runs a member until the process is asked to end, or until it can go on no longer.
pub async fn run(options: Options, process: Process) -> Result<(), Error> {
    let running = match start(options, &process).await {
        // It was told to stop before it took part.
        Err(Error::Stopped) => return Ok(()),
        started => started?,
    };
    running.until_ended(&process.shutdown).await
}

/// Starts a member and returns when clients can use it.
pub async fn start(options: Options, process: &Process) -> Result<Running, Error> {
    let ready = process.health.check("store");
    serve_metrics(&options, process).await?;
    let data_dir = options.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}.raftstore", options.name)));
    let peer_tls = peer_client_tls(&options)?;
    let Beginning { identity, founders, is_without_data } = begin(&options, &data_dir, peer_tls.clone()).await?;
    tracing::info!(
        name = identity.name,
        member = format!("{:x}", identity.member_id),
        cluster = format!("{:x}", identity.cluster_id),
        data_dir = %data_dir.display(),
        "starting"
    );
    let entrance = Entrance::new(identity.cluster_id, is_without_data);
    let descriptors = usize::try_from(raise_limit()).unwrap_or(usize::MAX);
    open_peer_doors(&options, &entrance, descriptors, &process.shutdown).await?;
    let dialer = Dialer::new(identity.cluster_id, peer_tls);
    if let Some(founders) = founders.as_ref().filter(|_| is_without_data) {
        tokio::select! {
            is_new = novelty::assure(&dialer, &identity, founders) => is_new?,
            () = process.shutdown.begun() => return Err(Error::Stopped),
        }
    }
    let hub = Arc::new(watch::Hub::default());
    let (directory, reserve, cache) = (data_dir.clone(), options.disk_reserve_bytes, options.state_cache_bytes);
    let (opened_identity, opened_hub) = (identity.clone(), hub.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let directory_handle = DataDirectory::open(&directory, &opened_identity)?;
        let journal = directory_handle.log_path();
        // The state's database first: its lock keeps a second process away from the log too.
        let machine = Machine::open(Box::new(StateDirectory::new(directory_handle, cache)), opened_hub)?;
        let log = Log::open(Journal::open(&journal)?, directory, reserve)?;
        Ok::<_, crate::disk::Error>((log, Arc::new(machine)))
    });
    let (log, machine) = opened.await.map_err(|error| Error::Consensus(error.to_string()))??;
    let is_new = log.is_empty();
    let settings = Settings {
        id: identity.member_id,
        heartbeat: Duration::from_millis(options.heartbeat_interval),
        election_timeout: Duration::from_millis(options.election_timeout.max(5 * options.heartbeat_interval)),
        max_request_bytes: options.max_request_bytes as usize,
        quota: if options.quota_backend_bytes == 0 { DEFAULT_QUOTA } else { options.quota_backend_bytes },
        kept_entries: options.snapshot_catchup_entries,
    };
    let consensus = Consensus::start(settings, log, machine.clone(), dialer).await?;
    consensus.heed_departures();
    register_metrics(process, &consensus);
    let leases = Leases::new(consensus.clone());
    entrance.open(PeerDoor::service(consensus.clone(), leases.clone()));
    if let Some(founders) = founders.filter(|_| is_new) {
        consensus.initialize(founders).await?;
    }
    start_roles(process, &options, &consensus, &leases)?;

    // What was acknowledged before a restart must be visible before anybody asks.
    tokio::select! {
        recovered = consensus.recovered() => recovered?,
        cause = consensus.failed() => return Err(Error::Consensus(cause)),
        () = process.shutdown.begun() => {}
    }
    let limits = Limits { max_txn_ops: options.max_txn_ops, max_request_bytes: options.max_request_bytes as usize };
    let requests = Arc::new(Requests::new(consensus.clone(), leases, limits));
    let client_addresses = open_client_doors(&options, &requests, descriptors, &process.shutdown).await?;
    tokio::spawn(introduce(consensus.clone(), client_urls(&options), process.shutdown.clone()));
    ready.set_ok();
    tracing::info!(?client_addresses, "ready for clients");
    Ok(Running { consensus, client_addresses })
}

impl Running {
    /// Waits for the end and takes the member apart in order.
    pub async fn until_ended(self, shutdown: &Shutdown) -> Result<(), Error> {
        let outcome = tokio::select! {
            () = shutdown.begun() => Ok(()),
            cause = self.consensus.failed() => Err(Error::Consensus(cause)),
        };
        shutdown.begin();
        self.consensus.stop().await;
        let machine = self.consensus.machine().clone();
        if outcome.is_ok()
            && let Ok(Err(error)) = tokio::task::spawn_blocking(move || machine.checkpoint()).await
        {
            tracing::warn!(%error, "the last checkpoint failed; the log has everything");
        }
        outcome
    }
}

fn start_roles(process: &Process, options: &Options, consensus: &Arc<Consensus>, leases: &Leases) -> Result<(), Error> {
    let retention = retention(options)?;
    let keeper_leases = leases.clone();
    let keeper =
        supervise(process, Spec::new("lease-keeper").mailbox_capacity(1), move || Keeper::new(keeper_leases.clone()));
    let (housekeeper_consensus, checkpoint_entries) = (consensus.clone(), options.snapshot_count);
    let housekeeper = supervise(process, Spec::new("housekeeper").mailbox_capacity(1), move || {
        Housekeeper::new(housekeeper_consensus.clone(), retention, checkpoint_entries)
    });
    for (inbox, turn) in [(keeper, LEASE_TURN), (housekeeper, HOUSEKEEPING_TURN)] {
        let shutdown = process.shutdown.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(turn);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = shutdown.begun() => return,
                }
                // A turn that is still under way makes the next one needless.
                let _ = inbox.try_send(());
            }
        });
    }
    Ok(())
}

fn retention(options: &Options) -> Result<Retention, Error> {
    let text = options.auto_compaction_retention.as_str();
    let revisions = |text: &str| text.parse::<u32>().ok().map(|kept| Retention::Revisions(kept.into()));
    let time = |text: &str| match text.parse::<u64>() {
        Ok(hours) => Some(Retention::Time(Duration::from_secs(hours.saturating_mul(3600)))),
        Err(_) => duration(text).map(Retention::Time),
    };
    let retention = match options.auto_compaction_mode {
        _ if text.is_empty() => Some(Retention::Everything),
        CompactionMode::Revision => revisions(text),
        CompactionMode::Periodic => time(text),
    };
    match retention {
        Some(Retention::Revisions(0) | Retention::Time(Duration::ZERO)) => Ok(Retention::Everything),
        Some(retention) => Ok(retention),
        None => Err(Error::Options(format!("--auto-compaction-retention: {text:?} is no time and no number"))),
    }
}

/// Tells the others this member's name and where its clients go, as soon as somebody can be told.
async fn introduce(consensus: Arc<Consensus>, client_urls: Vec<String>, shutdown: Shutdown) {
    let id = consensus.id();
    let name = consensus.peer(id).map(|peer| peer.name).unwrap_or_default();
    let attributes = wire::MemberAttributes { id, name, client_urls };
    while !shutdown.has_begun() {
        let known = consensus.machine().state().members.get(&id).is_some_and(|known| **known == attributes);
        if known {
            return;
        }
        let command = wire::Command { change: Some(Change::Member(attributes.clone())) };
        if let Err(refusal) = consensus.propose(command).await {
            tracing::debug!(%refusal, "cannot introduce this member yet");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn client_urls(options: &Options) -> Vec<String> {
    let given = &options.advertise_client_urls;
    if !given.is_empty() {
        return given.clone();
    }
    // A file is for this machine alone.
    options.listen_client_urls.iter().filter(|url| file(url).is_none()).cloned().collect()
}

/// The path in a URL that names a socket in the file system.
fn file(url: &str) -> Option<&Path> {
    url.strip_prefix("unix://").map(Path::new)
}

/// A URL of the flags: whether it is https, and where the door is.
fn place(url: &str) -> Result<(bool, Place), Error> {
    match file(url) {
        Some(path) if path.is_absolute() => Ok((false, Place::File(path.to_owned()))),
        Some(_) => {
            Err(Error::Options(format!("{url:?} is no URL to listen on: a path must follow, as in unix:///run/x")))
        }
        None => address(url).map(|(secure, address)| (secure, Place::Address(address))),
    }
}

/// A URL of the flags that is no file: whether it is https, and the address to bind.
fn address(url: &str) -> Result<(bool, SocketAddr), Error> {
    let invalid = |why: &str| Error::Options(format!("{url:?} is no URL to listen on: {why}"));
    let (secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return Err(invalid("it must begin with http:// or https:// (of a client door also unix://)")),
    };
    let rest = rest.trim_end_matches('/');
    let resolved = std::net::ToSocketAddrs::to_socket_addrs(rest).map_err(|error| invalid(&error.to_string()))?;
    // localhost may be both; etcd takes the IPv4 one.
    let mut addresses: Vec<SocketAddr> = resolved.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.into_iter().next().map(|address| (secure, address)).ok_or_else(|| invalid("it has no address"))
}

fn files(
    ca: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&Path>,
    which: &str,
) -> Result<Option<TlsFiles>, Error> {
    match (ca, certificate, key) {
        (None, None, None) => Ok(None),
        (Some(ca), Some(certificate), Some(key)) => Ok(Some(TlsFiles::new(ca, certificate, key))),
        _ => Err(Error::Options(format!(
            "--{which}cert-file, --{which}key-file and --{which}trusted-ca-file belong together"
        ))),
    }
}

fn peer_files(options: &Options) -> Result<Option<TlsFiles>, Error> {
    let (ca, certificate) = (options.peer_trusted_ca_file.as_deref(), options.peer_cert_file.as_deref());
    files(ca, certificate, options.peer_key_file.as_deref(), "peer-")
}

fn peer_client_tls(options: &Options) -> Result<Option<PeerTls>, Error> {
    let Some(files) = peer_files(options)? else { return Ok(None) };
    let mut config = files.client_config()?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(Arc::new(config)))
}

fn door_tls(files: Option<TlsFiles>, allowed: &[String]) -> Result<Option<DoorTls>, Error> {
    let Some(files) = files else { return Ok(None) };
    let mut config = files.server_config(ClientAuth::Required)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(DoorTls { config: Arc::new(config), allowed: allowed.to_vec() }))
}

async fn open_doors(
    name: &'static str,
    urls: &[String],
    tls: Option<DoorTls>,
    answers: &impl Answers,
    places: usize,
    shutdown: &Shutdown,
) -> Result<Vec<SocketAddr>, Error> {
    let mut bound = Vec::new();
    let lanes = Lanes::new(places);
    for url in urls {
        let (secure, place) = place(url)?;
        let tls = match (secure, &tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.clone()),
            (true, None) => return Err(Error::Options(format!("{url} needs certificate, key and CA files"))),
        };
        let door = Door { name, place, tls, lanes: lanes.clone() };
        let listening = listen(door, answers.clone(), shutdown.clone()).await;
        bound.extend(listening.map_err(|source| Error::Listen { url: url.clone(), source })?);
    }
    Ok(bound)
}

async fn open_peer_doors(
    options: &Options,
    entrance: &Entrance,
    descriptors: usize,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let tls = door_tls(peer_files(options)?, &options.peer_cert_allowed_cn)?;
    let places = PEER_CONNECTIONS.min(descriptors / 8);
    if let Some(url) = options.listen_peer_urls.iter().find(|url| file(url).is_some()) {
        return Err(Error::Options(format!("{url}: members reach each other by http:// or https://")));
    }
    open_doors("peer", &options.listen_peer_urls, tls, entrance, places, shutdown).await.map(drop)
}

async fn open_client_doors(
    options: &Options,
    requests: &Arc<Requests>,
    descriptors: usize,
    shutdown: &Shutdown,
) -> Result<Vec<SocketAddr>, Error> {
    let (ca, certificate) = (options.trusted_ca_file.as_deref(), options.cert_file.as_deref());
    let files = files(ca, certificate, options.key_file.as_deref(), "")?;
    let tls = door_tls(files, &options.client_cert_allowed_cn)?;
    let time = |flag: &str, text: &String| {
        let time = duration(text).filter(|time| !time.is_zero());
        time.ok_or_else(|| Error::Options(format!("--{flag}: {text:?} is no time")))
    };
    let header = requests.clone();
    let settings = watch::Settings {
        progress_interval: time("watch-progress-notify-interval", &options.watch_progress_notify_interval)?,
        patience: time("watch-stall-timeout", &options.watch_stall_timeout)?,
        fragment_bytes: options.max_request_bytes as usize,
        header: Arc::new(move |revision| header.header(revision)),
    };
    let services = Services::new(requests, settings);
    // The rest is for the peers, and for the files of the log and of the state.
    let places = (options.max_connections as usize).min(descriptors / 2);
    open_doors("client", &options.listen_client_urls, tls, &services, places, shutdown).await
}

async fn serve_metrics(options: &Options, process: &Process) -> Result<(), Error> {
    for url in &options.listen_metrics_urls {
        let (secure, address) = address(url)?;
        let tls = if secure {
            let (ca, certificate) = (options.trusted_ca_file.as_deref(), options.cert_file.as_deref());
            let files = files(ca, certificate, options.key_file.as_deref(), "")?;
            let files = files.ok_or_else(|| Error::Options(format!("{url} needs certificate, key and CA files")))?;
            Some(files.server_config(ClientAuth::Optional)?)
        } else {
            None
        };
        let served = process.health.serve(address, tls, process.shutdown.clone()).await;
        served.map_err(|source| Error::Listen { url: url.clone(), source })?;
    }
    Ok(())
}

fn register_metrics(process: &Process, consensus: &Arc<Consensus>) {
    let metrics = &process.metrics;
    let progress = consensus.log().progress();
    metrics.register("log_syncs", "Durability barriers of the log", progress.syncs.clone());
    metrics.register("log_entries", "Entries made durable", progress.entries.clone());
    metrics.register("log_purged", "The last entry that is gone from the log", progress.purged.clone());
    let hub = consensus.machine().hub();
    metrics.register("watch_streams", "Open watch streams", hub.streams.clone());
    metrics.register("watches", "Open watches", hub.watches.clone());
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn retentions_are_read_as_etcd_reads_them() {
        let hours = |hours: u64| Some(Retention::Time(Duration::from_secs(hours * 3600)));
        let table = [
            ("periodic", "", Some(Retention::Everything)),
            ("periodic", "0", Some(Retention::Everything)),
            ("periodic", "0s", Some(Retention::Everything)),
            ("periodic", "1", hours(1)),
            ("periodic", "24h", hours(24)),
            ("periodic", "1s", Some(Retention::Time(Duration::from_secs(1)))),
            ("periodic", "-1", None),
            ("periodic", "soon", None),
            ("revision", "0", Some(Retention::Everything)),
            ("revision", "1000", Some(Retention::Revisions(1000))),
            ("revision", "1h", None),
            ("revision", "-1", None),
        ];
        for (mode, text, expected) in table {
            let mode_flag = format!("--auto-compaction-mode={mode}");
            let retention_flag = format!("--auto-compaction-retention={text}");
            let options = Options::parse_from(["raftstore", &mode_flag, &retention_flag]);
            assert_eq!(retention(&options).ok(), expected, "{mode} {text}");
        }
    }
}
