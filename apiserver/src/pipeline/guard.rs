//! Leader guards: the write of a leader commits only while it holds its Lease.

use keelson_objects::status::{GroupResource, StatusError};
use serde_json::Value;

use super::{LeaderGuard, Pipeline};
use crate::storage::{Condition, Stored};

const LEASES: GroupResource<'static> = GroupResource { group: "coordination.k8s.io", resource: "leases" };

impl Pipeline {
    /// The store condition that stands for the guard. `fresh`: ask the store, because the cached Lease was not the newest.
    pub(super) async fn guard_condition(
        &self,
        guard: Option<&LeaderGuard>,
        fresh: bool,
    ) -> Result<Option<Condition>, StatusError> {
        let Some(guard) = guard else { return Ok(None) };
        let Some(kind) = self.registry.find_resource(LEASES.group, LEASES.resource) else {
            return Err(lost(guard));
        };
        let key = kind.storage_key(&guard.namespace, &guard.name);
        if !fresh && let Some(entry) = self.cache.get(kind, &guard.namespace, &guard.name) {
            // A stale Lease only costs a second look.
            if is_held(entry.json(), guard) {
                return Ok(Some(Condition { key, revision: entry.revision() }));
            }
        }
        match self.store.get(&key).await?.0 {
            Some(Stored { value, revision, .. }) if is_held(&value, guard) => Ok(Some(Condition { key, revision })),
            _ => Err(lost(guard)),
        }
    }
}

fn is_held(lease: &[u8], guard: &LeaderGuard) -> bool {
    let Ok(lease) = serde_json::from_slice::<Value>(lease) else { return false };
    let spec = &lease["spec"];
    spec["holderIdentity"].as_str() == Some(&guard.holder)
        && spec["leaseTransitions"].as_i64().unwrap_or_default() == guard.transitions
}

fn lost(guard: &LeaderGuard) -> StatusError {
    StatusError::conflict(
        &LEASES,
        &guard.name,
        format!("the lease is no longer held by {:?} in its term {}", guard.holder, guard.transitions),
    )
    .with_cause("LeaderGuard", "the writer is no longer the leader", "")
}
