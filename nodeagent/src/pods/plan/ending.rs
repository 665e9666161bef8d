//! The end of a pod, asked for from outside or reached by itself.

use jiff::{SignedDuration, Timestamp};

use super::super::backoff::later;
use super::super::memory::Operation;
use super::super::spec::{self, Role};
use super::{Action, Planner};

impl Planner<'_> {
    /// A pod that is deleted or condemned: stop everything, then let go of everything, then say so.
    pub(super) fn plan_end(&mut self) {
        if !self.memory.cleaned {
            self.stop_everything();
            return;
        }
        let api_waits = spec::is_deleted(self.pod) && !self.memory.gone_from_api && !self.memory.deleted;
        if api_waits && self.may_begin(&Operation::Delete) {
            self.act(Action::Delete);
        }
    }

    /// A pod that ran to its end: its sidecars go, its sandbox goes, its containers and logs stay until it is deleted.
    pub(super) fn plan_completion(&mut self) {
        if self.stop_containers() && !self.memory.durable.sandbox_released {
            self.release_sandbox();
        }
    }

    fn stop_everything(&mut self) {
        if !self.stop_containers() {
            return;
        }
        if !self.memory.durable.sandbox_released {
            self.release_sandbox();
            return;
        }
        // A pod that the agent itself ended keeps its logs until somebody deletes it.
        let let_go = spec::is_deleted(self.pod) || self.memory.gone_from_api;
        let busy = self.memory.running.iter().any(|operation| {
            matches!(
                operation,
                Operation::StartContainer(_)
                    | Operation::StopContainer(_)
                    | Operation::CreateSandbox
                    | Operation::StopSandbox
            )
        });
        if let_go && !busy && self.may_begin(&Operation::CleanUp) {
            self.act(Action::CleanUp);
        }
    }

    /// Stops what runs, sidecars last and in reverse order; true when nothing runs and nothing is being started.
    fn stop_containers(&mut self) -> bool {
        let since = self.memory.ending_since.unwrap_or(self.now);
        let grace = spec::grace_seconds(self.pod, self.memory.durable.verdict.as_ref());
        let deadline = later(since, SignedDuration::from_secs(grace));

        let starting = self
            .memory
            .running
            .iter()
            .any(|operation| matches!(operation, Operation::StartContainer(_) | Operation::CreateSandbox));
        let mut quiet = !starting;
        for (container, role) in spec::all_containers(self.pod) {
            if role != Role::Sidecar {
                quiet &= self.stop_instances(&container.name, deadline);
            }
        }
        for container in spec::init_containers(self.pod).iter().rev() {
            if !quiet {
                break;
            }
            if spec::role_of_init(container) == Role::Sidecar {
                quiet = self.stop_instances(&container.name, deadline);
            }
        }
        quiet
    }

    fn stop_instances(&mut self, name: &str, deadline: Timestamp) -> bool {
        let seen = self.seen;
        let mut quiet = true;
        for instance in seen.instances(name).filter(|instance| instance.is_running()) {
            quiet = false;
            self.stop(name, &instance.id, deadline, format!("Stopping container {name}"));
        }
        quiet && !self.memory.is_running(&Operation::StopContainer(name.to_owned()))
    }

    fn release_sandbox(&mut self) {
        if self.may_begin(&Operation::StopSandbox) {
            // There may never have been one; letting go of nothing is done at once.
            let id = self.seen.sandbox().map(|sandbox| sandbox.id.clone());
            self.act(Action::StopSandbox { id });
        }
    }
}
