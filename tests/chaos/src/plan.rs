//! What a run does, from its flags.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum as _;

use crate::cluster::Shape;
use crate::faults::FaultKind;
use crate::options::Options;
use crate::{Error, Result};

/// The seed and the length of the run that every check of the project makes.
const QUICK_SEED: u64 = 20_261_124;
const QUICK_SECONDS: u64 = 40;

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
        let seed = options.seed.unwrap_or(if options.quick { QUICK_SEED } else { now });
        let seconds = if options.quick { QUICK_SECONDS } else { options.seconds };
        Self {
            seed,
            length: Duration::from_secs(seconds),
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
        let environment = options.member_environment.iter().map(pair).collect::<Result<_>>()?;
        let flags = options.member_flags.iter().map(|flag| format!("--{}", flag.trim_start_matches('-'))).collect();
        Ok(Shape {
            members: self.members,
            binary: binary(options)?,
            small_disks: self.faults.contains(&FaultKind::Disk),
            flags,
            environment,
        })
    }
}

fn binary(options: &Options) -> Result<PathBuf> {
    let path = match &options.raftstore {
        Some(path) => path.clone(),
        None => {
            let own = std::env::current_exe().map_err(|error| Error::tried("find", "this program", error))?;
            own.with_file_name("raftstore")
        }
    };
    if path.is_file() { Ok(path) } else { Err(Error::new(format!("there is no {}: build it first", path.display()))) }
}
