//! What the end of an operation changes in the actor's picture.

use jiff::Timestamp;

use super::super::backoff::{self, Backoff};
use super::super::mail::{Done, Failure};
use super::super::memory::{ImageState, Operation, PreviousInstance, Reason, Verdict};
use super::super::observation::{Container, Sandbox};
use super::super::spec;
use super::PodRole;
use crate::runtime;

impl PodRole {
    pub(super) fn finish(&mut self, operation: Operation, number: u64, outcome: Result<Done, Failure>) {
        let current = self.tasks.get(&operation).is_some_and(|task| task.number == number);
        if !current {
            // It was given up, or overtaken by another of its kind.
            return;
        }
        self.tasks.remove(&operation);
        self.memory.running.remove(&operation);
        match outcome {
            Ok(done) => {
                self.memory.retries.remove(&operation);
                self.succeed(&operation, done);
            }
            Err(failure) => self.fail(operation, failure),
        }
    }

    fn succeed(&mut self, operation: &Operation, done: Done) {
        match operation {
            Operation::Prepare => self.memory.prepared = true,
            Operation::MountVolumes => self.memory.volumes_ready = true,
            Operation::StopSandbox => self.memory.durable.sandbox_released = true,
            Operation::CleanUp => self.memory.cleaned = true,
            Operation::Delete => self.memory.deleted = true,
            Operation::StopContainer(name) => {
                self.memory.stopping.remove(name);
                self.memory.condemned.remove(name);
            }
            Operation::PostStart(name) => self.end_post_start(name),
            _ => {}
        }
        match done {
            Done::Nothing => {}
            Done::Sandbox(sandbox) => self.take_sandbox(sandbox),
            Done::SandboxGone(id) => self.let_go_of_sandbox(operation, id),
            Done::Image(image_id) => {
                if let Operation::EnsureImage(name) = operation {
                    self.memory.images.insert(name.clone(), ImageState::Ready { image_id });
                }
            }
            Done::Container(container) => self.take_container(operation, &container),
            Done::NoContainer(id) => self.seen.remove_container(&id),
            Done::Reported(status) => self.reported = *status,
        }
    }

    pub(super) fn take_sandbox(&mut self, sandbox: runtime::Sandbox) {
        self.seen.put_sandbox(Sandbox::from(&sandbox));
        let newest = self.sandbox.as_ref().is_none_or(|known| known.attempt <= sandbox.attempt);
        if newest {
            self.sandbox = Some(sandbox);
        }
    }

    fn let_go_of_sandbox(&mut self, operation: &Operation, id: Option<String>) {
        let Some(id) = id else { return };
        if matches!(operation, Operation::RemoveSandbox(_)) {
            self.forget_instances_of(&id);
            self.seen.remove_sandbox(&id);
        } else if let Some(sandbox) = self.seen.sandboxes.iter_mut().find(|sandbox| sandbox.id == id) {
            sandbox.running = false;
        }
    }

    /// The runtime removes a sandbox with its containers; how they ended is still needed.
    fn forget_instances_of(&mut self, sandbox_id: &str) {
        let gone: Vec<Container> =
            self.seen.containers.iter().filter(|instance| instance.sandbox_id == sandbox_id).cloned().collect();
        for instance in gone {
            self.seen.remove_container(&instance.id);
            let replaced = self.seen.latest(&instance.name).is_some();
            if let Some(exit) = instance.exit().filter(|_| !replaced) {
                let memory = self.memory.container_mut(&instance.name);
                memory.restart_count = memory.restart_count.max(instance.attempt);
                memory.last = Some(PreviousInstance { id: instance.id.clone(), exit: exit.clone() });
            }
        }
    }

    fn take_container(&mut self, operation: &Operation, container: &runtime::Container) {
        // An event may have told of its end before the start came back.
        let newer = self.seen.by_id(&container.id).is_some_and(|known| known.exit().is_some());
        if !newer || container.exit().is_some() {
            self.seen.put_container(Container::from(container));
        }
        if let Operation::StartContainer(name) = operation {
            self.memory.images.remove(name);
            self.memory.start_failures.remove(name);
            self.note_running(name, &container.id, container.attempt);
            let hook = spec::find_container(&self.pod, name)
                .and_then(|(container, _)| container.lifecycle.as_ref())
                .is_some_and(|lifecycle| lifecycle.post_start.is_some());
            if !hook {
                self.end_post_start(name);
            }
        }
    }

