//! The one request pipeline: authorize, limit, decode, admit, default, validate, store, answer.
//!
//! Authentication needs what only a door knows (certificates, headers), so a door asks the [`Authenticator`] and puts the
//! user into the [`Request`]; everything after that happens in [`Pipeline::handle`], the same for REST and gRPC.

pub mod admission;
mod codec;
mod collection;
mod create;
mod delete;
mod guard;
mod limits;
mod metadata;
mod modify;
mod patch;
mod read;
mod request;
mod scale;
mod trace;
mod update;
mod validation;
mod write;

use std::{sync::Arc, time::Instant};

use keelson_objects::status::{GroupResource, StatusError};

pub use admission::{Attributes, Chain, Operation, Plugin};
pub use codec::{BODY_LIMIT, DEPTH_LIMIT, PATCH_TYPES};
pub use limits::Limits;
pub use request::{Answer, Body, Content, LeaderGuard, Options, Request};

use crate::{
    authentication::{Authenticator, Issuer, User},
    authorization::{self, Authorizer, Decision},
    cache::Cache,
    cluster::Cluster,
    metrics::Metrics,
    registry::{Action, Kind, Registry, Verb},
    settings::Settings,
    storage::Store,
};

pub struct Pipeline {
    pub registry: Registry,
    pub settings: Settings,
    pub store: Store,
    pub cache: Arc<Cache>,
    pub admission: Chain,
    pub authenticator: Authenticator,
    pub authorizer: Box<dyn Authorizer>,
    pub issuer: Option<Issuer>,
    pub limits: Limits,
    pub metrics: Metrics,
}

impl Pipeline {
    pub fn cluster(self: &Arc<Pipeline>) -> Cluster {
        Cluster(self.clone())
    }

    /// One request of a known user, from authorization to the answer.
    pub async fn handle(self: &Arc<Pipeline>, request: Request) -> Result<Answer, StatusError> {
        let since = Instant::now();
        let answer = self.try_handle(&request).await;
        let code = answer.as_ref().map_or_else(StatusError::code, |answer| answer.code);
        self.metrics.answered(request.verb, code, since.elapsed().as_secs_f64());
        answer
    }

    async fn try_handle(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        self.authorize(request)?;
        let _slot = self.limits.enter(request.verb).await?;
        match trace::span(request) {
            Some(span) => tracing::Instrument::instrument(self.dispatch(request), span).await,
            None => self.dispatch(request).await,
        }
    }

    pub fn authorize(&self, request: &Request) -> Result<(), StatusError> {
        let attributes = authorization::Attributes {
            user: &request.user,
            verb: request.verb.name(),
            group: &request.kind.group,
            resource: &request.kind.resource,
            subresource: &request.subresource,
            namespace: &request.namespace,
            name: &request.name,
            path: "",
        };
        match self.authorizer.authorize(&attributes) {
            Decision::Allowed => Ok(()),
            Decision::Denied(reason) => {
                let why = authorization::denial(&attributes, &reason);
                Err(StatusError::forbidden(&request.kind.as_group_resource(), &request.name, why))
            }
        }
    }

    /// May the user do this with a path that is no resource?
    pub fn authorize_path(&self, user: &User, method: &str, path: &str) -> Result<(), StatusError> {
        let attributes = authorization::Attributes {
            user,
            verb: method,
            group: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path,
        };
        match self.authorizer.authorize(&attributes) {
            Decision::Allowed => Ok(()),
            Decision::Denied(reason) => {
                let why = authorization::denial(&attributes, &reason);
                Err(StatusError::forbidden(&GroupResource::new("", ""), "", why))
            }
        }
    }

    async fn dispatch(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        if !request.subresource.is_empty() {
            return self.dispatch_subresource(request).await;
        }
        if !request.kind.allows(request.verb) {
            return Err(not_supported(&request.kind, request.verb));
        }
        match request.verb {
            Verb::Get => self.get(request).await,
            Verb::List => self.list(request).await,
            Verb::Watch => self.watch(request).await,
            Verb::Create => self.create(request).await,
            Verb::Update => self.update(request).await,
            Verb::Patch => self.patch(request).await,
            Verb::Delete => self.delete(request).await,
            Verb::DeleteCollection => self.delete_collection(request).await,
        }
    }

    async fn dispatch_subresource(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let kind = &request.kind;
        let Some(subresource) = kind.find_subresource(&request.subresource) else {
            return Err(StatusError::no_such_resource());
        };
        if !subresource.verbs.contains(&request.verb) {
            return Err(not_supported(kind, request.verb));
        }
        match (&subresource.action, request.verb) {
            (Action::Status | Action::Variant(_), Verb::Get) => self.get(request).await,
            (Action::Status | Action::Variant(_), Verb::Update) => self.update(request).await,
            (Action::Status | Action::Variant(_), Verb::Patch) => self.patch(request).await,
            (Action::Scale(paths), _) => self.scale(request, *paths).await,
            (Action::Exchange(exchange), _) => {
                let body = match request.verb {
                    Verb::Get => serde_json::Value::Null,
                    _ => self.decode_exchange(request, subresource)?,
                };
                exchange.exchange(&self.cluster(), request, body).await
            }
            (Action::Connect(_), _) => Err(StatusError::bad_request(format!(
                "{} of {} is served by the REST door only",
                subresource.name, kind.resource
            ))),
            (Action::Status | Action::Variant(_), _) => Err(not_supported(kind, request.verb)),
        }
    }
}

fn not_supported(kind: &Kind, verb: Verb) -> StatusError {
    StatusError::method_not_supported(&kind.as_group_resource(), verb.name())
}
