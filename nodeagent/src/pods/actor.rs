//! A pod's actor: takes mail in, keeps the three inputs of the planner up to date, lets the planner decide and the
//! executor act.
//!
//! The role itself never waits for containerd, a registry or the API server: operations run as tasks and come back as
//! mail. A role that is made anew begins from what containerd and the pod's state file say.

mod outcomes;
mod probing;
mod recovery;
mod reporting;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use keelson_process::BoxError;
use keelson_process::supervision::Role;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::events::PodEvents;
use super::execute::{Job, Turns};
use super::link::Link;
use super::mail::{Done, Failure, Mail};
use super::memory::{Durable, Memory, Operation, Reason};
use super::observation::Observation;
use super::plan::{self, Action, Plan};
use super::references::PodReferences;
use super::{deadline, spec, state_file};
use crate::context::Context;
use crate::probes::{Kind, worker::Worker};
use crate::runtime;

/// What makes a pod's role, also anew.
#[derive(Clone)]
pub struct Factory {
    pub context: Context,
    pub link: Link,
    /// The newest version of the pod that was seen.
    pub newest: Arc<Mutex<Arc<Pod>>>,
    /// The runtime or the state directory may already know of the pod.
    pub known: Arc<AtomicBool>,
    pub turns: Turns,
    /// The API server has no such pod (it was deleted while the agent was dead).
    pub gone: bool,
    /// Told when nothing of the pod is left to be done.
    pub finished: tokio::sync::mpsc::UnboundedSender<String>,
}

impl Factory {
    pub fn make(&self) -> PodRole {
        let pod = self.newest.lock().clone();
        // From its second incarnation on, the role has to find out what the first one did.
        let known = self.known.swap(true, Ordering::AcqRel);
        let memory = Memory { gone_from_api: self.gone, ..Memory::default() };
        PodRole {
            directory: state_file::directory(&self.context.node.root_dir, spec::uid(&pod)),
            events: PodEvents::new(&self.context.recorder, &pod),
            references: Arc::new(self.context.references.watch(&pod, &self.link)),
            reported: pod.status.clone().unwrap_or_default(),
            wanted: pod.status.clone().unwrap_or_default(),
            factory: self.clone(),
            known,
            pod,
            seen: Observation::default(),
            memory,
            saved: Durable::default(),
            sandbox: None,
            held_back: BTreeMap::new(),
            tasks: BTreeMap::new(),
            counter: 0,
            probes: BTreeMap::new(),
            alarm: None,
            done: false,
        }
    }
}

pub struct PodRole {
    factory: Factory,
    known: bool,
    pod: Arc<Pod>,
    directory: PathBuf,
    events: PodEvents,
    references: Arc<PodReferences>,
    seen: Observation,
    memory: Memory,
    /// What the state file holds.
    saved: Durable,
    /// The newest sandbox, as the runtime wants it back.
    sandbox: Option<runtime::Sandbox>,
    held_back: BTreeMap<String, Reason>,
    tasks: BTreeMap<Operation, Task>,
    counter: u64,
    probes: BTreeMap<(String, Kind), (String, Worker)>,
    alarm: Option<Task>,
    /// The last status that the API server took.
    reported: PodStatus,
    /// The status as it is.
    wanted: PodStatus,
    done: bool,
}

/// Work under way; dropping it gives it up.
struct Task {
    number: u64,
    handle: JoinHandle<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Role for PodRole {
    type Mail = Mail;

    async fn started(&mut self) -> Result<(), BoxError> {
        if self.known {
            self.recover().await?;
        }
        self.memory.durable.start_time.get_or_insert_with(|| {
            let known = self.pod.status.as_ref().and_then(|status| status.start_time.clone());
            known.map_or_else(Timestamp::now, |time| time.0)
        });
        self.reconcile();
        Ok(())
    }

    async fn handle(&mut self, mail: Mail) -> Result<(), BoxError> {
        match mail {
            Mail::Pod(pod) => self.update_pod(pod),
            Mail::Gone => self.memory.gone_from_api = true,
            Mail::ContainerChanged(id) => self.look_at_container(&id).await?,
            Mail::SandboxChanged(id) => self.look_at_sandbox(&id).await?,
            Mail::Resync => self.recover().await?,
            Mail::Finished(operation, number, outcome) => self.finish(operation, number, *outcome),
            Mail::Probe(report) => self.heed_probe(report),
            Mail::SourcesChanged => self.refresh_sources(),
            Mail::Wake => self.wake(),
        }
        self.reconcile();
        Ok(())
    }
}

impl PodRole {
    fn context(&self) -> &Context {
        &self.factory.context
    }

