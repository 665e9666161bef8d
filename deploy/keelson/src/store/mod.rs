//! `keelson store`: what an operator does with the Raft store.
//!
//! Of a cluster that `keelson up` made, members and certificates are found below `--root`; any other raftstore is reached
//! with `--endpoints --cacert --cert --key`, spelled as etcdctl spells them. What works on files runs the `raftstore`
//! binary, which knows them.

mod access;
mod files;
mod maintenance;
mod members;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::layout::Layout;

pub use access::Access;
pub use members::all_vote;

/// How the store is reached when it is not the one of the cluster below --root.
#[derive(Args, Default)]
pub struct Endpoints {
    /// Client URLs of the members of any raftstore, instead of the cluster below --root
    #[arg(long, value_delimiter = ',', value_name = "URL,...", global = true)]
    endpoints: Vec<String>,
    /// The CA of the members' certificates
    #[arg(long, value_name = "FILE", global = true)]
    cacert: Option<PathBuf>,
    /// This client's certificate
    #[arg(long, value_name = "FILE", global = true)]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", global = true)]
    key: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Action {
    /// Who belongs to the store, and changes of that
    Member {
        #[command(subcommand)]
        action: members::Action,
    },
    /// Backups: take one, look at one, restore one into a new cluster
    Snapshot {
        #[command(subcommand)]
        action: files::Snapshot,
    },
    /// Show each member: leader or not, revision, size, alarms
    Status,
    /// Let go of the history before a revision (the present one, without one)
    Compact { revision: Option<i64> },
    /// Give back the space of what is gone, one member after the other
    Defrag,
    /// Hand the leadership to a member
    MoveLeader {
        /// Its name or its id
        member: String,
    },
    /// Make a cluster of one of the member that is left after the quorum was lost
    Recover(files::Recover),
}

pub async fn act(layout: &Layout, endpoints: Endpoints, action: Action) -> Result<()> {
    match action {
        Action::Snapshot { action: files::Snapshot::Status { file } } => files::status(&file),
        Action::Snapshot { action: files::Snapshot::Restore(options) } => files::restore(&options),
        Action::Recover(options) => files::recover(layout, &options),
        Action::Snapshot { action: files::Snapshot::Save { file } } => {
            files::save(&Access::new(layout, endpoints)?, &file).await
        }
        Action::Member { action } => members::act(&Access::new(layout, endpoints)?, action).await,
        Action::Status => maintenance::status(&Access::new(layout, endpoints)?).await,
        Action::Compact { revision } => maintenance::compact(&Access::new(layout, endpoints)?, revision).await,
        Action::Defrag => maintenance::defragment(&Access::new(layout, endpoints)?).await,
        Action::MoveLeader { member } => maintenance::move_leader(&Access::new(layout, endpoints)?, &member).await,
    }
}
