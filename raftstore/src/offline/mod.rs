//! What an operator does with a member's files while no member runs on them.
//!
//! - `raftstore snapshot status|restore`: a backup is looked at, or becomes the data of a member of a new cluster.
//! - `raftstore recover`: the survivor of a cluster that lost its quorum becomes a cluster of one.
//!
//! Both make a cluster with an id that no other has, so that members of the old one are refused by it. Both are made of
//! steps of which the last one decides: cut short before it, they have changed nothing that a member would start on.

mod backup_file;
mod recover;
mod restore;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bootstrap::hash_id;

#[derive(Parser)]
#[command(name = "raftstore", version)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Backups: look at one, restore one into a new cluster
    Snapshot {
        #[command(subcommand)]
        action: Snapshot,
    },
    /// Make a cluster of one of the member that is left after the quorum was lost
    Recover(recover::Options),
}

#[derive(Subcommand)]
enum Snapshot {
    /// Check a backup and say what is in it
    Status { file: std::path::PathBuf },
    /// Make the data directory of one member of a new cluster
    Restore(restore::Options),
}

impl Command {
    /// The command, when the arguments name one and not the flags of a member.
    pub fn given() -> Option<Self> {
        let first = std::env::args().nth(1)?;
        matches!(first.as_str(), "snapshot" | "recover").then(Self::parse)
    }
}

pub fn run(command: Command) -> ExitCode {
    let outcome = match command.action {
        Action::Snapshot { action: Snapshot::Status { file } } => restore::status(&file),
        Action::Snapshot { action: Snapshot::Restore(options) } => restore::restore(&options),
        Action::Recover(options) => recover::recover(&options),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("raftstore: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An id that depends on all parts.
fn id(parts: &[&[u8]]) -> u64 {
    hash_id(parts.iter().copied())
}
