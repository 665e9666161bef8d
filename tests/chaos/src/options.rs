//! The flags of `chaos`.

use std::path::PathBuf;

use clap::Parser;

use crate::faults::FaultKind;
use crate::judge::Kind;

/// Breaks a cluster of real raftstore processes in every way it knows, and judges what its clients saw.
#[derive(Clone, Debug, Parser)]
#[command(name = "chaos")]
pub struct Options {
    /// Seconds of faults; they go by in rounds, and each round is judged
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Seconds of a round, at most
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=600))]
    pub round: u64,
    /// What the plan of faults and the clients' dice begin with; without it, the time
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only these kinds of faults
    #[arg(long = "fault", value_enum, value_delimiter = ',')]
    pub faults: Vec<FaultKind>,
    /// No faults at all
    #[arg(long, conflicts_with = "faults")]
    pub calm: bool,
    /// Members of the cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub members: u8,
    /// Clients that ask; beside them, one reader stays with each member
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub clients: u32,
    /// Operations a second, of all clients together, at most
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// The raftstore program; without it, raftstore or raftstore-failpoints beside this program
    #[arg(long)]
    pub raftstore: Option<PathBuf>,
    /// Where the members' directories and logs go; without it, a temporary directory that goes with the run if all was well
    #[arg(long)]
    pub directory: Option<PathBuf>,
    /// A flag for all members, as NAME=VALUE; may be given again
    #[arg(long = "member-flag", allow_hyphen_values = true)]
    pub member_flags: Vec<String>,
    /// An environment variable for all members, as NAME=VALUE; may be given again
    #[arg(long = "member-env")]
    pub member_environment: Vec<String>,
    /// The short fixed run that every check of the project makes; no other flag counts
    #[arg(long)]
    pub quick: bool,
    /// Members that kill themselves at chosen points now and then (raftstore-failpoints)
    #[arg(long)]
    pub failpoints: bool,
    /// Members with this bug (raftstore-failpoints): ack-before-sync, watch-skips, stale-read, lost-vote
    #[arg(long)]
    pub plant: Option<String>,
    /// The run is good if one of these broken promises is found, and not good if none is
    #[arg(long, value_enum, value_delimiter = ',')]
    pub expect: Vec<Kind>,
    /// A kube-apiserver of upstream's: it works on the members instead of the clients, and kubectl with it
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["failpoints", "plant", "expect"])]
    pub kube_apiserver: Option<PathBuf>,
    /// The kubectl for it
    #[arg(long, env = "KUBECTL", default_value = "kubectl", value_name = "PROGRAM")]
    pub kubectl: PathBuf,
    /// Say every fault
    #[arg(long, short)]
    pub verbose: bool,
}