    fn update_pod(&mut self, pod: Arc<Pod>) {
        // Labels and annotations show in downward API volumes.
        let visible = pod.metadata.labels != self.pod.metadata.labels
            || pod.metadata.annotations != self.pod.metadata.annotations;
        let before = std::mem::replace(&mut self.pod, pod);
        for name in spec::changed_images(&before, &self.pod) {
            // Neither what was pulled nor how often that failed says anything of another image.
            let operation = Operation::EnsureImage(name.clone());
            self.give_up(&operation);
            self.memory.retries.remove(&operation);
            self.memory.images.remove(&name);
        }
        if visible {
            self.refresh_sources();
        }
    }

    /// Volumes are brought up to date, and starts that lacked something are tried again at once.
    fn refresh_sources(&mut self) {
        self.memory.volumes_ready &= !self.has_made_volumes();
        self.memory
            .retries
            .retain(|operation, _| !matches!(operation, Operation::MountVolumes | Operation::StartContainer(_)));
        if self.memory.is_running(&Operation::MountVolumes) {
            // It may have read the old content: begin again.
            self.give_up(&Operation::MountVolumes);
        }
    }

    fn has_made_volumes(&self) -> bool {
        spec::spec(&self.pod).volumes.iter().flatten().any(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some()
        })
    }

    fn wake(&mut self) {
        self.alarm = None;
        let due = self.context().tokens.renew_at(spec::uid(&self.pod)).is_some_and(|due| due <= Timestamp::now());
        if due {
            self.refresh_sources();
        }
        self.show_pull_backoff(Timestamp::now());
    }

    /// Plans, acts, reports. Quick, and may be called at any time.
    fn reconcile(&mut self) {
        if self.done {
            return;
        }
        let now = Timestamp::now();
        if self.memory.durable.verdict.is_none()
            && !plan::is_ending(&self.pod, &self.memory)
            && !plan::is_complete(&self.pod, &self.seen, &self.memory)
            && let Some(verdict) = deadline::verdict(&self.pod, &self.memory, now)
        {
            self.events.pod_normal("DeadlineExceeded", &verdict.message);
            self.memory.durable.verdict = Some(verdict);
        }
        let over = plan::is_ending(&self.pod, &self.memory) || plan::is_complete(&self.pod, &self.seen, &self.memory);
        if over && self.memory.ending_since.is_none() {
            self.memory.ending_since = Some(now);
            self.give_up_for_the_end();
        }
        let Plan { actions, wake_at, held_back } = plan::plan(&self.pod, &self.seen, &self.memory, now);
        self.announce_backoff(&held_back);
        self.held_back = held_back;
        for action in actions {
            // The API learns how the pod ended before the pod leaves it.
            if action == Action::Delete && !self.is_reported() {
                continue;
            }
            self.begin(action);
        }
        self.sync_probes();
        self.report(now);
        self.save();
        self.set_alarm(wake_at, now);
        self.finish_if_done();
    }

    /// What only makes sense for a pod that goes on.
    fn give_up_for_the_end(&mut self) {
        let pointless: Vec<Operation> = self
            .memory
            .running
            .iter()
            .filter(|operation| {
                matches!(operation, Operation::EnsureImage(_) | Operation::PostStart(_) | Operation::MountVolumes)
            })
            .cloned()
            .collect();
        for operation in pointless {
            self.give_up(&operation);
        }
        self.memory.retries.clear();
    }

    fn give_up(&mut self, operation: &Operation) {
        self.tasks.remove(operation);
        self.memory.running.remove(operation);
    }

    fn announce_backoff(&self, held_back: &BTreeMap<String, Reason>) {
        for name in held_back.keys().filter(|name| !self.held_back.contains_key(*name)) {
            let pod = spec::long_name(&self.pod);
            self.events.warning(name, "BackOff", &format!("Back-off restarting failed container {name} in pod {pod}"));
        }
    }

