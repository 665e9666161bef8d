//! pods/eviction: a polite delete.
//!
//! Upstream asks the PodDisruptionBudgets that select the pod. None are served here yet, so nothing holds an eviction
//! back, and it is a delete in the API server's own name: who may evict need not be allowed to delete.

use std::sync::Arc;

use async_trait::async_trait;
use keelson_objects::status::StatusError;
use serde_json::{Value, json};

use crate::authentication::User;
use crate::cluster::Cluster;
use crate::kinds::fields::{Fields, FieldsMut};
use crate::pipeline::{Answer, Body, Request};
use crate::registry::{Exchange, Verb};

pub struct Evict;

#[async_trait]
impl Exchange for Evict {
    async fn exchange(&self, cluster: &Cluster, request: &Request, mut body: Value) -> Result<Answer, StatusError> {
        if body.sub("metadata").text("name") != request.name {
            return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
        }
        let warnings = super::admit(cluster, request, &mut body).await?;
        let mut options = match body.sub("deleteOptions") {
            Value::Null => json!({}),
            options => options.clone(),
        };
        options.put("kind", "DeleteOptions");
        options.put("apiVersion", "v1");
        let mut delete = request.clone();
        delete.user = Arc::new(User::api_server());
        delete.verb = Verb::Delete;
        delete.subresource.clear();
        delete.body = Body { bytes: options.to_string().into(), content_type: String::new() };
        cluster.call(delete).await?;
        Ok(Answer { warnings, ..super::created() })
    }
}
