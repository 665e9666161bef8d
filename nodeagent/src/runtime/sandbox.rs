//! Sandboxes: a pod's cgroup, namespaces, network and pause container, made and taken down as one.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use containerd_client::services::v1::{
    CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest, KillRequest, StartRequest,
    WaitRequest,
};
use containerd_client::types::Mount;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use tonic::Code;

use super::containerd::{failed, missing_is_fine};
use super::record::{Record, SandboxRecord, runc_options};
use super::{ContainerFilter, Error, Protocol, Runtime, Sandbox, SandboxSpec, files, oci, random_id};
use crate::network;

const DELETE_ATTEMPTS: u32 = 5;
/// Of a pod's shared memory, as upstream has it.
const SHARED_MEMORY: &str = "size=67108864,mode=1777";

impl Runtime {
    /// Cgroup, network namespace, CNI ADD, pause container: all up when it returns. Cleans up after itself when it
    /// fails.
    ///
    /// A caller that is no longer interested does not stop it half way: the sandbox is then among
    /// [`Runtime::sandboxes`].
    pub async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox, Error> {
        let (runtime, spec) = (self.clone(), spec.clone());
        super::to_the_end(async move {
            let id = random_id(32);
            match runtime.build_sandbox(&id, &spec).await {
                Ok(sandbox) => Ok(sandbox),
                Err(error) => {
                    if let Err(left) = runtime.tear_down_sandbox(&id, spec.host_network).await {
                        tracing::warn!(sandbox = id, pod = spec.pod.name, error = %left, "cannot clean up a failed sandbox");
                    }
                    runtime.inner.table.remove_sandbox(&id);
                    Err(error)
                }
            }
        })
        .await
    }

    async fn build_sandbox(&self, id: &str, spec: &SandboxSpec) -> Result<Sandbox, Error> {
        let inner = &self.inner;
        let netns = (!spec.host_network).then(|| inner.namespaces.path(id));
        let record = SandboxRecord {
            pod: spec.pod.clone(),
            attempt: spec.attempt,
            created_at: SystemTime::now(),
            cgroup_parent: spec.cgroup_parent.clone(),
            directory: spec.directory.clone(),
            hostname: spec.hostname.clone(),
            host_network: spec.host_network,
            host_pid: spec.host_pid,
            host_ipc: spec.host_ipc,
            share_process_namespace: spec.share_process_namespace,
            annotations: spec.annotations.clone(),
        };
        let mut sandbox = from_record(id, &record);
        sandbox.netns = netns.clone();

        fs::create_dir_all(&spec.directory).map_err(Error::io("creating", &spec.directory))?;
        inner.cgroups.ensure(&spec.cgroup_parent, &spec.resources)?;
        if !spec.host_ipc {
            self.mount_shared_memory(id)?;
        }
        inner.table.put_sandbox(sandbox);
        let make_namespace = async {
            match spec.host_network {
                true => Ok(()),
                false => inner.namespaces.create(id).await.map(|_| ()).map_err(Error::Network),
            }
        };
        let (made, rootfs) = tokio::join!(make_namespace, self.prepare_pause(id, spec, record, netns.as_deref()));
        made?;
        let rootfs = rootfs?;

        // The network is set up from outside the namespace while the pause container starts inside. Neither is cut
        // off when the other fails: what is half made cannot be cleaned up.
        let (addresses, pid) =
            tokio::join!(self.attach_network(id, spec, netns.as_deref()), self.start_pause(id, rootfs));
        let (addresses, pid) = (addresses?, pid?);
        files::write_pod_files(spec, &addresses)?;
        let ready = inner.table.change_sandbox(id, |sandbox| {
            sandbox.ips = addresses;
            sandbox.pid = pid;
            sandbox.ready = true;
        });
        ready.ok_or_else(|| Error::NotFound { kind: "sandbox", id: id.to_string() })
    }

    async fn attach_network(&self, id: &str, spec: &SandboxSpec, netns: Option<&Path>) -> Result<Vec<IpAddr>, Error> {
        let Some(netns) = netns else { return Ok(Vec::new()) };
        let pod = network::Pod {
            sandbox_id: id,
            netns,
            namespace: &spec.pod.namespace,
            name: &spec.pod.name,
            uid: &spec.pod.uid,
            port_mappings: port_mappings(spec),
        };
        self.inner.network.add(&pod).await.map_err(Error::Network)
    }

