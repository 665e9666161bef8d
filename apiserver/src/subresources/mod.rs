//! Subresources that are more than another view of their object: one object in, one out.

pub mod binding;
pub mod eviction;
pub mod token;

use keelson_objects::status::{Status, StatusError};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::pipeline::{Answer, Attributes, Operation, Request};

/// Lets the admission plugins see a body that is not stored.
async fn admit(cluster: &Cluster, request: &Request, body: &mut Value) -> Result<Vec<String>, StatusError> {
    let now = keelson_objects::time::now_seconds();
    let mut warnings = Vec::new();
    let mut attributes = Attributes {
        operation: Operation::Create,
        kind: &request.kind,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name: &request.name,
        object: body,
        old_object: None,
        user: &request.user,
        dry_run: request.options.dry_run,
        warnings: &mut warnings,
        cluster,
        now: &now,
    };
    cluster.admission().admit(&mut attributes).await?;
    cluster.admission().validate(&attributes).await?;
    Ok(warnings)
}

/// 201 with a Status: what was asked is done, and there is nothing to show.
fn created() -> Answer {
    let mut status = Status::success().to_value();
    status["code"] = 201.into();
    Answer::value(201, &status)
}
