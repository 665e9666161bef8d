//! Containers of a sandbox: made, started, stopped, removed.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::{
    CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, KillRequest, StartRequest,
};
use nix::sys::signal::Signal;
use tonic::Code;

use super::containerd::{failed, missing_is_fine};
use super::record::{ContainerRecord, Record, runc_options};
use super::sandbox::oci_failure;
use super::table::Row;
use super::{
    Container, ContainerFilter, ContainerSpec, ContainerState, Error, Event, Exit, Runtime, Sandbox, logs, oci,
    random_id,
};

const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";
/// How long a killed process may take to be gone before we say so.
const KILL_LIMIT: Duration = Duration::from_secs(120);
const START_FAILED: i32 = 128;

impl Runtime {
    /// Its root file system and its place in containerd; nothing runs yet.
    pub async fn create_container(&self, sandbox: &Sandbox, spec: &ContainerSpec) -> Result<Container, Error> {
        let (runtime, sandbox, spec) = (self.clone(), sandbox.clone(), spec.clone());
        super::to_the_end(async move { runtime.make_container(&sandbox, &spec).await }).await
    }

    async fn make_container(&self, sandbox: &Sandbox, spec: &ContainerSpec) -> Result<Container, Error> {
        let inner = &self.inner;
        let containerd = &inner.containerd;
        // The caller's copy may be of before a restart of the agent.
        let sandbox = &inner.table.require_sandbox(&sandbox.id)?;
        if !sandbox.ready {
            return Err(Error::NotRunning(sandbox.id.clone()));
        }
        let (image, unpacked) =
            inner.images.find(&spec.image).await?.ok_or_else(|| Error::ImageNotPresent(spec.image.clone()))?;

        let id = random_id(32);
        let termination_message_file = self.make_termination_message_file(sandbox, spec)?;
        let made = async {
            let mounts = self.prepare_snapshot(&id, &unpacked.chain_id).await?;
            let shared_memory = self.shared_memory(&sandbox.id);
            let oci = oci::container(&oci::ContainerInput {
                id: &id,
                spec,
                sandbox,
                image: &unpacked,
                root: &oci::RootFs::of_mounts(&mounts),
                limits: &inner.limits,
                shared_memory: &shared_memory,
                termination_message: match (&spec.termination_message_path, &termination_message_file) {
                    (Some(path), Some(file)) => Some((path, file)),
                    _ => None,
                },
                unified_cgroups: inner.cgroups.is_unified(),
            })?;
            let record = ContainerRecord {
                pod: sandbox.pod.clone(),
                sandbox_id: sandbox.id.clone(),
                name: spec.name.clone(),
                attempt: spec.attempt,
                created_at: SystemTime::now(),
                image: spec.image.clone(),
                image_id: image.image_id.clone(),
                spec_hash: spec.spec_hash.clone(),
                tty: spec.tty,
                stdin: spec.stdin,
                stdin_once: spec.stdin_once,
                log_path: self.log_path(sandbox, spec),
                cgroup: oci::cgroup_of(&sandbox.cgroup_parent, &id),
                stop_signal: stop_signal(spec, &unpacked.execution.stop_signal),
                termination_message_file,
                termination_message_policy: spec.termination_message_policy,
                annotations: spec.annotations.clone(),
            };
            let stored = Record::Container(record.clone())
                .stored(
                    &id,
                    &image.reference,
                    &inner.options.snapshotter,
                    &oci,
                    runc_options(inner.options.runc_root.as_deref()),
                )
                .map_err(|error| Error::InvalidSpec(error.to_string()))?;
            let create = CreateContainerRequest { container: Some(stored) };
            containerd.containers().create(containerd.request(create)).await.map_err(failed("creating container"))?;
            Ok(record)
        }
        .await;
        match made {
            Ok(record) => {
                let container = from_record(&id, &record);
                inner.table.put(Row { container: container.clone(), record, ending: false });
                Ok(container)
            }
            Err(error) => {
                self.remove_snapshot(&id).await?;
                Err(error)
            }
        }
    }

