//! Signatures while the bodies are being written.
use super::*;
use std::time::Duration;

fn unbuilt<T>() -> Result<T, Error> {
    Err(Error::InvalidSpec("not built yet".into()))
}

#[allow(unused_variables)]
impl Runtime {
    /// Connects, makes containerd's namespace, imports the pause image. Fails when containerd is not there.
    pub async fn connect(options: Options) -> Result<Runtime, Error> {
        Ok(Runtime { inner: Arc::new(Inner { options }) })
    }
    pub async fn version(&self) -> Result<Version, Error> { unbuilt() }
    /// `Err`: why pods cannot have a network now, as the node's Ready condition words it.
    pub async fn network_ready(&self) -> Result<(), String> { Ok(()) }

    /// The image if it is present (and unpacked).
    pub async fn image(&self, reference: &str) -> Result<Option<Image>, Error> { unbuilt() }
    /// Pulls, whatever is there already. `auths` are tried in order; empty means anonymous.
    pub async fn pull_image(&self, reference: &str, auths: &[RegistryAuth]) -> Result<Image, Error> { unbuilt() }
    pub async fn images(&self) -> Result<Vec<Image>, Error> { unbuilt() }
    pub async fn remove_image(&self, reference: &str) -> Result<(), Error> { unbuilt() }

    /// Cgroup, network namespace, CNI ADD, pause container: all up when it returns. Cleans up after itself when it fails.
    pub async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox, Error> { unbuilt() }
    pub async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, Error> { unbuilt() }
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, Error> { unbuilt() }
    /// Ends what still runs in it and takes the network down (CNI DEL).
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), Error> { unbuilt() }
    /// Stops it, then removes its containers, itself and the pod's cgroup. Logs and the pod directory stay.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), Error> { unbuilt() }

    pub async fn create_container(&self, sandbox: &Sandbox, spec: &ContainerSpec) -> Result<Container, Error> { unbuilt() }
    /// An error leaves the container Exited with reason `StartError` and exit code 128.
    pub async fn start_container(&self, id: &str) -> Result<Container, Error> { unbuilt() }
    /// Sends the stop signal, waits `grace`, kills; returns the container as it ended. One that does not run is no error.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<Container, Error> { unbuilt() }
    pub async fn kill_container(&self, id: &str, signal: i32) -> Result<(), Error> { unbuilt() }
    /// Kills it where it runs; its log files stay.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> { unbuilt() }
    pub async fn container(&self, id: &str) -> Result<Option<Container>, Error> { unbuilt() }
    pub async fn containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error> { unbuilt() }

    /// From now on. A slow receiver gets [`Event::Resync`] instead of what it missed.
    pub fn events(&self) -> EventReceiver { unimplemented_events() }

    pub async fn exec(&self, spec: ExecSpec) -> Result<Session, Error> { unbuilt() }
    /// Output from now on, and stdin for a container that has one.
    pub async fn attach(&self, container_id: &str) -> Result<Session, Error> { unbuilt() }
    /// Runs to completion; killed at `timeout`.
    pub async fn exec_sync(&self, container_id: &str, command: &[String], timeout: Duration) -> Result<ExecResult, Error> { unbuilt() }

    /// `<log dir>/<namespace>_<name>_<uid>`
    pub fn pod_log_directory(&self, pod: &PodIdentity) -> std::path::PathBuf {
        self.inner.options.log_dir.join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
    }
    /// Of a container ([`Container::id`]) or of a pod's cgroup (`cgroup_parent`).
    pub fn usage(&self, cgroup: &str) -> Option<Usage> { None }
    /// Of everything this runtime does not know: network namespaces, cgroups below `cgroup_root`, CNI attachments.
    pub async fn collect_garbage(&self, cgroup_root: &str) -> Result<(), Error> { unbuilt() }
}
fn unimplemented_events() -> EventReceiver { let (_s, r) = tokio::sync::broadcast::channel(8); EventReceiver(r) }