    /// An instance is about to be made: what it replaces becomes its `lastState`, and its back-off starts to count.
    pub(super) fn note_start(&mut self, name: &str, attempt: u32, crash: Option<Backoff>) {
        let before = self.seen.latest(name).filter(|instance| instance.attempt < attempt);
        let before = before.and_then(|instance| {
            instance.exit().map(|exit| PreviousInstance { id: instance.id.clone(), exit: exit.clone() })
        });
        let memory = self.memory.container_mut(name);
        if before.is_some() {
            memory.last = before;
        }
        if crash.is_some() {
            memory.crash = crash;
        }
    }

    /// A new instance runs: nothing is known of its probes.
    pub(super) fn note_running(&mut self, name: &str, id: &str, attempt: u32) {
        let memory = self.memory.container_mut(name);
        memory.restart_count = attempt;
        memory.probed_id = id.to_owned();
        memory.started = false;
        memory.ready = false;
    }

    /// The instance is on its way: from now on it is probed, or ready at once where nothing asks.
    fn end_post_start(&mut self, name: &str) {
        let id = self.memory.container(name).map(|memory| memory.probed_id.clone()).unwrap_or_default();
        self.memory.container_mut(name).hook_done_id = id;
    }

    fn fail(&mut self, operation: Operation, failure: Failure) {
        let now = Timestamp::now();
        tracing::warn!(
            pod = spec::long_name(&self.pod),
            operation = operation.name(),
            error = failure.message,
            "a step of the pod failed"
        );
        match &operation {
            Operation::EnsureImage(name) => {
                let name = name.clone();
                self.fail_image(&name, failure, now);
                return;
            }
            Operation::StartContainer(name) => self.fail_start(name.clone(), &failure),
            Operation::PostStart(name) => {
                self.fail_post_start(name.clone(), &failure);
                return;
            }
            Operation::StopContainer(name) => {
                self.memory.stopping.remove(name);
            }
            _ => {}
        }
        let policy = if operation == Operation::MountVolumes { backoff::VOLUMES } else { backoff::SYNC };
        self.memory.retry_later(operation, now, policy);
    }

    fn fail_image(&mut self, name: &str, failure: Failure, now: Timestamp) {
        let previous = match self.memory.images.get(name) {
            Some(ImageState::Failed { backoff, .. }) => Some(*backoff),
            _ => None,
        };
        let backoff = Backoff::after_failure(previous, now, backoff::IMAGE_PULL);
        let reason = failure.reason.unwrap_or_else(|| Reason::new("ErrImagePull", failure.message));
        self.memory.images.insert(name.to_owned(), ImageState::Failed { reason, backoff, retry: failure.retry });
        if failure.retry {
            // The error shows first, the wait for the next attempt soon after.
            self.schedule_pull_backoff(name);
        }
    }

    fn fail_start(&mut self, name: String, failure: &Failure) {
        if let Some(container) = &failure.container {
            self.seen.put_container(Container::from(container.as_ref()));
            let memory = self.memory.container_mut(&name);
            memory.restart_count = container.attempt;
        }
        self.memory.images.remove(&name);
        let reason = failure.reason.clone();
        let reason = reason.unwrap_or_else(|| Reason::new("RunContainerError", failure.message.clone()));
        self.memory.start_failures.insert(name, reason);
    }

    fn fail_post_start(&mut self, name: String, failure: &Failure) {
        let id = self.memory.container(&name).map(|memory| memory.probed_id.clone()).unwrap_or_default();
        self.memory.container_mut(&name).hook_done_id.clone_from(&id);
        let verdict = Verdict { container_id: id, message: "FailedPostStartHook".to_owned(), grace: None };
        self.memory.condemned.insert(name.clone(), verdict);
        if let Some(reason) = &failure.reason {
            self.memory.start_failures.insert(name, reason.clone());
        }
    }
}