    fn log_path(&self, sandbox: &Sandbox, spec: &ContainerSpec) -> PathBuf {
        self.pod_log_directory(&sandbox.pod).join(&spec.name).join(format!("{}.log", spec.attempt))
    }

    fn make_termination_message_file(&self, sandbox: &Sandbox, spec: &ContainerSpec) -> Result<Option<PathBuf>, Error> {
        use std::os::unix::fs::PermissionsExt;
        if spec.termination_message_path.is_none() {
            return Ok(None);
        }
        let directory = sandbox.directory.join("containers").join(&spec.name);
        fs::create_dir_all(&directory).map_err(Error::io("creating", &directory))?;
        let path = directory.join(format!("termination-log.{}", spec.attempt));
        fs::write(&path, "").map_err(Error::io("creating", &path))?;
        // Whoever the container runs as may write it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(Error::io("opening up", &path))?;
        Ok(Some(path))
    }

    /// An error leaves the container Exited with reason `StartError` and exit code 128.
    pub async fn start_container(&self, id: &str) -> Result<Container, Error> {
        let (runtime, id) = (self.clone(), id.to_string());
        super::to_the_end(async move { runtime.start(&id).await }).await
    }

    async fn start(&self, id: &str) -> Result<Container, Error> {
        let row = self.inner.table.require(id)?;
        if row.container.is_running() {
            return Ok(row.container);
        }
        match self.run_task(id, &row.record).await {
            Ok(pid) => {
                let started_at = SystemTime::now();
                let container = self.inner.table.change(id, |container| {
                    // It may have ended already.
                    if container.state == ContainerState::Created {
                        container.state = ContainerState::Running { started_at };
                        container.pid = pid;
                    } else if let ContainerState::Exited(exit) = &mut container.state {
                        exit.started_at.get_or_insert(started_at.min(exit.finished_at));
                    }
                });
                let container = container.ok_or_else(|| Error::NotFound { kind: "container", id: id.to_string() })?;
                self.inner.table.announce(Event::ContainerStarted {
                    pod_uid: container.pod.uid.clone(),
                    container_id: id.to_string(),
                });
                Ok(container)
            }
            Err(error) => {
                let now = SystemTime::now();
                let exit = Exit {
                    started_at: None,
                    finished_at: now,
                    exit_code: START_FAILED,
                    signal: 0,
                    reason: "StartError".into(),
                    message: error.to_string(),
                };
                self.delete_task(id).await?;
                self.settle(id, exit).await;
                Err(error)
            }
        }
    }

    async fn run_task(&self, id: &str, record: &ContainerRecord) -> Result<u32, Error> {
        let inner = &self.inner;
        let containerd = &inner.containerd;
        let rootfs = self.snapshot_mounts(id).await?;
        let streams = logs::streams(&inner.options, &inner.logger, id, record)?;
        let task = CreateTaskRequest {
            container_id: id.to_string(),
            rootfs,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            terminal: record.tty,
            options: runc_options(inner.options.runc_root.as_deref()),
            ..CreateTaskRequest::default()
        };
        let pid = match containerd.tasks().create(containerd.request(task)).await {
            Ok(created) => created.into_inner().pid,
            // Made by an agent that died before it could start it.
            Err(status) if status.code() == Code::AlreadyExists => 0,
            Err(status) => return Err(oci_failure(status)),
        };
        let start = StartRequest { container_id: id.to_string(), exec_id: String::new() };
        let started = containerd.tasks().start(containerd.request(start)).await.map_err(oci_failure)?;
        Ok(started.into_inner().pid.max(pid))
    }

