//! Probes of the running instances: begun when their turn comes, heeded when they report.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};

use super::super::mail::Mail;
use super::super::memory::Verdict;
use super::super::plan;
use super::super::spec::{self, Role};
use super::PodRole;
use crate::probes::worker::{self, Assignment, Target};
use crate::probes::{Kind, Report};

impl PodRole {
    /// Every running instance is probed as its spec says: the startup probe first, then the others.
    pub(super) fn sync_probes(&mut self) {
        if plan::is_ending(&self.pod, &self.memory) {
            self.probes.clear();
            return;
        }
        let pod = self.pod.clone();
        for (container, role) in spec::all_containers(&pod) {
            self.sync_container_probes(container, role);
        }
    }

    fn sync_container_probes(&mut self, container: &Container, role: Role) {
        let name = &container.name;
        let running = self
            .seen
            .current(name)
            .filter(|instance| instance.is_running())
            .and_then(|instance| Some((instance.id.clone(), instance.started_at()?)));
        let Some((id, started_at)) = running else {
            self.probes.retain(|(known, _), _| known != name);
            return;
        };
        self.probes.retain(|(known, _), (instance, _)| known != name || *instance == id);
        let stopping = self.memory.stopping.contains_key(name) || self.memory.condemned(name, &id).is_some();
        let memory = self.memory.container_mut(name);
        if stopping || memory.probed_id != id || memory.hook_done_id != id {
            return;
        }
        let probed = role != Role::Init;
        let startup_asks = probed && container.startup_probe.is_some();
        memory.started |= !startup_asks;
        if memory.started && !memory.ready && !(probed && container.readiness_probe.is_some()) {
            memory.ready = true;
        }
        if !probed {
            return;
        }
        let started = memory.started;
        let wanted: [(Kind, Option<&Probe>); 3] = [
            (Kind::Startup, container.startup_probe.as_ref().filter(|_| !started)),
            (Kind::Liveness, container.liveness_probe.as_ref().filter(|_| started)),
            (Kind::Readiness, container.readiness_probe.as_ref().filter(|_| started)),
        ];
        for (kind, probe) in wanted {
            let key = (name.clone(), kind);
            match probe {
                None => {
                    self.probes.remove(&key);
                }
                Some(_) if self.probes.contains_key(&key) => {}
                Some(probe) => {
                    let worker = self.start_probe(kind, probe.clone(), container, &id, started_at);
                    self.probes.insert(key, (id.clone(), worker));
                }
            }
        }
    }

    fn start_probe(
        &self,
        kind: Kind,
        probe: Probe,
        container: &Container,
        id: &str,
        started_at: Timestamp,
    ) -> worker::Worker {
        let ip = if spec::is_host_network(&self.pod) {
            self.context().node.ips.first().copied()
        } else {
            self.sandbox.as_ref().and_then(|sandbox| sandbox.ips.first().copied())
        };
        let target = Target {
            runtime: self.context().runtime.clone(),
            container_id: id.to_owned(),
            pod_ip: ip,
            container: container.clone(),
            pod: format!("{}/{}", spec::namespace(&self.pod), spec::name(&self.pod)),
        };
        let assignment = Assignment { kind, probe, target, started_at, events: self.events.clone() };
        let link = self.factory.link.clone();
        let report = move |report| {
            let link = link.clone();
            async move { link.send(Mail::Probe(report)).await }
        };
        worker::start(&self.context().tasks, assignment, report)
    }

    pub(super) fn heed_probe(&mut self, report: Report) {
        let Report { container: name, container_id, kind, success } = report;
        let current = self.memory.container(&name).is_some_and(|memory| memory.probed_id == container_id);
        if !current {
            return;
        }
        match kind {
            Kind::Readiness => self.memory.container_mut(&name).ready = success,
            Kind::Startup if success => self.memory.container_mut(&name).started = true,
            Kind::Liveness if success => {}
            Kind::Startup | Kind::Liveness => self.condemn(&name, container_id, kind),
        }
    }

    fn condemn(&mut self, name: &str, container_id: String, kind: Kind) {
        let Some((container, _)) = spec::find_container(&self.pod, name) else { return };
        let (probe, word) = match kind {
            Kind::Startup => (&container.startup_probe, "startup"),
            _ => (&container.liveness_probe, "liveness"),
        };
        let verdict = Verdict {
            container_id,
            message: format!("Container {name} failed {word} probe, will be restarted"),
            grace: probe.as_ref().and_then(|probe| probe.termination_grace_period_seconds),
        };
        self.memory.condemned.insert(name.to_owned(), verdict);
    }
}
