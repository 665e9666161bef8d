//! What the runtime and the state file say: at the start of a role, and when something may have been missed.

use keelson_process::BoxError;

use super::super::memory::{ContainerMemory, Durable};
use super::super::observation::{Container, Sandbox};
use super::super::{spec, state_file};
use super::PodRole;
use crate::runtime::ContainerFilter;

impl PodRole {
    /// Reads everything again. What runs is left to run.
    pub(super) async fn recover(&mut self) -> Result<(), BoxError> {
        let uid = spec::uid(&self.pod).to_owned();
        let first = self.memory.durable == Durable::default();
        if first && let Some(durable) = state_file::load(&self.directory) {
            self.memory.prepared = true;
            self.saved = durable.clone();
            self.memory.durable = durable;
        }
        let runtime = &self.factory.context.runtime;
        let sandboxes = runtime.sandboxes().await?;
        let filter = ContainerFilter { pod_uid: Some(uid.clone()), ..ContainerFilter::default() };
        let containers = runtime.containers(&filter).await?;
        let own: Vec<_> = sandboxes.into_iter().filter(|sandbox| sandbox.pod.uid == uid).collect();
        self.seen.sandboxes = own.iter().map(Sandbox::from).collect();
        self.sandbox = own.into_iter().max_by_key(|sandbox| sandbox.attempt);
        self.seen.containers = containers.iter().map(Container::from).collect();
        if first && self.saved == Durable::default() {
            self.remember_from_status();
        }
        self.adopt_running();
        Ok(())
    }

    /// Without a state file the API's status is the best memory there is.
    fn remember_from_status(&mut self) {
        let status = self.pod.status.clone().unwrap_or_default();
        let all =
            status.init_container_statuses.into_iter().flatten().chain(status.container_statuses.into_iter().flatten());
        for known in all {
            let memory = ContainerMemory {
                restart_count: u32::try_from(known.restart_count).unwrap_or(0),
                ..ContainerMemory::default()
            };
            if memory != ContainerMemory::default() {
                self.memory.durable.containers.insert(known.name, memory);
            }
        }
    }

    /// An instance that this agent's memory does not know (the file was lost) is taken as it runs: its probes begin anew.
    fn adopt_running(&mut self) {
        let running: Vec<(String, String, u32)> = self
            .seen
            .containers
            .iter()
            .filter(|instance| instance.is_running())
            .map(|instance| (instance.name.clone(), instance.id.clone(), instance.attempt))
            .collect();
        for (name, id, attempt) in running {
            let known = self.memory.container(&name).is_some_and(|memory| memory.probed_id == id);
            if !known {
                self.note_running(&name, &id, attempt);
                self.memory.container_mut(&name).hook_done_id = id;
            }
        }
    }

    pub(super) async fn look_at_container(&mut self, id: &str) -> Result<(), BoxError> {
        match self.factory.context.runtime.container(id).await? {
            Some(container) => self.seen.put_container(Container::from(&container)),
            None => self.seen.remove_container(id),
        }
        Ok(())
    }

    pub(super) async fn look_at_sandbox(&mut self, id: &str) -> Result<(), BoxError> {
        match self.factory.context.runtime.sandbox(id).await? {
            Some(sandbox) => self.take_sandbox(sandbox),
            None => self.seen.remove_sandbox(id),
        }
        Ok(())
    }
}
