//! The flags of `raftstore`: etcd's names and meanings wherever it has the same option.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};
use keelson_process::TelemetryOptions;

/// A replicated key-value store that speaks etcd's v3 API.
#[derive(Clone, Debug, Parser)]
#[command(name = "raftstore", version)]
#[group(skip)]
pub struct Options {
    /// A YAML file that says the same things as these flags.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// This member's name, as --initial-cluster has it.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Where this member keeps its data; without it, NAME.raftstore in the working directory.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,

    /// URLs to listen on for clients; unix:///PATH is a socket that only its owner may connect to.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set, default_value = "http://localhost:2379")]
    pub listen_client_urls: Vec<String>,
    /// URLs that clients are told to use.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    pub advertise_client_urls: Vec<String>,
    /// URLs to listen on for the other members.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set, default_value = "http://localhost:2380")]
    pub listen_peer_urls: Vec<String>,
    /// URLs that the other members reach this one at.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set, default_value = "http://localhost:2380")]
    pub initial_advertise_peer_urls: Vec<String>,
    /// URLs (http or https) to serve /healthz, /livez, /readyz and /metrics on.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    pub listen_metrics_urls: Vec<String>,

    /// The members that found the cluster: NAME=PEER_URL,...; without it, this member alone.
    #[arg(long)]
    pub initial_cluster: Option<String>,
    /// `new` to found the cluster; `existing` to join one that has been told of this member (member add).
    #[arg(long, value_enum, default_value_t = InitialState::New)]
    pub initial_cluster_state: InitialState,
    /// Sets clusters apart that have the same URLs.
    #[arg(long, default_value = "etcd-cluster")]
    pub initial_cluster_token: String,

    /// Milliseconds between a leader's heartbeats.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=5_000))]
    pub heartbeat_interval: u64,
    /// Milliseconds without a leader after which an election begins; at least five heartbeats.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(50..=50_000))]
    pub election_timeout: u64,

    /// Live bytes above which nothing may grow and the NOSPACE alarm is raised; 0 is the default of 2 GiB.
    #[arg(long, default_value_t = 0)]
    pub quota_backend_bytes: u64,
    /// Bytes of free disk space below which nothing may grow and the NOSPACE alarm is raised.
    #[arg(long, default_value_t = 64 << 20)]
    pub disk_reserve_bytes: u64,
    /// Bytes of records of the state that are cached.
    #[arg(long, default_value_t = 24 << 20)]
    pub state_cache_bytes: u64,
    /// Entries of the log that are applied between two checkpoints; after a crash as many are applied again.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_count: u64,
    /// Entries of the log that stay behind a checkpoint, so that a member that was away shortly needs no snapshot.
    #[arg(long, default_value_t = 2_000, alias = "experimental-snapshot-catchup-entries")]
    pub snapshot_catchup_entries: u64,
    /// Connections of clients, at most; and no more than half of the files that the process may have open.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Operations in a transaction, at most.
    #[arg(long, default_value_t = 128)]
    pub max_txn_ops: usize,
    /// Bytes of a request, at most.
    #[arg(long, default_value_t = 1_572_864, value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub max_request_bytes: u32,
    /// What --auto-compaction-retention counts.
    #[arg(long, value_enum, default_value_t = CompactionMode::Periodic)]
    pub auto_compaction_mode: CompactionMode,
    /// History to keep: a time (5m, 1h; a plain number is hours) or a number of revisions. 0: compact nothing unasked.
    #[arg(long, default_value = "0")]
    pub auto_compaction_retention: String,
    /// How often a quiet watch that wants it is told how far it is.
    #[arg(long, default_value = "10m", alias = "experimental-watch-progress-notify-interval")]
    pub watch_progress_notify_interval: String,
    /// A client that takes no answer of its watches for this time, though there are some, is told so and must watch again.
    #[arg(long, default_value = "1m")]
    pub watch_stall_timeout: String,

    /// The client door's certificate.
    #[arg(long)]
    pub cert_file: Option<PathBuf>,
    /// The client door's key.
    #[arg(long)]
    pub key_file: Option<PathBuf>,
    /// The CA of the clients' certificates.
    #[arg(long)]
    pub trusted_ca_file: Option<PathBuf>,
    /// Let in only clients with a certificate of --trusted-ca-file. Always on where that file is given.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub client_cert_auth: bool,
    /// Common names of the clients that are let in; without it, all that the CA has signed.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    pub client_cert_allowed_cn: Vec<String>,

    /// The peer door's certificate, and this member's own towards the others.
    #[arg(long)]
    pub peer_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    pub peer_key_file: Option<PathBuf>,
    /// The CA of the members' certificates.
    #[arg(long)]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Let in only members with a certificate of --peer-trusted-ca-file. Always on where that file is given.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub peer_client_cert_auth: bool,
    /// Common names of the members that are let in; without it, all that the CA has signed.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    pub peer_cert_allowed_cn: Vec<String>,

    #[command(flatten)]
    pub telemetry: TelemetryOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InitialState {
    New,
    Existing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompactionMode {
    Periodic,
    Revision,
}

/// A time as etcd's flags write it: 90s, 5m, 1h30m.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut total = std::time::Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|character: char| character.is_ascii_digit());
        let (unit, after) = rest[digits..].split_at(unit_end.unwrap_or(rest.len() - digits));
        total += match unit {
            "ms" => std::time::Duration::from_millis(number),
            "s" => std::time::Duration::from_secs(number),
            "m" => std::time::Duration::from_secs(number.checked_mul(60)?),
            "h" => std::time::Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_read_as_etcd_writes_them() {
        let table = [
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("5", None),
            ("", None),
            ("5d", None),
        ];
        for (text, milliseconds) in table {
            assert_eq!(duration(text), milliseconds.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn the_flags_are_well_formed_and_take_etcds_spelling() {
        let options = Options::parse_from([
            "raftstore",
            "--name=a",
            "--client-cert-auth",
            "--peer-client-cert-auth=true",
            "--listen-client-urls=https://127.0.0.1:1,https://127.0.0.1:2",
            "--auto-compaction-mode=revision",
        ]);
        assert!(options.client_cert_auth && options.peer_client_cert_auth);
        assert_eq!(options.listen_client_urls.len(), 2);
        let twice = ["raftstore", "--listen-client-urls=http://a:1", "--listen-client-urls=http://b:2"];
        let twice = twice.map(Into::into).to_vec();
        let options: Options = keelson_process::configuration::parse_from(twice).expect("the last one counts");
        assert_eq!(options.listen_client_urls, ["http://b:2"]);
    }
}
