//! The flags, under kube-scheduler's names.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use keelson_process::TelemetryOptions;

/// Assigns pods to nodes.
#[derive(Clone, Debug, Parser)]
#[command(name = "scheduler", version, about)]
#[group(skip)]
pub struct Options {
    /// A YAML file that says the same as the flags: a mapping of flag names to values. Flags win.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The kubeconfig whose server is the API server's gRPC door.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,

    /// The address at which /healthz, /livez, /readyz and /metrics are served.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind_address: IpAddr,

    /// The port at which they are served; 0 serves them nowhere.
    #[arg(long, default_value_t = 10259)]
    pub secure_port: u16,

    /// The certificate to serve them with; without one they are served in plain text.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// The key of the certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Only one of several schedulers works at a time.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_elect: bool,

    /// How long a leader that is not heard of keeps the others waiting.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,

    /// How long the leader tries to renew before it gives up.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,

    /// The time between attempts to acquire or renew.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,

    /// The name of the Lease.
    #[arg(long, default_value = "kube-scheduler")]
    pub leader_elect_resource_name: String,

    /// The namespace of the Lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,

    /// The pods that are this scheduler's: those with this spec.schedulerName.
    #[arg(long, default_value = "default-scheduler")]
    pub scheduler_name: String,

    #[command(flatten)]
    pub telemetry: TelemetryOptions,
}

/// `1m30s`, `15s`, `500ms`, as Go writes durations.
fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or("a duration has units, as in 15s")?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a duration such as 15s"))?;
        let units = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let found = units.into_iter().find_map(|(unit, seconds)| tail.strip_prefix(unit).map(|tail| (seconds, tail)));
        let (seconds, tail) = found.ok_or_else(|| format!("{text:?} is not a duration such as 15s"))?;
        total += Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
        rest = tail;
    }
    match total.is_zero() {
        true => Err("a duration above zero is needed".to_owned()),
        false => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("15s"), Ok(Duration::from_secs(15)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "15", "0s", "x", "1d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn leader_election_can_be_turned_off() {
        let parse = |flags: &[&str]| {
            Options::try_parse_from([&["scheduler", "--kubeconfig=k"], flags].concat()).unwrap().leader_elect
        };
        assert!(parse(&[]));
        assert!(parse(&["--leader-elect"]));
        assert!(!parse(&["--leader-elect=false"]));
    }
}
