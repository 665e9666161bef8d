//! History is kept for a while and then given up: every interval, the store is compacted to where it was one
//! interval ago. Several API servers may do so side by side; the first one's request counts.

use std::{sync::Arc, time::Duration};

use keelson_wire::etcdserverpb::{CompactionRequest, kv_client::KvClient};

use super::{Error, Store};
use crate::cache::Cache;

/// Runs for ever; start it aside.
pub async fn run(store: Store, cache: Arc<Cache>, interval: Duration) {
    let mut before = cache.revision();
    loop {
        tokio::time::sleep(interval).await;
        let now = cache.revision();
        if before > 0 && before < now {
            match compact(&store, before).await {
                Ok(()) => tracing::debug!(revision = before, "the store is compacted"),
                Err(error) if error.is_compacted() => {}
                Err(error) => tracing::warn!(%error, revision = before, "the store could not be compacted"),
            }
        }
        before = now;
    }
}

async fn compact(store: &Store, revision: i64) -> Result<(), Error> {
    let mut client = KvClient::new(store.endpoints().connect().await?.channel);
    let request = CompactionRequest { revision, physical: false };
    client.compact(request).await.map(drop).map_err(|status| Error::from_status(&status))
}
