//! How the members are, and what they are asked to do now and then.

use keelson_wire::etcdserverpb::kv_client::KvClient;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;
use keelson_wire::etcdserverpb::{CompactionRequest, DefragmentRequest, MoveLeaderRequest, StatusResponse};

use super::access::{Access, refused};
use crate::error::{Error, Result};

fn mebibytes(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn line(url: &str, status: &StatusResponse) -> String {
    let header = status.header.unwrap_or_default();
    let role = match status {
        status if status.leader == header.member_id => "leader",
        status if status.is_learner => "learner",
        _ => "follower",
    };
    format!(
        "{url:<28} {:<16x} {role:<9} {:>9} {:>11} {:>11} {:>10} {:>10}  {}",
        header.member_id,
        status.raft_term,
        status.raft_index,
        header.revision,
        mebibytes(status.db_size),
        mebibytes(status.db_size_in_use),
        status.errors.join("; ")
    )
}

pub async fn status(access: &Access) -> Result<()> {
    println!(
        "{:<28} {:<16} {:<9} {:>9} {:>11} {:>11} {:>10} {:>10}  ALARMS",
        "ENDPOINT", "ID", "ROLE", "RAFT TERM", "RAFT INDEX", "REVISION", "SIZE", "IN USE"
    );
    let mut answered = 0;
    for url in access.endpoints() {
        match access.status(url).await {
            Ok(status) => {
                answered += 1;
                println!("{}", line(url, &status));
            }
            Err(error) => println!("{url:<28} unreachable: {error}"),
        }
    }
    let quorum = access.endpoints().len() / 2 + 1;
    if answered >= quorum {
        return Ok(());
    }
    Err(Error::new(format!("{answered} of {} members answer, {quorum} are needed", access.endpoints().len()))
        .hint("start the others (`keelson up`); if they are lost for good, see `keelson store recover --help`"))
}

pub async fn compact(access: &Access, revision: Option<i64>) -> Result<()> {
    let revision = match revision {
        Some(revision) => revision,
        None => access.status(&access.leader().await?).await?.header.map_or(0, |header| header.revision),
    };
    let mut kv = KvClient::new(access.any().await?);
    let compacted = kv.compact(CompactionRequest { revision, physical: true }).await;
    compacted.map_err(|status| refused("compact", &status))?;
    println!("Compacted: the history before revision {revision} is gone. `keelson store defrag` gives its space back.");
    Ok(())
}

pub async fn defragment(access: &Access) -> Result<()> {
    for url in access.endpoints() {
        let before = access.status(url).await?.db_size;
        let mut client = MaintenanceClient::new(access.connect(url).await?);
        client.defragment(DefragmentRequest {}).await.map_err(|status| refused("defragment", &status))?;
        println!("{url}: {} before, {} now", mebibytes(before), mebibytes(access.status(url).await?.db_size));
    }
    Ok(())
}

pub async fn move_leader(access: &Access, wanted: &str) -> Result<()> {
    let member = access.member(wanted).await?;
    let mut client = MaintenanceClient::new(access.connect(&access.leader().await?).await?);
    let moved = client.move_leader(MoveLeaderRequest { target_id: member.id }).await;
    moved.map_err(|status| refused("move the leadership", &status))?;
    println!("{} ({:x}) leads.", member.name, member.id);
    Ok(())
}
