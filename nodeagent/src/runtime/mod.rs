//! Containers on this node: images, sandboxes, containers, exec and logs, through containerd.
//!
//! [`Runtime`] is a cheap handle. It promises that
//! - every call is idempotent or says [`Error::NotFound`], so a caller killed half way can do it again;
//! - what it reports after a restart of the agent or of containerd is what is really there: identity lives in the
//!   labels of containerd's containers, exits are written to containerd before the task is let go;
//! - containers run and log on while the agent is dead.
//!
//! It decides nothing about pods: no pull policy, no restart policy, no order of containers.

mod cgroup;
mod container;
mod containerd;
pub(crate) mod error;
mod events;
mod exec;
mod files;
mod follow;
mod image;
mod logs;
mod oci;
mod options;
mod record;
mod recovery;
mod request;
mod sandbox;
mod snapshot;
mod state;
mod table;

pub use error::Error;
pub use exec::Resizer;
pub use options::{Options, Registries};
pub use request::*;
pub use state::*;
pub use table::EventReceiver;

use std::path::PathBuf;
use std::sync::Arc;

use rand::RngCore;

use crate::network::{self, Network, NetworkNamespaces};

/// A cheap handle to the node's containers; see the module's documentation.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    containerd: containerd::Containerd,
    images: image::Images,
    network: Network,
    namespaces: NetworkNamespaces,
    cgroups: cgroup::Cgroups,
    limits: oci::HostLimits,
    /// The logger's program.
    logger: PathBuf,
    table: table::Table,
}

impl Runtime {
    /// Connects, takes up what runs, imports the pause image. Fails when containerd is not there.
    pub async fn connect(options: Options) -> Result<Runtime, Error> {
        let containerd = containerd::Containerd::connect(&options.endpoint, &options.namespace).await?;
        let inner = Inner {
            images: image::Images::new(
                containerd.clone(),
                options.snapshotter.clone(),
                options.registries.clone(),
                options.max_parallel_pulls,
            ),
            network: Network::new(network::Options {
                conf_dir: options.cni_conf_dir.clone(),
                bin_dirs: options.cni_bin_dirs.clone(),
                cache_dir: options.cni_cache_dir.clone(),
            }),
            namespaces: NetworkNamespaces::new(options.state_dir.join("netns")),
            cgroups: cgroup::Cgroups::discover()?,
            limits: oci::HostLimits::of_this_process(),
            logger: logs::install_logger(&options.data_dir)?,
            table: table::Table::default(),
            containerd,
            options,
        };
        let runtime = Runtime { inner: Arc::new(inner) };
        // Subscribed first: what ends while the lists are read is not missed.
        let stream = runtime.subscribe().await?;
        runtime.inner.images.import_pause().await?;
        runtime.recover().await?;
        tokio::spawn(events::follow(Arc::downgrade(&runtime.inner), stream));
        Ok(runtime)
    }

    pub async fn version(&self) -> Result<Version, Error> {
        let containerd = &self.inner.containerd;
        let answer = containerd.version().version(()).await.map_err(containerd::failed("asking for the version"))?;
        let version = answer.into_inner().version;
        Ok(Version { name: "containerd".into(), version: version.trim_start_matches('v').to_string() })
    }

    /// `Err`: why pods cannot have a network now, as the node's Ready condition words it.
    pub async fn network_ready(&self) -> Result<(), String> {
        self.inner.network.ready().await.map_err(|error| {
            format!(
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{error}"
            )
        })
    }

    /// The image if it is present (and unpacked).
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, Error> {
        Ok(self.inner.images.find(reference).await?.map(|(image, _)| image))
    }

    /// Pulls, whatever is there already. `auths` are tried in order; empty means anonymous.
    pub async fn pull_image(&self, reference: &str, auths: &[RegistryAuth]) -> Result<Image, Error> {
        Ok(self.inner.images.pull(reference, auths).await?.0)
    }

    /// All that can run here, the pause image left out.
    pub async fn images(&self) -> Result<Vec<Image>, Error> {
        self.inner.images.list().await
    }

    /// Under all of its names; one that is not there is no error.
    pub async fn remove_image(&self, reference: &str) -> Result<(), Error> {
        self.inner.images.remove(reference).await
    }

    /// From now on. A slow receiver gets [`Event::Resync`] instead of what it missed.
    pub fn events(&self) -> EventReceiver {
        EventReceiver(self.inner.table.subscribe())
    }

    /// `<log dir>/<namespace>_<name>_<uid>`
    pub fn pod_log_directory(&self, pod: &PodIdentity) -> PathBuf {
        self.inner.options.log_dir.join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
    }

    /// Of a container ([`Container::id`]) or of a pod's cgroup (`cgroup_parent`).
    pub fn usage(&self, cgroup: &str) -> Option<Usage> {
        let of_container = self.inner.table.row(cgroup).map(|row| row.record.cgroup);
        self.inner.cgroups.usage(of_container.as_deref().unwrap_or(cgroup))
    }
}

/// Runs it to its end, whether or not the caller stays to hear of it: what is made in several steps is made whole.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::Oci(format!("work was cut off: {error}"))),
    }
}

/// `bytes` of randomness in hexadecimal.
fn random_id(bytes: usize) -> String {
    let mut id = vec![0; bytes];
    rand::rng().fill_bytes(&mut id);
    hex::encode(id)
}
