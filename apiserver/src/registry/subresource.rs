//! Subresources as data: status and scale are generic, the rest name a handler.
//!
//! Handlers live in `subresources/` and `streams/`. By the time that one is called the request is authenticated,
//! authorized and counted against the limits; a body is decoded and its schema checked.

use std::sync::Arc;

use async_trait::async_trait;
use keelson_objects::{field::FieldError, status::StatusError};
use serde_json::Value;

use super::{Context, Verb};
use crate::{
    cluster::Cluster,
    pipeline::{Answer, Request},
};

#[derive(Clone)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `token`, `log`, ...
    pub name: &'static str,
    /// The kind of its body, for discovery and decoding: ("", "v1", "Binding"). None: the kind of the main resource.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    pub verbs: &'static [Verb],
    pub action: Action,
}

#[derive(Clone)]
pub enum Action {
    /// The generic status endpoint.
    Status,
    /// The generic scale endpoint (autoscaling/v1 Scale).
    Scale(ScalePaths),
    /// An update of the main object under other rules (ephemeralcontainers, resize, namespaces/finalize, approval).
    Variant(Arc<dyn Variant>),
    /// One object in, one out (binding, eviction, token).
    Exchange(Arc<dyn Exchange>),
    /// Takes over the connection or streams its answer (log, exec, attach, portforward, proxy). REST door only.
    Connect(Arc<dyn Connect>),
}

/// Where a kind keeps what Scale shows.
#[derive(Debug, Clone, Copy)]
pub struct ScalePaths {
    pub spec_replicas: &'static [&'static str],
    pub status_replicas: &'static [&'static str],
    /// A LabelSelector object (`["spec","selector"]`), or for ReplicationController a plain map.
    pub selector: &'static [&'static str],
}

/// Rules for updating the main object through a subresource; GET, PUT and PATCH follow from them.
pub trait Variant: Send + Sync + 'static {
    /// Makes `object` what may be stored: keep from `old` what this endpoint may not change.
    fn prepare(&self, context: &Context<'_>, object: &mut Value, old: &Value);

    fn validate(&self, context: &Context<'_>, object: &Value, old: &Value) -> Vec<FieldError>;
}

#[async_trait]
pub trait Exchange: Send + Sync + 'static {
    /// `body` is the decoded object (POST) or null (GET). Use `Cluster::modify` for an optimistic update of the main object.
    async fn exchange(&self, cluster: &Cluster, request: &Request, body: Value) -> Result<Answer, StatusError>;
}

#[async_trait(?Send)]
pub trait Connect: 'static + Send + Sync {
    /// Answers the HTTP request itself. An `Err` becomes a Status body.
    async fn connect(
        &self,
        cluster: &Cluster,
        request: Request,
        http: actix_web::HttpRequest,
        payload: actix_web::web::Payload,
    ) -> Result<actix_web::HttpResponse, StatusError>;
}

impl Subresource {
    pub fn status() -> Subresource {
        Subresource { name: "status", kind: None, verbs: Verb::GET_PATCH_UPDATE, action: Action::Status }
    }

    pub fn scale(paths: ScalePaths) -> Subresource {
        Subresource {
            name: "scale",
            kind: Some(("autoscaling", "v1", "Scale")),
            verbs: Verb::GET_PATCH_UPDATE,
            action: Action::Scale(paths),
        }
    }

    pub fn variant(name: &'static str, verbs: &'static [Verb], variant: impl Variant) -> Subresource {
        Subresource { name, kind: None, verbs, action: Action::Variant(Arc::new(variant)) }
    }

    pub fn exchange(
        name: &'static str,
        kind: (&'static str, &'static str, &'static str),
        verbs: &'static [Verb],
        exchange: impl Exchange,
    ) -> Subresource {
        Subresource { name, kind: Some(kind), verbs, action: Action::Exchange(Arc::new(exchange)) }
    }

    /// `kind` is what discovery shows: ("", "v1", "PodExecOptions").
    pub fn connect(
        name: &'static str,
        kind: Option<(&'static str, &'static str, &'static str)>,
        verbs: &'static [Verb],
        connect: impl Connect,
    ) -> Subresource {
        Subresource { name, kind, verbs, action: Action::Connect(Arc::new(connect)) }
    }
}
