//! The node's Lease in kube-node-lease: the heartbeat that the node lifecycle controller listens to.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use keelson_client::{Client, Error, Patch};
use serde_json::json;

const NAMESPACE: &str = "kube-node-lease";
const DURATION_SECONDS: i32 = 40;

/// Renews the Lease, or makes it; it goes with the Node whose uid is given.
pub async fn renew(client: &Client, node: &str, node_uid: &str) -> Result<(), Error> {
    let leases = client.namespaced::<Lease>(NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let renewal = Patch::Merge(json!({"spec": {
        "holderIdentity": node,
        "leaseDurationSeconds": DURATION_SECONDS,
        "renewTime": now,
    }}));
    match leases.patch(node, &renewal).await {
        Err(error) if error.is_not_found() => {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(node.to_owned()),
                    namespace: Some(NAMESPACE.to_owned()),
                    owner_references: Some(vec![OwnerReference {
                        api_version: "v1".to_owned(),
                        kind: "Node".to_owned(),
                        name: node.to_owned(),
                        uid: node_uid.to_owned(),
                        ..OwnerReference::default()
                    }]),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(node.to_owned()),
                    lease_duration_seconds: Some(DURATION_SECONDS),
                    renew_time: Some(now),
                    ..LeaseSpec::default()
                }),
            };
            leases.create(&lease).await.map(drop)
        }
        other => other.map(drop),
    }
}
