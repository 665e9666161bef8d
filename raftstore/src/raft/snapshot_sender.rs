//! A snapshot on its way out: in chunks, and after a broken connection from where the other side is, also if that was started
//! again meanwhile.

use std::time::Duration;

use keelson_wire::raft as wire;
use keelson_wire::raft::raft_client::RaftClient;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::network::PeerChannel;
use super::off_thread;
use super::snapshot::{self, SnapshotData};

/// In the tests a small state is many chunks, too.
const CHUNK: usize = if cfg!(test) { 1 << 10 } else { 512 << 10 };
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(5);
/// Attempts in a row that bring the other side nothing. After them openraft decides anew whom it sends what.
const VAIN_ATTEMPTS: u32 = 10;
/// One that has begun to receive and does not answer any more may be starting again, and has a part of this picture: so long
/// it is waited for. Another picture would begin anew. The picture's records stay on this disk meanwhile.
const AWAY: Duration = Duration::from_secs(60);

/// Sends the picture that `head` describes until it is installed. `picture` is its number, once used in this process.
pub async fn send(
    mut client: RaftClient<PeerChannel>,
    head: wire::SnapshotHead,
    data: SnapshotData,
    picture: u64,
) -> Result<wire::SnapshotResponse, Status> {
    let request =
        wire::BeginSnapshotRequest { cluster_id: head.cluster_id, target: head.target, vote: head.vote, picture };
    let mut reached = 0;
    let mut vain = 0;
    let mut heard = None;
    loop {
        let outcome = match begin(&mut client, request).await {
            Ok(begun) => {
                heard = Some(Instant::now());
                if begun.records > reached {
                    (reached, vain) = (begun.records, 0);
                }
                go_on(&mut client, head.clone(), data.clone(), begun).await
            }
            Err(refusal) if is_away(&refusal) && heard.is_some_and(|heard| heard.elapsed() < AWAY) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(refusal) => Err(refusal),
        };
        let Err(refusal) = outcome else { return outcome };
        vain += 1;
        tracing::info!(%refusal, records = reached, "a snapshot was broken off");
        if vain >= VAIN_ATTEMPTS {
            return Err(refusal);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nobody answers there, or nobody who could tell.
fn is_away(refusal: &Status) -> bool {
    matches!(refusal.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

async fn begin(
    client: &mut RaftClient<PeerChannel>,
    request: wire::BeginSnapshotRequest,
) -> Result<wire::BeginSnapshotResponse, Status> {
    let mut request = tonic::Request::new(request);
    request.set_timeout(ANSWER);
    Ok(client.begin_snapshot(request).await?.into_inner())
}

async fn go_on(
    client: &mut RaftClient<PeerChannel>,
    head: wire::SnapshotHead,
    data: SnapshotData,
    begun: wire::BeginSnapshotResponse,
) -> Result<wire::SnapshotResponse, Status> {
    let head = wire::SnapshotHead { ticket: begun.ticket, ..head };
    let chunks = off_thread::stream(4, move |send| {
        if let Err(error) = send_chunks(head, begun.records, &data, send) {
            tracing::error!(%error, "cannot read the snapshot that is being sent");
        }
    });
    Ok(client.install_snapshot(chunks).await?.into_inner())
}

/// Stops early when the receiver has gone; the lack of an end tells the other side.
fn send_chunks(
    head: wire::SnapshotHead,
    received: u64,
    data: &SnapshotData,
    send: &mut dyn FnMut(wire::SnapshotChunk) -> bool,
) -> crate::disk::Result<()> {
    let SnapshotData::Picture { state, .. } = data else { return Ok(()) };
    let mut chunk = wire::SnapshotChunk { head: Some(head), ..Default::default() };
    let mut bytes = 0;
    let mut checksum = crc32fast::Hasher::new();
    let mut count = 0;
    for record in snapshot::records(state) {
        let (key, value) = record?;
        checksum.update(&key);
        checksum.update(&value);
        count += 1;
        if count <= received {
            continue;
        }
        bytes += key.len() + value.len();
        chunk.records.push(wire::Record { key: key.into(), value });
        if bytes >= CHUNK {
            bytes = 0;
            if !send(std::mem::take(&mut chunk)) {
                return Ok(());
            }
        }
    }
    chunk.end = Some(wire::SnapshotEnd { checksum: checksum.finalize(), records: count });
    // A receiver that has gone needs no end.
    let _ = send(chunk);
    Ok(())
}