    async fn prepare_pause(
        &self,
        id: &str,
        spec: &SandboxSpec,
        record: SandboxRecord,
        netns: Option<&Path>,
    ) -> Result<Vec<Mount>, Error> {
        let inner = &self.inner;
        let (pause, unpacked) = inner.images.pause().await?;
        let input = oci::SandboxInput { id, spec, netns, image: &unpacked, limits: &inner.limits };
        let oci = oci::sandbox(&input)?;
        let rootfs = self.prepare_snapshot(id, &unpacked.chain_id).await?;
        let options = runc_options(inner.options.runc_root.as_deref());
        let stored = Record::Sandbox(record)
            .stored(id, &pause.reference, &inner.options.snapshotter, &oci, options)
            .map_err(|error| Error::InvalidSpec(error.to_string()))?;
        let create = CreateContainerRequest { container: Some(stored) };
        let containerd = &inner.containerd;
        containerd.containers().create(containerd.request(create)).await.map_err(failed("creating container"))?;
        Ok(rootfs)
    }

    async fn start_pause(&self, id: &str, rootfs: Vec<Mount>) -> Result<u32, Error> {
        let containerd = &self.inner.containerd;
        let options = runc_options(self.inner.options.runc_root.as_deref());
        let task = CreateTaskRequest { container_id: id.to_string(), rootfs, options, ..CreateTaskRequest::default() };
        let created = containerd.tasks().create(containerd.request(task)).await.map_err(oci_failure)?;
        let start = StartRequest { container_id: id.to_string(), exec_id: String::new() };
        containerd.tasks().start(containerd.request(start)).await.map_err(oci_failure)?;
        Ok(created.into_inner().pid)
    }

    pub async fn sandbox(&self, id: &str) -> Result<Option<Sandbox>, Error> {
        Ok(self.inner.table.sandbox(id))
    }

    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, Error> {
        Ok(self.inner.table.sandboxes())
    }

