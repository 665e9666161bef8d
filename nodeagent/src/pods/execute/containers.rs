//! Containers: described from the spec, started, stopped, removed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Lifecycle, Service};

use super::super::mail::{Done, Failure};
use super::super::observation::spec_hash;
use super::super::security;
use super::super::{cgroups, dns, hooks, spec};
use super::{Job, blocking};
use crate::environment::{expansion, services, variables};
use crate::images::reference;
use crate::runtime::{self, ContainerSpec, Sandbox, TerminationMessagePolicy};
use crate::volumes::mounts;

/// Processes get at least this long to end after the stop signal, even if a hook used up the grace period.
const SHORTEST_GRACE: Duration = Duration::from_secs(2);

impl Job {
    pub(super) async fn start_container(&self, name: &str, attempt: u32) -> Result<Done, Failure> {
        let container = self.container(name)?;
        let sandbox = self.sandbox.as_ref().ok_or_else(|| Failure::new("the pod has no sandbox"))?;
        if let Some(id) = &self.leftover {
            self.remove_container(id).await?;
        }
        let permit = self.context.starts.acquire().await;
        let made = self.create(container, sandbox, attempt).await.inspect_err(|failure| {
            self.events.warning(name, "Failed", &format!("Error: {}", failure.message));
        })?;
        self.events.normal(name, "Created", "Container created");
        let started = self.context.runtime.start_container(&made.id).await;
        drop(permit);
        match started {
            Ok(started) => {
                self.events.normal(name, "Started", "Container started");
                Ok(Done::Container(started))
            }
            Err(error) => {
                let message = error.to_string();
                self.events.warning(name, "Failed", &format!("Error: {message}"));
                // The runtime keeps the failed start as an end of this instance: it counts as one.
                let ended = self.context.runtime.container(&made.id).await.ok().flatten();
                let mut failure = Failure::because("RunContainerError", message);
                failure.container = ended.map(Box::new);
                Err(failure)
            }
        }
    }

    async fn create(
        &self,
        container: &Container,
        sandbox: &Sandbox,
        attempt: u32,
    ) -> Result<runtime::Container, Failure> {
        let config_error = |message: String| Failure::because("CreateContainerConfigError", message);
        self.references.synced().await;
        let ips = self.pod_ips();
        let environment = self.environment(container, &ips).map_err(|error| config_error(error.0))?;
        let mounts = {
            let pod = self.pod.clone();
            let directory = self.directory.clone();
            let container = container.clone();
            let environment = environment.clone();
            blocking(move || mounts::resolve(&directory, &pod, &container, &environment)).await?
        };
        let mounts = mounts.map_err(|error| config_error(error.0))?;
        let spec = self.container_spec(container, attempt, environment, mounts);
        let made = self.context.runtime.create_container(sandbox, &spec).await;
        made.map_err(|error| match error {
            runtime::Error::RunAsNonRoot | runtime::Error::RunAsNonNumericUser(_) => {
                let pod = spec::long_name(&self.pod);
                config_error(format!("{error} (pod: \"{pod}\", container: {})", container.name))
            }
            error => Failure::because("CreateContainerError", error.to_string()),
        })
    }

    fn environment(
        &self,
        container: &Container,
        ips: &[IpAddr],
    ) -> Result<Vec<(String, String)>, crate::environment::ConfigError> {
        let links = spec::spec(&self.pod).enable_service_links.unwrap_or(true);
        let known = self.context.services.store();
        let all = known.values().map(|service| -> &Service { service });
        let services = services::variables(all, spec::namespace(&self.pod), links);
        variables::resolve(&self.pod, container, self.references.as_ref(), &self.surroundings(ips), services)
    }

    fn container_spec(
        &self,
        container: &Container,
        attempt: u32,
        mut environment: Vec<(String, String)>,
        mounts: Vec<runtime::Mount>,
    ) -> ContainerSpec {
        let node = &self.context.node;
        if !environment.iter().any(|(name, _)| name == "HOSTNAME") {
            let hostname = dns::hostname(&self.pod, &node.name, &node.dns.domain).0;
            environment.insert(0, ("HOSTNAME".to_owned(), hostname));
        }
        let lookup = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let expand = |words: &Option<Vec<String>>| -> Vec<String> {
            words.iter().flatten().map(|word| expansion::expand(word, lookup)).collect()
        };
        let asked = container.image.as_deref().unwrap_or_default();
        let fallback = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        ContainerSpec {
            name: container.name.clone(),
            attempt,
            image: reference::familiar(asked),
            command: expand(&container.command),
            args: expand(&container.args),
            working_dir: container.working_dir.clone().filter(|directory| !directory.is_empty()),
            mounts,
            devices: Vec::new(),
            security: security::merged(&self.pod, container),
            resources: cgroups::of_container(container),
            oom_score_adj: cgroups::oom_score_adj(&self.pod, container, node.memory_capacity),
            tty: container.tty.unwrap_or(false),
            stdin: container.stdin.unwrap_or(false),
            stdin_once: container.stdin_once.unwrap_or(false),
            termination_message_path: Some(
                container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".to_owned()),
            )
            .filter(|path| !path.is_empty()),
            termination_message_policy: if fallback {
                TerminationMessagePolicy::FallbackToLogsOnError
            } else {
                TerminationMessagePolicy::File
            },
            stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
            spec_hash: spec_hash(&container.name, asked),
            annotations: BTreeMap::new(),
            env: environment,
        }
    }

    pub(super) async fn post_start(&self, name: &str, id: &str) -> Result<Done, Failure> {
        let container = self.container(name)?;
        let hook = |lifecycle: &Lifecycle| lifecycle.post_start.clone();
        let Some(handler) = container.lifecycle.as_ref().and_then(hook) else { return Ok(Done::Nothing) };
        let ip = self.pod_ips().first().copied();
        let result = hooks::run(&self.context.runtime, &handler, container, id, ip, Duration::MAX).await;
        result.map(|()| Done::Nothing).map_err(|reason| {
            tracing::warn!(container = name, id, reason, "postStart hook failed");
            self.events.warning(name, "FailedPostStartHook", "PostStartHook failed");
            Failure::because("PostStartHookError", format!("PostStartHook failed: {reason}"))
        })
    }

    /// preStop, the stop signal, and the kill at the deadline.
    pub(super) async fn stop_container(
        &self,
        name: &str,
        id: &str,
        deadline: Timestamp,
        message: &str,
    ) -> Result<Done, Failure> {
        let left = || Duration::try_from(deadline.duration_since(Timestamp::now())).unwrap_or_default();
        let container = self.container(name)?;
        if !self.hook_tried {
            self.events.normal(name, "Killing", message);
        }
        let mut grace = left();
        let hook = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone());
        if let Some(handler) = hook.filter(|_| !self.hook_tried && !grace.is_zero()) {
            let ip = self.pod_ips().first().copied();
            let run = hooks::run(&self.context.runtime, &handler, container, id, ip, grace);
            match tokio::time::timeout(grace, run).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    tracing::warn!(container = name, id, reason, "preStop hook failed");
                    self.events.warning(name, "FailedPreStopHook", "PreStopHook failed");
                }
                Err(_) => tracing::warn!(container = name, id, "preStop hook did not end within the grace period"),
            }
            grace = left().max(SHORTEST_GRACE);
        }
        match self.context.runtime.stop_container(id, grace).await {
            Ok(container) => Ok(Done::Container(container)),
            Err(error) if error.is_not_found() => Ok(Done::NoContainer(id.to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<Done, Failure> {
        match self.context.runtime.remove_container(id).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(Done::NoContainer(id.to_owned())),
        }
    }
}
