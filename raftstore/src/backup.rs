//! A backup of a member's state, streamed to an operator.
//!
//! The file is `KEELSNAP`, the format as four bytes, the records (length-delimited) of a snapshot in their order, zeros up
//! to a multiple of 512 bytes (by which etcdctl knows that a sum follows), and the SHA-256 of all that in 32 bytes.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use futures::Stream;
use keelson_wire::etcdserverpb::SnapshotResponse;
use keelson_wire::raft::Record;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::doors::Requests;
use crate::mvcc::State;
use crate::raft::{SNAPSHOT_FORMAT, snapshot_records};

pub const MAGIC: &[u8] = b"KEELSNAP";
const BLOB: usize = 64 << 10;
const BLOCK: usize = 512;

type Blobs = mpsc::Sender<Result<SnapshotResponse, Status>>;

/// The backup as etcd's Maintenance.Snapshot answers it.
pub fn stream(requests: Arc<Requests>) -> Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>> {
    let (blobs, stream) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let (state, _pin) = requests.machine().pinned_state();
        if let Err(error) = send(&requests, &state, &blobs) {
            tracing::error!(%error, "a backup failed");
            let _ = blobs.blocking_send(Err(Status::internal(error.to_string())));
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

fn send(requests: &Requests, state: &State, blobs: &Blobs) -> crate::disk::Result<()> {
    let mut hash = Sha256::new();
    let mut remaining = state.live_bytes;
    let mut sent = 0;
    let mut blob = BytesMut::with_capacity(2 * BLOB);
    blob.put_slice(MAGIC);
    blob.put_u32(SNAPSHOT_FORMAT);
    let mut send_blob = |blob: &mut BytesMut, hash: &mut Sha256| {
        hash.update(&blob);
        remaining = remaining.saturating_sub(blob.len() as u64);
        let response = SnapshotResponse {
            header: Some(requests.header(state.revision)),
            remaining_bytes: remaining,
            blob: blob.split().freeze(),
            version: keelson_process::VERSION.to_owned(),
        };
        blobs.blocking_send(Ok(response)).is_ok()
    };
    for record in snapshot_records(state) {
        let (key, value) = record?;
        let record = Record { key: key.into(), value };
        blob.reserve(record.encoded_len() + 10);
        record.encode_length_delimited(&mut blob).unwrap_or_else(|_| unreachable!("the buffer was reserved"));
        if blob.len() >= BLOB {
            sent += blob.len();
            if !send_blob(&mut blob, &mut hash) {
                return Ok(());
            }
        }
    }
    let padded = (sent + blob.len()).next_multiple_of(BLOCK) - sent;
    blob.resize(padded, 0);
    send_blob(&mut blob, &mut hash);
    let sum = SnapshotResponse {
        header: Some(requests.header(state.revision)),
        blob: hash.finalize().to_vec().into(),
        version: keelson_process::VERSION.to_owned(),
        ..Default::default()
    };
    // A client that has gone needs no sum.
    let _ = blobs.blocking_send(Ok(sum));
    Ok(())
}
