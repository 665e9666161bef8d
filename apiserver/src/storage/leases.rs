//! Store leases for what expires by itself (Events): one lease serves all writes of a while, as upstream's does.

use std::time::{Duration, Instant};

use keelson_wire::etcdserverpb::{LeaseGrantRequest, lease_client::LeaseClient};
use tokio::sync::Mutex;

use super::{Error, endpoints::Endpoints};

/// How long one lease is handed out.
const REUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Leases {
    /// The present lease, the lifetime that it was granted for, and since when it is handed out.
    present: Mutex<Option<(i64, Duration, Instant)>>,
}

impl Leases {
    /// A lease that lives at least `time_to_live` from now on.
    pub async fn of(&self, time_to_live: Duration, endpoints: &Endpoints) -> Result<i64, Error> {
        let mut present = self.present.lock().await;
        if let Some((id, granted, since)) = *present
            && granted == time_to_live
            && since.elapsed() < REUSE
        {
            return Ok(id);
        }
        let mut client = LeaseClient::new(endpoints.connect().await?.channel);
        let seconds = (time_to_live + REUSE).as_secs();
        let request = LeaseGrantRequest { ttl: i64::try_from(seconds).unwrap_or(i64::MAX), id: 0 };
        let granted = client.lease_grant(request).await.map_err(|status| Error::from_status(&status))?.into_inner();
        *present = Some((granted.id, time_to_live, Instant::now()));
        Ok(granted.id)
    }
}
