//! Watch streams over REST: one frame an event, frames that wait together in one chunk.

use bytes::{Bytes, BytesMut};
use futures::{Stream, stream};
use serde_json::Value;

use super::{
    accept::{Accepted, Encoding, View},
    encode, views,
};
use crate::{
    cache::{WatchItem, WatchStream},
    registry::IncludeObject,
};

/// Runs until the watch ends; dropping it ends the watch.
pub(super) fn frames(watch: Box<WatchStream>, accepted: Accepted, include: IncludeObject) -> impl Stream<Item = Bytes> {
    stream::unfold((watch, false), move |(mut watch, mut columns_sent)| async move {
        let items = watch.next().await?;
        let shared = accepted.encoding != Encoding::Protobuf && accepted.view == View::Plain;
        let mut chunk = BytesMut::new();
        if let (true, [only]) = (shared, items.as_slice()) {
            return Some((only.frame(), (watch, columns_sent)));
        }
        for item in &items {
            if shared {
                chunk.extend_from_slice(&item.frame());
            } else {
                chunk.extend_from_slice(&converted(&watch, item, accepted, include, !columns_sent));
                columns_sent = true;
            }
        }
        Some((chunk.freeze(), (watch, columns_sent)))
    })
}

fn converted(
    watch: &WatchStream,
    item: &WatchItem,
    accepted: Accepted,
    include: IncludeObject,
    with_columns: bool,
) -> Bytes {
    let object: Value = match serde_json::from_slice(&item.object()) {
        Ok(object) => object,
        Err(error) => {
            tracing::error!(%error, "a cached object cannot be read");
            return Bytes::new();
        }
    };
    let object = match item {
        WatchItem::Error(_) => object,
        // A bookmark is an object with nothing but its metadata; in a table, that is what its row shows.
        _ => views::of_object(&watch.kind, object, accepted.view, include, with_columns),
    };
    encode::watch_frame(item.kind(), &object, accepted.encoding).unwrap_or_else(|error| {
        tracing::error!(%error, kind = %watch.kind.kind, "an event cannot be encoded");
        Bytes::new()
    })
}