    /// Ends what still runs in it and takes the network down (CNI DEL).
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), Error> {
        let Some(sandbox) = self.inner.table.sandbox(id) else { return Ok(()) };
        self.end_containers(id).await?;
        self.inner.table.change_sandbox(id, ended);
        tokio::try_join!(self.stop_pause(id), self.detach(id, sandbox.host_network)).map(|_| ())
    }

    /// Stops it, then removes its containers, itself and the pod's cgroup. Logs and the pod directory stay.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let Some(sandbox) = self.inner.table.sandbox(id) else { return Ok(()) };
        let containers = self.inner.table.containers(&of_sandbox(id));
        futures::future::try_join_all(containers.iter().map(|one| self.end_container(&one.id))).await?;
        self.inner.table.change_sandbox(id, ended);
        // Nothing runs any more: the network goes while the containers are put away.
        let put_away = futures::future::try_join_all(containers.iter().map(|one| self.remove_container(&one.id)));
        let (put_away, detached) = tokio::join!(put_away, self.detach(id, sandbox.host_network));
        put_away?;
        detached?;
        self.tear_down_sandbox(id, sandbox.host_network).await?;
        // The cgroup is the pod's: another sandbox of the pod may live in it.
        let shared = self
            .inner
            .table
            .sandboxes()
            .iter()
            .any(|other| other.id != id && other.cgroup_parent == sandbox.cgroup_parent);
        if !shared {
            self.inner.cgroups.remove(&sandbox.cgroup_parent)?;
        }
        self.inner.table.remove_sandbox(id);
        Ok(())
    }

    async fn end_containers(&self, sandbox_id: &str) -> Result<(), Error> {
        let containers = self.inner.table.containers(&of_sandbox(sandbox_id));
        let ends = containers.iter().map(|container| self.end_container(&container.id));
        futures::future::try_join_all(ends).await.map(|_| ())
    }

    async fn end_container(&self, id: &str) -> Result<(), Error> {
        match self.stop_container(id, std::time::Duration::ZERO).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Every step is fine with what is gone already.
    pub(super) async fn tear_down_sandbox(&self, id: &str, host_network: bool) -> Result<(), Error> {
        let containerd = &self.inner.containerd;
        let pause = async {
            self.stop_pause(id).await?;
            let delete = DeleteContainerRequest { id: id.to_string() };
            missing_is_fine(containerd.containers().delete(containerd.request(delete)).await, "removing container")?;
            self.remove_snapshot(id).await
        };
        let (detached, removed) = tokio::join!(self.detach(id, host_network), pause);
        detached?;
        removed?;
        self.unmount_shared_memory(id)
    }

    async fn detach(&self, id: &str, host_network: bool) -> Result<(), Error> {
        if host_network {
            return Ok(());
        }
        self.inner.network.del(id).await?;
        self.inner.namespaces.remove(id)?;
        Ok(())
    }

    /// Nothing of the pod's runs any more: no reason to be gentle.
    async fn stop_pause(&self, id: &str) -> Result<(), Error> {
        let containerd = &self.inner.containerd;
        let kill = KillRequest {
            container_id: id.to_string(),
            signal: nix::libc::SIGKILL as u32,
            all: false,
            ..KillRequest::default()
        };
        if missing_is_fine(containerd.tasks().kill(containerd.request(kill)).await, "killing sandbox")?.is_some() {
            let wait = WaitRequest { container_id: id.to_string(), exec_id: String::new() };
            missing_is_fine(containerd.tasks().wait(containerd.request(wait)).await, "waiting for sandbox")?;
        }
        self.delete_task(id).await
    }

    /// Waits until the task has ended where it still runs.
    pub(super) async fn delete_task(&self, id: &str) -> Result<(), Error> {
        let containerd = &self.inner.containerd;
        for attempt in 1.. {
            let delete = DeleteTaskRequest { container_id: id.to_string() };
            match containerd.tasks().delete(containerd.request(delete)).await {
                // A task on its way out is refused in one way or the other.
                Err(status)
                    if attempt < DELETE_ATTEMPTS
                        && matches!(status.code(), Code::FailedPrecondition | Code::Unknown) =>
                {
                    let wait = WaitRequest { container_id: id.to_string(), exec_id: String::new() };
                    missing_is_fine(containerd.tasks().wait(containerd.request(wait)).await, "waiting for task")?;
                }
                outcome => return missing_is_fine(outcome, "removing task").map(|_| ()),
            }
        }
        Ok(())
    }

    pub(super) fn shared_memory(&self, id: &str) -> PathBuf {
        self.inner.options.state_dir.join("shm").join(id)
    }

    fn mount_shared_memory(&self, id: &str) -> Result<(), Error> {
        let path = self.shared_memory(id);
        fs::create_dir_all(&path).map_err(Error::io("creating", &path))?;
        let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("shm"), &path, Some("tmpfs"), flags, Some(SHARED_MEMORY))
            .map_err(|errno| Error::io("mounting", &path)(errno.into()))
    }

    pub(super) fn unmount_shared_memory(&self, id: &str) -> Result<(), Error> {
        let path = self.shared_memory(id);
        while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
        match fs::remove_dir(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", &path)(error)),
            _ => Ok(()),
        }
    }
}

pub(super) fn from_record(id: &str, record: &SandboxRecord) -> Sandbox {
    Sandbox {
        id: id.to_string(),
        pod: record.pod.clone(),
        attempt: record.attempt,
        ready: false,
        created_at: record.created_at,
        ips: Vec::new(),
        netns: None,
        pid: 0,
        cgroup_parent: record.cgroup_parent.clone(),
        annotations: record.annotations.clone(),
        directory: record.directory.clone(),
        host_network: record.host_network,
        host_pid: record.host_pid,
        host_ipc: record.host_ipc,
        share_process_namespace: record.share_process_namespace,
        hostname: record.hostname.clone(),
    }
}

/// Said before the pause container is killed, so that its exit is no news to anybody.
pub(super) fn ended(sandbox: &mut Sandbox) {
    sandbox.ready = false;
    sandbox.pid = 0;
}

fn of_sandbox(id: &str) -> ContainerFilter {
    ContainerFilter { sandbox_id: Some(id.to_string()), ..ContainerFilter::default() }
}

/// What the OCI runtime said, in upstream's frame.
pub(super) fn oci_failure(status: tonic::Status) -> Error {
    match status.code() {
        Code::Unavailable | Code::Cancelled => failed("starting task")(status),
        _ => Error::Oci(format!("failed to create containerd task: {}", status.message())),
    }
}

fn port_mappings(spec: &SandboxSpec) -> serde_json::Value {
    let mappings = spec.port_mappings.iter().map(|mapping| {
        let protocol = match mapping.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        let mut value = json!({
            "hostPort": mapping.host_port, "containerPort": mapping.container_port, "protocol": protocol,
        });
        if let Some(address) = mapping.host_ip {
            value["hostIP"] = address.to_string().into();
        }
        value
    });
    mappings.collect()
}
