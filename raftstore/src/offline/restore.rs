//! A backup becomes the data directory of a member of a new cluster.
//!
//! Each member of the new cluster is restored from the same file with the same `--initial-cluster`. The ids depend on
//! the members' URLs, the token and the file, so a member of the cluster that the backup is from belongs to another.
//! Revisions are kept. A client that had seen later ones would see time run backwards: `--bump-revision` goes on from a
//! higher one, and `--mark-compacted` has every watch and every list by revision from before begin anew, as in etcd.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use keelson_wire::raft as wire;
use keelson_wire::raft::JournalFrame;
use prost::Message as _;

use super::backup_file::Backup;
use super::id;
use crate::Error;
use crate::bootstrap::parse_initial_cluster;
use crate::disk::{Batch, DataDirectory, Identity, Storage as _};
use crate::journal::Journal;
use crate::mvcc::Key;

const CACHE: u64 = 24 << 20;
const TOGETHER: usize = 256;

#[derive(Args)]
pub struct Options {
    /// The backup
    file: PathBuf,
    /// The member's name, as --initial-cluster has it
    #[arg(long, default_value = "default")]
    name: String,
    /// The member's data directory: empty, or not there
    #[arg(long)]
    data_dir: PathBuf,
    /// All members of the new cluster: NAME=PEER_URL,...
    #[arg(long)]
    initial_cluster: String,
    /// Sets this cluster apart from others with the same URLs and from the same backup
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Go on from a revision that is higher than the backup's by this much
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=1 << 60))]
    bump_revision: i64,
    /// Refuse reads and watches of all earlier revisions, so that whoever had seen a later state lists anew
    #[arg(long, requires = "bump_revision")]
    mark_compacted: bool,
}

/// What a backup holds, in lines.
pub fn status(file: &Path) -> Result<String, Error> {
    let mut backup = Backup::open(file)?;
    let (mut revision, mut compacted, mut records, mut index) = (0, 0, 0_u64, 0);
    while let Some((key, value)) = backup.next()? {
        match Key::decode(&key) {
            Some(Key::Head) => {
                let head = wire::StateHead::decode(value).map_err(crate::disk::Error::from)?;
                (revision, compacted) = (head.revision, head.compacted);
                index = head.applied.map_or(0, |applied| applied.index);
            }
            Some(Key::Record(_)) => records += 1,
            _ => {}
        }
    }
    let sum: String = backup.sum.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "HASH       REVISION   COMPACTED  RAFT INDEX   RECORDS       SIZE\n{sum:<10} {revision:<10} {compacted:<10} \
         {index:<12} {records:<13} {:.1} MiB",
        backup.bytes as f64 / f64::from(1 << 20)
    ))
}

pub fn restore(options: &Options) -> Result<String, Error> {
    let peers = parse_initial_cluster(&options.initial_cluster)?;
    let mut backup = Backup::open(&options.file)?;
    let token = options.initial_cluster_token.as_bytes();
    let mut nodes: Vec<wire::Node> = Vec::new();
    for peer in peers {
        let urls = peer.urls.join(",");
        let id = id(&[b"restored", urls.as_bytes(), token, &backup.sum]);
        nodes.push(wire::Node { id, name: peer.name, peer_urls: peer.urls });
    }
    nodes.sort_by_key(|node| node.id);
    let ids: Vec<u64> = nodes.iter().map(|node| node.id).collect();
    let own = nodes.iter().find(|node| node.name == options.name).map(|node| node.id).ok_or_else(|| {
        Error::Options(format!("--initial-cluster has no member {:?}, which --name says this is", options.name))
    })?;
    let all: Vec<[u8; 8]> = ids.iter().map(|id| id.to_be_bytes()).collect();
    let cluster_id = super::hash_id(all.iter().map(<[u8; 8]>::as_slice));
    let identity = Identity { cluster_id, member_id: own, name: options.name.clone() };
    let directory = DataDirectory::begin_restore(&options.data_dir, &identity)?;

    // As after an election in term 1 that has committed the members and nothing else.
    let begun = wire::LogId { term: 1, index: 1 };
    let state = Arc::new(directory.open_state(CACHE)?);
    let mut batch = Batch::default();
    let mut head = None;
    while let Some((key, value)) = backup.next()? {
        match Key::decode(&key) {
            Some(Key::Record(_) | Key::Lease(_)) => batch.put(key, value),
            Some(Key::Head) => head = Some(wire::StateHead::decode(value).map_err(crate::disk::Error::from)?),
            // Members and their alarms were the old cluster's; how far its disks were compacted, too.
            _ => {}
        }
        if batch.len() >= TOGETHER {
            state.write(std::mem::take(&mut batch))?;
        }
    }
    let mut head = head.ok_or_else(|| Error::Options(format!("{} has no head", options.file.display())))?;
    head.applied = Some(begun);
    head.revision += options.bump_revision;
    if options.mark_compacted {
        head.compacted = head.revision;
    }
    let membership = wire::Membership { voters: vec![wire::VoterSet { ids: ids.clone() }], nodes };
    let membership = wire::StoredMembership { log_id: Some(begun), membership: Some(membership) };
    batch.put(Key::Head.encode(), head.encode_to_vec());
    batch.put(Key::Membership.encode(), membership.encode_to_vec());
    state.write(batch)?;
    state.sync()?;
    let mut journal = Journal::open(&directory.log_path())?;
    let vote = wire::Vote { term: 1, node: ids[0], committed: false };
    journal.write(JournalFrame {
        vote: Some(vote),
        committed: Some(begun),
        purged: Some(begun),
        ..Default::default()
    })?;
    directory.finish_restore()?;
    Ok(format!(
        "Restored {} at revision {} as {own:x} of the new cluster {cluster_id:x}.\nRestore every other member from the \
         same file with the same --initial-cluster, then start them with it.",
        options.name, head.revision
    ))
}