    /// Sends the stop signal, waits `grace`, kills; returns the container as it ended. One that does not run is no
    /// error.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<Container, Error> {
        let row = self.inner.table.require(id)?;
        if !row.container.is_running() {
            return Ok(row.container);
        }
        if !grace.is_zero() {
            let signal = signal_number(&row.record.stop_signal).unwrap_or(Signal::SIGTERM as i32);
            self.signal(id, signal, false).await?;
            if let Some(container) = self.wait_for_exit(id, grace).await? {
                return Ok(container);
            }
        }
        self.signal(id, Signal::SIGKILL as i32, true).await?;
        match self.wait_for_exit(id, KILL_LIMIT).await? {
            Some(container) => Ok(container),
            None => Err(Error::Oci(format!("container {id} is still there {KILL_LIMIT:?} after it was killed"))),
        }
    }

    /// `None` when it still runs at the end of `limit`.
    async fn wait_for_exit(&self, id: &str, limit: Duration) -> Result<Option<Container>, Error> {
        let wait = async {
            let mut events = self.events();
            loop {
                let row = self.inner.table.require(id)?;
                if !row.container.is_running() {
                    return Ok(row.container);
                }
                if events.recv().await.is_none() {
                    return Err(Error::NotRunning(id.to_string()));
                }
            }
        };
        match tokio::time::timeout(limit, wait).await {
            Ok(outcome) => outcome.map(Some),
            Err(_) => Ok(None),
        }
    }

    pub async fn kill_container(&self, id: &str, signal: i32) -> Result<(), Error> {
        self.inner.table.require(id)?;
        self.signal(id, signal, false).await
    }

    /// To a container that has ended is no error.
    async fn signal(&self, id: &str, signal: i32, all: bool) -> Result<(), Error> {
        let kill = KillRequest { container_id: id.to_string(), exec_id: String::new(), signal: signal as u32, all };
        let containerd = &self.inner.containerd;
        missing_is_fine(containerd.tasks().kill(containerd.request(kill)).await, "killing container").map(|_| ())
    }

    /// Kills it where it runs; its log files stay.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let Some(row) = self.inner.table.row(id) else { return Ok(()) };
        if row.container.is_running() {
            self.stop_container(id, Duration::ZERO).await?;
        }
        let containerd = &self.inner.containerd;
        self.delete_task(id).await?;
        let delete = DeleteContainerRequest { id: id.to_string() };
        missing_is_fine(containerd.containers().delete(containerd.request(delete)).await, "removing container")?;
        self.remove_snapshot(id).await?;
        logs::remove_streams(&self.inner.options, id)?;
        self.inner.table.remove(id);
        Ok(())
    }

    pub async fn container(&self, id: &str) -> Result<Option<Container>, Error> {
        Ok(self.inner.table.row(id).map(|row| row.container))
    }

    /// The oldest first.
    pub async fn containers(&self, filter: &ContainerFilter) -> Result<Vec<Container>, Error> {
        Ok(self.inner.table.containers(filter))
    }
}

pub(super) fn from_record(id: &str, record: &ContainerRecord) -> Container {
    Container {
        id: id.to_string(),
        sandbox_id: record.sandbox_id.clone(),
        pod: record.pod.clone(),
        name: record.name.clone(),
        attempt: record.attempt,
        image: record.image.clone(),
        image_id: record.image_id.clone(),
        spec_hash: record.spec_hash.clone(),
        created_at: record.created_at,
        state: ContainerState::Created,
        pid: 0,
        tty: record.tty,
        stdin: record.stdin,
        log_path: record.log_path.clone(),
        annotations: record.annotations.clone(),
    }
}

fn stop_signal(spec: &ContainerSpec, of_image: &str) -> String {
    match &spec.stop_signal {
        Some(signal) => signal.clone(),
        None if !of_image.is_empty() => of_image.to_string(),
        None => DEFAULT_STOP_SIGNAL.to_string(),
    }
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`
fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset: i32 = offset.strip_prefix('+').map_or(Some(0), |number| number.parse().ok())?;
        // The kernel's numbering less the two that C libraries keep.
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let table = [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGQUIT", Some(3)),
            ("SIGRTMIN+3", Some(37)),
            ("0", None),
            ("99", None),
            ("SIGNOTHING", None),
        ];
        for (text, number) in table {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }

    #[test]
    fn the_pods_stop_signal_wins_over_the_images() {
        let asked = ContainerSpec { stop_signal: Some("SIGINT".into()), ..ContainerSpec::default() };
        assert_eq!(stop_signal(&asked, "SIGQUIT"), "SIGINT");
        assert_eq!(stop_signal(&ContainerSpec::default(), "SIGQUIT"), "SIGQUIT");
        assert_eq!(stop_signal(&ContainerSpec::default(), ""), "SIGTERM");
    }
}
