//! The client: where the API server is, who calls, and which Lease the calls depend on.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use keelson_objects::status::{Status, StatusError};
use keelson_wire::api::{self as wire, LeaderGuard, Verb};
use serde_json::Value;

use crate::transport::Transport;
use crate::{Api, Error, Kubeconfig, Object, Resource};

/// Where the API servers are and who calls. Without a certificate the caller is anonymous.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// `https://host:port` of gRPC doors; equal doors of one cluster.
    pub endpoints: Vec<String>,
    /// PEM.
    pub ca: Option<Vec<u8>>,
    pub certificate: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
    /// `name/version`; the name is also the field manager of writes.
    pub user_agent: String,
}

/// A connection to the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    field_manager: Arc<str>,
    guard: Option<Arc<LeaderGuard>>,
}

impl Client {
    /// Connects nothing yet. Must be called within a tokio runtime.
    pub fn new(options: ClientOptions) -> Result<Client, Error> {
        let name = options.user_agent.split('/').next().unwrap_or_default();
        Ok(Client { field_manager: name.into(), transport: Arc::new(Transport::new(&options)?), guard: None })
    }

    /// From a kubeconfig whose server is a gRPC door; `user_agent` is `name/version`.
    pub fn from_kubeconfig(path: impl AsRef<Path>, user_agent: &str) -> Result<Client, Error> {
        let kubeconfig = Kubeconfig::read(path).map_err(|error| Error::Configuration(error.to_string()))?;
        Client::new(kubeconfig.into_options(user_agent))
    }

    /// A client whose writes commit only while the Lease is held as the guard says.
    #[must_use]
    pub fn with_guard(&self, guard: LeaderGuard) -> Client {
        Client { guard: Some(Arc::new(guard)), ..self.clone() }
    }

    /// Objects of a kind without namespaces, or of all namespaces.
    pub fn all<K: Object>(&self) -> Api<K> {
        Api::new(self.clone(), Resource::of::<K>(), "")
    }

    pub fn namespaced<K: Object>(&self, namespace: &str) -> Api<K> {
        Api::new(self.clone(), Resource::of::<K>(), namespace)
    }

    /// Objects of any resource, as JSON; the empty namespace stands for all or none.
    pub fn dynamic(&self, resource: &Resource, namespace: &str) -> Api<Value> {
        self.resource(resource, namespace)
    }

    /// Objects of any resource, as `T` reads them: [`crate::PartialObject`] for their metadata alone.
    pub fn resource<T>(&self, resource: &Resource, namespace: &str) -> Api<T> {
        Api::new(self.clone(), resource.clone(), namespace)
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) async fn call(&self, call: Call) -> Result<Bytes, Error> {
        let writes = !matches!(call.verb, Verb::Get | Verb::List);
        let mut options = call.options;
        if writes {
            options.field_manager = self.field_manager.to_string();
        }
        let request = wire::CallRequest {
            verb: call.verb.into(),
            target: Some(call.target),
            options: Some(options),
            body: call.body,
            content_type: call.content_type.to_owned(),
            guard: self.guard.as_deref().filter(|_| writes).cloned(),
        };
        let response = self.transport.call(request).await?;
        if response.code < 400 {
            return Ok(response.body);
        }
        Err(Error::Api(status_error(&response.body, response.code)))
    }
}

/// One request, before the client adds who calls.
pub(crate) struct Call {
    pub verb: Verb,
    pub target: wire::Target,
    pub options: wire::Options,
    pub body: Bytes,
    pub content_type: &'static str,
}

/// A failure's Status; if the body is none, one made from the code.
pub(crate) fn status_error(body: &[u8], code: i32) -> StatusError {
    match serde_json::from_slice::<Status>(body) {
        Ok(status) => status.into(),
        Err(_) => StatusError::internal(format!("the API server answered {code} without a status")),
    }
}
