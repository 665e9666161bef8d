//! What is to be done for a pod: a pure function of what is wanted, what the runtime shows and what the agent remembers.
//!
//! The planner never waits and never fails. It is asked again after everything that happens to the pod, and names
//! every operation that can begin now; what is under way (`Memory::running`) it does not name twice. Operations that
//! do not need one another run side by side: volumes, images and the sandbox of a new pod, for instance.
//!
//! The life of a pod is `prepare → volumes, sandbox, images → init containers in order → containers`, and its end
//! `containers → sidecars in reverse → sandbox → clean-up → deletion from the API`.

mod ending;
mod running;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::backoff::{Backoff, CRASH_LOOP};
use super::memory::{Memory, Operation, Reason};
use super::observation::{self, Observation};
use super::spec::{self, Role};

/// One operation that can begin now, with what it needs to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the pod's directories and write its state file.
    Prepare,
    MountVolumes,
    CreateSandbox {
        attempt: u32,
    },
    /// Tear down the network and end the pause container.
    StopSandbox {
        id: Option<String>,
    },
    /// Remove a sandbox that was replaced.
    RemoveSandbox {
        id: String,
    },
    /// Have the container's image on the node, as its pull policy says.
    EnsureImage {
        container: String,
    },
    StartContainer {
        container: String,
        /// restartCount of the new instance.
        attempt: u32,
        /// The back-off that counts from the exit which this start answers.
        crash: Option<Backoff>,
    },
    /// Run the postStart hook of an instance that has just started.
    PostStart {
        container: String,
        id: String,
    },
    StopContainer {
        container: String,
        id: String,
        /// When its processes are killed at the latest.
        deadline: Timestamp,
        /// The Killing event's text.
        message: String,
    },
    /// Remove an instance that ended and is neither the last nor the one before.
    RemoveContainer {
        id: String,
    },
    /// Remove all that is left of the pod on this node.
    CleanUp,
    /// Confirm the pod's end to the API server.
    Delete,
}

/// The planner's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Ask again at this instant even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Containers that are to be started again and have to wait, with their `waiting` state.
    pub held_back: BTreeMap<String, Reason>,
}

/// Decides what to do for `pod` at `now`.
pub fn plan(pod: &Pod, seen: &Observation, memory: &Memory, now: Timestamp) -> Plan {
    let mut planner = Planner { pod, seen, memory, now, plan: Plan::default() };
    if planner.is_ending() {
        planner.plan_end();
    } else if planner.is_complete() {
        planner.plan_completion();
    } else {
        planner.plan_running();
    }
    planner.plan
}

/// True when every container has ended for good and the pod runs nothing any more: `Succeeded` or `Failed`.
pub fn is_complete(pod: &Pod, seen: &Observation, memory: &Memory) -> bool {
    Planner { pod, seen, memory, now: Timestamp::UNIX_EPOCH, plan: Plan::default() }.is_complete()
}

/// True when the pod is being brought to its end: deleted, gone from the API, or condemned by the agent.
pub fn is_ending(pod: &Pod, memory: &Memory) -> bool {
    spec::is_deleted(pod) || memory.gone_from_api || memory.durable.verdict.is_some()
}

struct Planner<'a> {
    pod: &'a Pod,
    seen: &'a Observation,
    memory: &'a Memory,
    now: Timestamp,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn is_ending(&self) -> bool {
        is_ending(self.pod, self.memory)
    }

    /// The last thing known of a container's end: of its newest instance, or remembered from one that is gone.
    fn latest_exit(&self, name: &str) -> Option<&'a observation::Exit> {
        match self.seen.latest(name) {
            Some(instance) => instance.exit(),
            None => self.memory.container(name).and_then(|memory| memory.last.as_ref()).map(|last| &last.exit),
        }
    }

    fn has_ended_for_good(&self, container: &Container, role: Role) -> bool {
        self.latest_exit(&container.name).is_some_and(|exit| !spec::should_restart(self.pod, container, role, exit))
    }

    fn is_complete(&self) -> bool {
        let containers = spec::app_containers(self.pod);
        if containers.is_empty() {
            return false;
        }
        if containers.iter().all(|container| self.has_ended_for_good(container, Role::App)) {
            return true;
        }
        // An init container that failed for good ends a pod whose containers have not begun.
        let begun = containers.iter().any(|container| self.seen.latest(&container.name).is_some());
        !begun
            && spec::init_containers(self.pod).iter().any(|container| {
                spec::role_of_init(container) == Role::Init
                    && self.has_ended_for_good(container, Role::Init)
                    && self.latest_exit(&container.name).is_some_and(|exit| exit.code != 0)
            })
    }

    /// Whether `operation` may begin: it is not under way, and the wait after its last failure is over.
    fn may_begin(&mut self, operation: &Operation) -> bool {
        if self.memory.is_running(operation) {
            return false;
        }
        match self.memory.retries.get(operation) {
            Some(backoff) if backoff.until() > self.now => {
                self.wake_at(backoff.until());
                false
            }
            _ => true,
        }
    }

    fn act(&mut self, action: Action) {
        self.plan.actions.push(action);
    }

    fn wake_at(&mut self, instant: Timestamp) {
        let earlier = self.plan.wake_at.is_none_or(|known| instant < known);
        if earlier {
            self.plan.wake_at = Some(instant);
        }
    }

    /// Asks for a container to be stopped by `deadline`, again if that is earlier than what is under way.
    fn stop(&mut self, container: &str, id: &str, deadline: Timestamp, message: String) {
        match self.memory.stopping.get(container) {
            Some(known) if *known <= deadline => {}
            _ => self.act(Action::StopContainer {
                container: container.to_owned(),
                id: id.to_owned(),
                deadline,
                message,
            }),
        }
    }

    /// When a container that ended at `exit` may be started again, and the back-off that holds from then on.
    fn restart_backoff(&self, name: &str, exit: &observation::Exit) -> Result<Backoff, (Timestamp, SignedDuration)> {
        let known = self.memory.container(name).and_then(|memory| memory.crash);
        if let Some(known) = known {
            let until = super::backoff::later(exit.finished_at, known.delay);
            let counts = exit.finished_at.duration_since(known.since) <= CRASH_LOOP.maximum * 2;
            if counts && until > self.now {
                return Err((until, known.delay));
            }
        }
        Ok(Backoff::after_failure(known, exit.finished_at, CRASH_LOOP))
    }
}
