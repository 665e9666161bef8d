//! One connection to containerd, shared by all calls.
//!
//! The channel connects again by itself when containerd was restarted; calls that were under way fail and are the
//! caller's to repeat.

use std::path::Path;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{CreateNamespaceRequest, CreateRequest, DeleteRequest, Namespace};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::Error;

/// containerd's own limit, in both directions.
const MESSAGE_LIMIT: usize = 16 << 20;

#[derive(Clone)]
pub struct Containerd {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
}

macro_rules! service {
    ($name:ident, $client:ident) => {
        pub fn $name(&self) -> $client<Channel> {
            $client::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
        }
    };
}

impl Containerd {
    pub async fn connect(socket: &Path, namespace: &str) -> Result<Self, Error> {
        let unreachable = |error: &dyn std::error::Error| Error::Unreachable {
            endpoint: socket.display().to_string(),
            reason: super::error::chain(error),
        };
        let channel = containerd_client::connect(socket).await.map_err(|error| unreachable(&error))?;
        let value =
            namespace.parse().map_err(|_| Error::InvalidSpec(format!("{namespace:?} is no containerd namespace")))?;
        let containerd = Containerd { channel, namespace: value };
        containerd.ensure_namespace(namespace).await?;
        Ok(containerd)
    }

    async fn ensure_namespace(&self, name: &str) -> Result<(), Error> {
        let namespace = Namespace { name: name.to_string(), labels: Default::default() };
        let request = CreateNamespaceRequest { namespace: Some(namespace) };
        match NamespacesClient::new(self.channel.clone()).create(request).await {
            Err(status) if status.code() != Code::AlreadyExists => Err(failed("creating namespace")(status)),
            _ => Ok(()),
        }
    }

    service!(containers, ContainersClient);
    service!(content, ContentClient);
    service!(diff, DiffClient);
    service!(events, EventsClient);
    service!(images, ImagesClient);
    service!(snapshots, SnapshotsClient);
    service!(tasks, TasksClient);
    service!(version, VersionClient);

    /// In our namespace.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        request
    }

    /// In our namespace; what it makes is kept from containerd's garbage collector as long as the lease lives.
    pub fn leased<T>(&self, message: T, lease: &Lease) -> Request<T> {
        let mut request = self.request(message);
        request.metadata_mut().insert("containerd-lease", lease.value.clone());
        request
    }

    /// One that expires by itself, should the agent die before [`Containerd::release`].
    pub async fn lease(&self, purpose: &str) -> Result<Lease, Error> {
        let expiry = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        let request = CreateRequest {
            id: format!("keelson-{purpose}-{}", super::random_id(8)),
            labels: [("containerd.io/gc.expire".to_string(), expiry.to_string())].into(),
        };
        let id = request.id.clone();
        LeasesClient::new(self.channel.clone())
            .create(self.request(request))
            .await
            .map_err(failed("creating lease"))?;
        let value = id.parse().map_err(|_| Error::InvalidSpec(format!("lease id {id:?}")))?;
        Ok(Lease { id, value })
    }

    pub async fn release(&self, lease: Lease) {
        let request = DeleteRequest { id: lease.id, sync: false };
        if let Err(status) = LeasesClient::new(self.channel.clone()).delete(self.request(request)).await {
            tracing::debug!(%status, "cannot delete a lease; it expires by itself");
        }
    }
}

pub struct Lease {
    id: String,
    value: MetadataValue<Ascii>,
}

/// Turns a status into our error.
pub fn failed(action: &'static str) -> impl Fn(Status) -> Error {
    move |status| Error::Containerd { action, status: Box::new(status) }
}

pub fn missing_is_fine<T>(outcome: Result<T, Status>, action: &'static str) -> Result<Option<T>, Error> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(failed(action)(status)),
    }
}
