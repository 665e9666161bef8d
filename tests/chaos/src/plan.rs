//! What a run does, from its flags.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum as _;

use crate::cluster::Shape;
use crate::faults::FaultKind;
use crate::options::Options;
use crate::{Error, Result};

/// Where members kill themselves, and once in how many times.
const KILL_AT: &str = "before-append/900,before-sync/900,after-sync/900,before-apply/900,after-apply/900,before-vote/15,\
                       after-vote/15,before-checkpoint/2,after-checkpoint/2,before-install/2,after-install/2,\
                       during-compaction/15,before-purge/2,after-purge/2";

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub length: Duration,
    pub round: Duration,
    pub faults: Vec<FaultKind>,
    pub members: usize,
    pub clients: u32,
    pub rate: u32,
}

impl Plan {
    pub fn new(options: &Options) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let faults = match (options.calm, options.faults.as_slice()) {
            (true, _) => Vec::new(),
            (false, []) => FaultKind::value_variants().to_vec(),
            (false, some) => some.to_vec(),
        };
        Self {
            seed: options.seed.unwrap_or(now),
            length: Duration::from_secs(options.seconds),
            round: Duration::from_secs(options.round),
            faults,
            members: usize::from(options.members),
            clients: options.clients,
            rate: options.rate,
        }
    }

    pub fn shape(&self, options: &Options) -> Result<Shape> {
        let pair = |text: &String| {
            let pair = text.split_once('=').ok_or_else(|| Error::new(format!("{text:?} is not NAME=VALUE")))?;
            Ok((pair.0.to_owned(), pair.1.to_owned()))
        };
        let mut environment = Vec::new();
        environment.extend(options.failpoints.then(|| ("RAFTSTORE_KILL_AT".to_owned(), KILL_AT.to_owned())));
        environment.extend(options.plant.clone().map(|bug| ("RAFTSTORE_BUG".to_owned(), bug)));
        // The last of a name counts.
        for given in &options.member_environment {
            environment.push(pair(given)?);
        }
        let flags = options.member_flags.iter().map(|flag| format!("--{}", flag.trim_start_matches('-'))).collect();
        Ok(Shape {
            members: self.members,
            binary: binary(options)?,
            small_disks: self.faults.contains(&FaultKind::Disk),
            flags,
            may_die: options.failpoints || options.plant.is_some(),
            environment,
        })
    }
}

fn binary(options: &Options) -> Result<PathBuf> {
    let path = match &options.raftstore {
        Some(path) => path.clone(),
        None => {
            let own = std::env::current_exe().map_err(|error| Error::tried("find", "this program", error))?;
            let with_failpoints = options.failpoints || options.plant.is_some();
            own.with_file_name(if with_failpoints { "raftstore-failpoints" } else { "raftstore" })
        }
    };
    if path.is_file() { Ok(path) } else { Err(Error::new(format!("there is no {}: build it first", path.display()))) }
}