    fn begin(&mut self, action: Action) {
        let operation = operation_of(&action);
        let mut job = Job {
            context: self.context().clone(),
            pod: self.pod.clone(),
            directory: self.directory.clone(),
            events: self.events.clone(),
            references: self.references.clone(),
            turns: self.factory.turns.clone(),
            sandbox: self.sandbox.clone(),
            leftover: None,
            hook_tried: false,
        };
        match &action {
            Action::StartContainer { container, attempt, crash } => {
                let unused =
                    self.seen.current(container).filter(|instance| !instance.is_running() && instance.exit().is_none());
                job.leftover = unused.map(|instance| instance.id.clone());
                self.note_start(container, *attempt, *crash);
            }
            Action::StopContainer { container, deadline, .. } => {
                job.hook_tried = self.memory.stopping.contains_key(container);
                self.memory.stopping.insert(container.clone(), *deadline);
                self.give_up(&Operation::PostStart(container.clone()));
                self.probes.retain(|(name, _), _| name != container);
            }
            _ => {}
        }
        tracing::debug!(pod = spec::long_name(&self.pod), operation = operation.name(), "begins");
        self.spawn(operation, job.run(action));
    }

    /// Runs an operation off the arbiter; its end comes back as mail, whatever its end is.
    fn spawn(&mut self, operation: Operation, work: impl Future<Output = Result<Done, Failure>> + Send + 'static) {
        self.counter += 1;
        let number = self.counter;
        let link = self.factory.link.clone();
        let tasks = self.context().tasks.clone();
        let ended = operation.clone();
        let runner = tasks.clone();
        let handle = tasks.spawn(async move {
            // A task of its own, so that a panic is an outcome and not the end of the pod.
            let mut inner = AbortOnDrop(runner.spawn(work));
            let outcome = (&mut inner.0).await.unwrap_or_else(|error| Err(Failure::new(format!("broke off: {error}"))));
            link.send(Mail::Finished(ended, number, Box::new(outcome))).await;
        });
        self.memory.running.insert(operation.clone());
        self.tasks.insert(operation, Task { number, handle });
    }

    /// The one timer of the pod: the planner's, or a token's renewal.
    fn set_alarm(&mut self, wake_at: Option<Timestamp>, now: Timestamp) {
        let renewal = self.context().tokens.renew_at(spec::uid(&self.pod));
        let report = self.memory.retries.get(&Operation::ReportStatus).map(|backoff| backoff.until());
        let report = report.filter(|until| *until > now);
        let next = wake_at.into_iter().chain(renewal).chain(report).min();
        self.alarm = next.map(|instant| {
            let wait = Duration::try_from(instant.duration_since(now)).unwrap_or_default();
            let link = self.factory.link.clone();
            let handle = self.context().tasks.spawn(async move {
                // A millisecond more, so that the clock is past the instant for certain.
                tokio::time::sleep(wait + Duration::from_millis(1)).await;
                link.send(Mail::Wake).await;
            });
            Task { number: 0, handle }
        });
    }

    fn save(&mut self) {
        let exists = self.memory.prepared && !self.memory.cleaned && !self.memory.is_running(&Operation::CleanUp);
        if !exists || self.saved == self.memory.durable {
            return;
        }
        match state_file::save(&self.directory, &self.memory.durable) {
            Ok(()) => self.saved = self.memory.durable.clone(),
            Err(error) => tracing::warn!(directory = %self.directory.display(), %error, "cannot save the pod's state"),
        }
    }

    fn finish_if_done(&mut self) {
        if self.memory.cleaned && self.memory.gone_from_api {
            self.done = true;
            self.tasks.clear();
            self.probes.clear();
            self.alarm = None;
            // The dispatcher has gone: so has the whole agent.
            let _ = self.factory.finished.send(spec::uid(&self.pod).to_owned());
        }
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn operation_of(action: &Action) -> Operation {
    match action {
        Action::Prepare => Operation::Prepare,
        Action::MountVolumes => Operation::MountVolumes,
        Action::CreateSandbox { .. } => Operation::CreateSandbox,
        Action::StopSandbox { .. } => Operation::StopSandbox,
        Action::RemoveSandbox { id } => Operation::RemoveSandbox(id.clone()),
        Action::EnsureImage { container } => Operation::EnsureImage(container.clone()),
        Action::StartContainer { container, .. } => Operation::StartContainer(container.clone()),
        Action::PostStart { container, .. } => Operation::PostStart(container.clone()),
        Action::StopContainer { container, .. } => Operation::StopContainer(container.clone()),
        Action::RemoveContainer { id } => Operation::RemoveContainer(id.clone()),
        Action::CleanUp => Operation::CleanUp,
        Action::Delete => Operation::Delete,
    }
}
