//! A pod that is to run: bring it up, keep it up.

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Container;

use super::super::backoff::{Backoff, go_duration, later};
use super::super::memory::{ImageState, Operation, Reason};
use super::super::observation::{self, ContainerState, spec_hash};
use super::super::spec::{self, Role};
use super::{Action, Planner};

/// How far an init container has come.
#[derive(PartialEq)]
enum Progress {
    /// The next container may go on.
    Done,
    /// The containers after it wait.
    Pending,
}

impl Planner<'_> {
    pub(super) fn plan_running(&mut self) {
        if !self.memory.prepared {
            if self.may_begin(&Operation::Prepare) {
                self.act(Action::Prepare);
            }
            return;
        }
        if !self.memory.volumes_ready && self.may_begin(&Operation::MountVolumes) {
            self.act(Action::MountVolumes);
        }
        self.plan_sandbox();
        self.remove_superseded();
        if self.plan_init_containers() {
            for container in spec::app_containers(self.pod) {
                self.plan_container(container, Role::App);
            }
        }
        if let Some(instant) = super::super::deadline::instant(self.pod, self.memory) {
            self.wake_at(instant);
        }
    }

    /// One running sandbox; one that died takes its containers with it and is replaced.
    fn plan_sandbox(&mut self) {
        let seen = self.seen;
        if seen.running_sandbox().is_some() {
            self.remove_old_sandboxes();
            return;
        }
        let mut quiet = true;
        for instance in seen.containers.iter().filter(|instance| instance.is_running()) {
            quiet = false;
            let deadline = later(self.now, self.default_grace());
            if !self.memory.is_running(&Operation::StopContainer(instance.name.clone())) {
                self.stop(&instance.name, &instance.id, deadline, format!("Stopping container {}", instance.name));
            }
        }
        if quiet && self.may_begin(&Operation::CreateSandbox) {
            let attempt = seen.sandbox().map_or(0, |sandbox| sandbox.attempt + 1);
            self.act(Action::CreateSandbox { attempt });
        }
    }

    fn remove_old_sandboxes(&mut self) {
        let seen = self.seen;
        let newest = seen.sandbox().map(|sandbox| sandbox.id.as_str());
        for old in seen.sandboxes.iter().filter(|sandbox| Some(sandbox.id.as_str()) != newest) {
            let in_use = seen.containers.iter().any(|instance| instance.sandbox_id == old.id && instance.is_running());
            if !in_use && self.may_begin(&Operation::RemoveSandbox(old.id.clone())) {
                self.act(Action::RemoveSandbox { id: old.id.clone() });
            }
        }
    }

    /// Of the instances that ended, the last one and the one before are kept, for their logs.
    fn remove_superseded(&mut self) {
        let seen = self.seen;
        for (container, _) in spec::all_containers(self.pod) {
            let mut instances: Vec<&observation::Container> = seen.instances(&container.name).collect();
            instances.sort_by_key(|instance| std::cmp::Reverse(instance.attempt));
            for old in instances.into_iter().skip(2).filter(|instance| !instance.is_running()) {
                if self.may_begin(&Operation::RemoveContainer(old.id.clone())) {
                    self.act(Action::RemoveContainer { id: old.id.clone() });
                }
            }
        }
    }

    /// True when the app containers may run.
    fn plan_init_containers(&mut self) -> bool {
        // Once a container of this sandbox has begun, initialization is over: only sidecars are looked after.
        let begun = spec::app_containers(self.pod).iter().any(|container| self.seen.current(&container.name).is_some());
        for container in spec::init_containers(self.pod) {
            let role = spec::role_of_init(container);
            if begun && role == Role::Init {
                continue;
            }
            if self.plan_init_container(container, role) == Progress::Pending && !begun {
                return false;
            }
        }
        true
    }

    fn plan_init_container(&mut self, container: &Container, role: Role) -> Progress {
        let name = &container.name;
        let current = self.seen.current(name);
        let succeeded = current.and_then(observation::Container::exit).is_some_and(|exit| exit.code == 0);
        if role == Role::Init && succeeded {
            return Progress::Done;
        }
        self.plan_container(container, role);
        let up = current.is_some_and(|instance| instance.is_running() && self.memory.is_started(name, &instance.id));
        if role == Role::Sidecar && up { Progress::Done } else { Progress::Pending }
    }

    /// Keeps one container as it should be.
    fn plan_container(&mut self, container: &Container, role: Role) {
        let name = container.name.as_str();
        let Some(instance) = self.seen.current(name) else {
            self.start_first(container, role);
            return;
        };
        match &instance.state {
            ContainerState::Running { .. } => self.watch_over(container, instance),
            // A start that was cut short: the instance is of no use, the executor replaces it.
            ContainerState::Created => self.start(name, instance.attempt, None),
            ContainerState::Exited(exit) => {
                if spec::should_restart(self.pod, container, role, exit) {
                    self.restart(name, instance.attempt + 1, exit);
                }
            }
        }
    }

    /// No instance in this sandbox: begin, unless an instance in an earlier sandbox ended for good.
    fn start_first(&mut self, container: &Container, role: Role) {
        let name = container.name.as_str();
        // Init containers run again in a new sandbox, however they ended in the old one.
        if role == Role::App && self.has_ended_for_good(container, role) {
            return;
        }
        let earlier = self.seen.latest(name).map(|instance| instance.attempt + 1);
        let remembered = self.memory.container(name).filter(|memory| memory.last.is_some());
        let attempt = earlier.or(remembered.map(|memory| memory.restart_count + 1)).unwrap_or(0);
        self.start(name, attempt, None);
    }

    /// A running instance is left alone unless a probe or hook condemned it, or its image is no longer the spec's.
    fn watch_over(&mut self, container: &Container, instance: &observation::Container) {
        let name = &container.name;
        if self.memory.is_running(&Operation::StopContainer(name.clone())) {
            return;
        }
        if let Some(verdict) = self.memory.condemned(name, &instance.id) {
            let grace = verdict.grace.map_or(self.default_grace(), |grace| SignedDuration::from_secs(grace.max(1)));
            self.stop(name, &instance.id, later(self.now, grace), verdict.message.clone());
            return;
        }
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref());
        let hook_done = self.memory.container(name).is_some_and(|memory| memory.hook_done_id == instance.id);
        if hook.is_some() && !hook_done && self.may_begin(&Operation::PostStart(name.clone())) {
            self.act(Action::PostStart { container: name.clone(), id: instance.id.clone() });
        }
        let image = container.image.as_deref().unwrap_or_default();
        if !instance.spec_hash.is_empty() && instance.spec_hash != spec_hash(name, image) {
            let message = format!("Container {name} definition changed, will be restarted");
            self.stop(name, &instance.id, later(self.now, self.default_grace()), message);
        }
    }

    fn restart(&mut self, name: &str, attempt: u32, exit: &observation::Exit) {
        match self.restart_backoff(name, exit) {
            Ok(crash) => self.start(name, attempt, Some(crash)),
            Err((until, delay)) => {
                self.wake_at(until);
                let delay = go_duration(delay);
                let message =
                    format!("back-off {delay} restarting failed container={name} pod={}", spec::long_name(self.pod));
                self.plan.held_back.insert(name.to_owned(), Reason::new("CrashLoopBackOff", message));
            }
        }
    }

    /// Starts a container as soon as all that it needs is there; its image is seen to meanwhile.
    fn start(&mut self, name: &str, attempt: u32, crash: Option<Backoff>) {
        let stopping = self.memory.is_running(&Operation::StopContainer(name.to_owned()));
        if stopping || !self.may_begin(&Operation::StartContainer(name.to_owned())) {
            return;
        }
        match self.memory.images.get(name) {
            Some(ImageState::Ready { .. }) => {
                if self.memory.volumes_ready && self.seen.running_sandbox().is_some() {
                    self.act(Action::StartContainer { container: name.to_owned(), attempt, crash });
                }
            }
            Some(ImageState::Failed { retry: false, .. }) => {}
            Some(ImageState::Failed { backoff, .. }) if backoff.until() > self.now => self.wake_at(backoff.until()),
            _ => {
                if self.may_begin(&Operation::EnsureImage(name.to_owned())) {
                    self.act(Action::EnsureImage { container: name.to_owned() });
                }
            }
        }
    }

    fn default_grace(&self) -> SignedDuration {
        let seconds = spec::spec(self.pod).termination_grace_period_seconds.unwrap_or(30);
        SignedDuration::from_secs(seconds.max(1))
    }
}
