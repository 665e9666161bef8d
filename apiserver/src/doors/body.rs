//! Bodies: reading one within its limit, and writing a list as chunks over shared buffers.

use std::io::Write;

use actix_web::web;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};
use keelson_objects::status::StatusError;

use crate::{cache::Listing, pipeline::BODY_LIMIT};

/// What is read past the limit before the client is cut off.
const DRAINED: usize = 32 << 20;
/// What a list's chunk holds at least before it is sent.
const CHUNK: usize = 256 * 1024;

/// The whole body, or 413.
pub(super) async fn read(payload: &mut web::Payload, announced: Option<usize>) -> Result<Bytes, StatusError> {
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        return Err(too_large(payload).await);
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| StatusError::bad_request(format!("error reading the body: {error}")))?;
        if first.len() + whole.len() + chunk.len() > BODY_LIMIT {
            return Err(too_large(payload).await);
        }
        // Most bodies arrive in one piece, which needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.reserve(announced.unwrap_or_default().max(first.len() + chunk.len()));
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

async fn too_large(payload: &mut web::Payload) -> StatusError {
    drain(payload, DRAINED).await;
    StatusError::request_entity_too_large(format!("limit is {BODY_LIMIT}"))
}

/// Reads on for a while without keeping anything: a client that is still sending would take an early answer with
/// the end of the connection for a network failure, and never see the answer.
pub(super) async fn drain(payload: &mut web::Payload, limit: usize) {
    let mut passed = 0;
    while let Some(Ok(chunk)) = payload.next().await {
        passed += chunk.len();
        if passed > limit {
            return;
        }
    }
}

/// The size of a list in JSON.
pub(super) fn list_length(listing: &Listing) -> usize {
    let (head, tail) = listing.envelope();
    let items: usize = listing.entries.iter().map(|entry| listing.item(entry).len() + 2).sum();
    head.len() + items.saturating_sub(usize::from(!listing.entries.is_empty())) + tail.len()
}

/// A list in JSON as one buffer.
pub(super) fn whole_list(listing: &Listing) -> Bytes {
    let (head, tail) = listing.envelope();
    let mut whole = BytesMut::with_capacity(list_length(listing));
    whole.put_slice(head.as_bytes());
    for (index, entry) in listing.entries.iter().enumerate() {
        if index > 0 {
            whole.put_u8(b',');
        }
        whole.put_u8(b'{');
        whole.put_slice(listing.item(entry));
    }
    whole.put_slice(tail.as_bytes());
    whole.freeze()
}

/// A list in JSON, chunk by chunk: memory for one chunk, whatever the size of the list.
pub(super) fn list_chunks(listing: Listing) -> impl Stream<Item = Bytes> {
    let mut next = 0;
    let mut ended = false;
    stream::iter(std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let (head, tail) = listing.envelope();
        let mut chunk = BytesMut::with_capacity(CHUNK + 16 * 1024);
        if next == 0 {
            chunk.put_slice(head.as_bytes());
        }
        while let Some(entry) = listing.entries.get(next) {
            if next > 0 {
                chunk.put_u8(b',');
            }
            chunk.put_u8(b'{');
            chunk.put_slice(listing.item(entry));
            next += 1;
            if chunk.len() >= CHUNK {
                return Some(chunk.freeze());
            }
        }
        chunk.put_slice(tail.as_bytes());
        ended = true;
        Some(chunk.freeze())
    }))
}

/// Compresses a stream of chunks. The fastest level, as upstream uses for lists.
pub(super) fn gzip(chunks: impl Stream<Item = Bytes>) -> impl Stream<Item = Bytes> {
    let ended = stream::once(async { None });
    let mut encoder = Some(GzEncoder::new(Vec::with_capacity(CHUNK / 4), Compression::fast()));
    chunks.map(Some).chain(ended).filter_map(move |chunk| {
        let compressed = match (chunk, &mut encoder) {
            (Some(chunk), Some(open)) => {
                // Writing to memory does not fail.
                let _ = open.write_all(&chunk);
                std::mem::take(open.get_mut())
            }
            (None, open) => open.take().and_then(|encoder| encoder.finish().ok()).unwrap_or_default(),
            (Some(_), None) => Vec::new(),
        };
        let ready = (!compressed.is_empty()).then(|| Bytes::from(compressed));
        async move { ready }
    })
}
