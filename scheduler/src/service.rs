//! The actor: takes changes from the caches, decides for the pods whose turn it is, hands the outcomes over.
//!
//! Mail names what has changed; what it has become is read from the caches. So mail can be lost with a role that
//! failed: the next one starts from the caches.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node};
use keelson_client::ObjectKey;
use keelson_client::informer::Informer;
use keelson_process::BoxError;
use keelson_process::supervision::Role;
use rand::Rng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::cluster::{ClusterState, NodeChange, Pod, PodInfo};
use crate::decide::{Unfit, decide};
use crate::filters::{self, Plugin};
use crate::metrics::Counts;
use crate::outcome::{self, Outcomes};
use crate::preempt::preempt;
use crate::queue::Queue;

/// Decisions in one go, before other mail gets its turn.
const BATCH: usize = 64;
/// How often pods that nothing helps are looked at.
pub(crate) const FLUSH: Duration = Duration::from_secs(30);

pub(crate) enum Mail {
    Pods(Vec<ObjectKey>),
    Nodes(Vec<ObjectKey>),
    Namespaces(Vec<ObjectKey>),
    /// A binding failed.
    Unbound {
        pod: Arc<PodInfo>,
        attempts: u32,
    },
    /// There may be pods to decide for.
    Continue,
    /// Changes were dropped: everything is to be read again.
    Reload,
    Flush,
}

/// The caches that the scheduler reads.
#[derive(Clone)]
pub(crate) struct Caches {
    pub pods: Informer<Pod>,
    pub nodes: Informer<Node>,
    pub namespaces: Informer<Namespace>,
}

/// How the role asks for its next turn: at once, or at a time.
#[derive(Clone)]
pub(crate) struct Turns {
    pub now: Arc<Notify>,
    pub at: watch::Sender<Option<Instant>>,
    pub unbound: mpsc::UnboundedSender<(Arc<PodInfo>, u32)>,
}

pub(crate) struct Scheduler {
    caches: Caches,
    outcomes: Outcomes,
    counts: Counts,
    turns: Turns,
    scheduler_name: Arc<str>,
    cluster: ClusterState,
    queue: Queue,
    start: usize,
}

/// What changed that may help pods which fit nowhere.
#[derive(Default)]
struct Changes {
    nodes: BTreeSet<String>,
    /// A pod or a label somewhere: for plugins that look at the whole cluster.
    elsewhere: bool,
}

impl Scheduler {
    pub(crate) fn new(
        caches: Caches,
        outcomes: Outcomes,
        counts: Counts,
        turns: Turns,
        scheduler_name: Arc<str>,
    ) -> Scheduler {
        Scheduler {
            caches,
            outcomes,
            counts,
            turns,
            scheduler_name,
            cluster: ClusterState::default(),
            queue: Queue::default(),
            start: 0,
        }
    }

    /// Starts from what the caches hold.
    fn load(&mut self) {
        self.cluster = ClusterState::default();
        self.queue = Queue::default();
        let mut changes = Changes::default();
        for (key, _) in self.caches.namespaces.store().iter() {
            self.take_namespace(key, &mut changes);
        }
        for (key, _) in self.caches.nodes.store().iter() {
            self.take_node(key, &mut changes);
        }
        for (key, _) in self.caches.pods.store().iter() {
            self.take_pod(key, &mut changes);
        }
        self.work();
    }

    fn take_node(&mut self, key: &ObjectKey, changes: &mut Changes) {
        match self.caches.nodes.get_key(key) {
            Some(node) => {
                if self.cluster.set_node(node) == NodeChange::Relevant {
                    changes.nodes.insert(key.name.to_string());
                    changes.elsewhere = true;
                }
            }
            None => {
                self.cluster.remove_node(&key.name);
                changes.elsewhere = true;
            }
        }
    }

    fn take_namespace(&mut self, key: &ObjectKey, changes: &mut Changes) {
        let namespace = self.caches.namespaces.get_key(key);
        let labels = namespace.map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
        if self.cluster.namespace_labels(&key.name) != labels.as_ref() {
            self.cluster.set_namespace(&key.name, labels);
            changes.elsewhere = true;
        }
    }

    fn take_pod(&mut self, key: &ObjectKey, changes: &mut Changes) {
        let pod = self.caches.pods.get_key(key).filter(|pod| !pod.is_finished());
        let Some(pod) = pod.map(|pod| Arc::new(PodInfo::new(pod))) else {
            self.queue.remove(key);
            if let Some(node) = self.cluster.remove_pod(key) {
                changes.nodes.insert(node);
                changes.elsewhere = true;
            }
            return;
        };
        if let Some(node) = self.cluster.remove_predecessor(key, pod.uid()) {
            changes.nodes.insert(node);
            changes.elsewhere = true;
        }
        if pod.node_name().is_some() {
            self.queue.remove(key);
            changes.elsewhere = true;
            changes.nodes.extend(self.cluster.set_pod(pod));
        } else if self.is_mine(&pod) && !self.cluster.is_assumed(key, pod.uid()) {
            self.queue.set(pod);
        } else if pod.is_terminating() {
            self.queue.remove(key);
            self.cluster.end_nomination(key);
        }
    }

    fn is_mine(&self, pod: &PodInfo) -> bool {
        let name = pod.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        name == &*self.scheduler_name && !pod.is_terminating()
    }

    /// Wakes the pods that a change may help: those that now fit on a node that changed, and those that were rejected
    /// for what lies elsewhere.
    fn release(&mut self, changes: &Changes) {
        if changes.nodes.is_empty() && !changes.elsewhere {
            return;
        }
        let cluster = &self.cluster;
        let nodes: Vec<_> = changes.nodes.iter().filter_map(|name| cluster.node(name)).collect();
        self.queue.release(Instant::now(), |pod, failed| {
            (changes.elsewhere && failed.iter().any(|plugin: &Plugin| filters::looks_elsewhere(*plugin)))
                || nodes.iter().any(|node| may_help(cluster, pod, node))
        });
    }

    /// Decides for the pods whose turn it is, a batch of them.
    fn work(&mut self) {
        for _ in 0..BATCH {
            let Some((pod, attempts)) = self.queue.pop(Instant::now()) else { break };
            self.try_pod(pod, attempts);
        }
        let depth = self.queue.depth();
        self.counts.depth(depth);
        if depth.active > 0 {
            self.turns.now.notify_one();
        }
        let next = self.queue.next_due();
        self.turns.at.send_if_modified(|at| std::mem::replace(at, next) != next);
    }

    fn try_pod(&mut self, pod: Arc<PodInfo>, attempts: u32) {
        let span = outcome::span(&pod);
        let started = Instant::now();
        let decision =
            span.in_scope(|| decide(&self.cluster, &pod, self.start, |equals| rand::rng().random_range(0..equals)));
        self.start = self.start.wrapping_add(1);
        self.counts.deciding.observe(started.elapsed().as_secs_f64());
        match decision {
            Ok(node) => {
                self.counts.attempt("scheduled");
                span.record("node", node.as_str());
                self.queue.remove(&pod.key);
                self.cluster.assume(pod.clone(), &node);
                let unbound = self.turns.unbound.clone();
                let bound = pod.clone();
                self.outcomes.bind(pod, node, span, move |result| async move {
                    if let Err(error) = result {
                        tracing::warn!(pod = %bound.key, %error, "cannot bind");
                        // A closed channel means that the process ends.
                        let _ = unbound.send((bound, attempts));
                    }
                });
            }
            Err(unfit) => {
                self.counts.attempt("unschedulable");
                self.leave(pod, unfit);
            }
        }
    }

    /// The pod fits nowhere: it waits, and perhaps room is made for it.
    fn leave(&mut self, pod: Arc<PodInfo>, unfit: Unfit) {
        self.queue.unschedulable(&pod.key, unfit.plugins(), Instant::now());
        let message = unfit.message();
        if unfit.nodes == 0 {
            return self.outcomes.unschedulable(pod, message, None);
        }
        match preempt(&self.cluster, &pod, &unfit) {
            Ok(candidate) => {
                tracing::info!(pod = %pod.key, node = candidate.node, victims = candidate.victims.len(), "preempting");
                self.cluster.nominate(pod.clone(), &candidate.node);
                self.outcomes.unschedulable(pod.clone(), message, Some(candidate.node.clone()));
                self.outcomes.evict(pod, candidate);
            }
            Err(why) => {
                let message = format!("{message} no new claims to deallocate, preemption: {why}");
                self.outcomes.unschedulable(pod, message, None);
            }
        }
    }

    /// A binding did not come about: what was assumed is free again.
    fn unbound(&mut self, pod: Arc<PodInfo>, attempts: u32) {
        self.counts.attempt("error");
        let mut changes = Changes::default();
        changes.nodes.extend(self.cluster.forget(&pod.key, pod.uid()));
        changes.elsewhere = true;
        let present = self.caches.pods.get_key(&pod.key);
        let present = present.filter(|present| !present.is_finished()).map(|present| Arc::new(PodInfo::new(present)));
        if let Some(present) = present.filter(|present| present.node_name().is_none() && self.is_mine(present)) {
            self.queue.failed(present, attempts, Instant::now());
        }
        self.release(&changes);
    }
}

fn may_help(cluster: &ClusterState, pod: &PodInfo, node: &crate::cluster::NodeInfo) -> bool {
    match cluster.with_nominated(node, pod) {
        Some(crowded) => filters::local(pod, &crowded).is_ok(),
        None => filters::local(pod, node).is_ok(),
    }
}

impl Role for Scheduler {
    type Mail = Mail;

    async fn started(&mut self) -> Result<(), BoxError> {
        self.load();
        Ok(())
    }

    async fn handle(&mut self, mail: Mail) -> Result<(), BoxError> {
        let mut changes = Changes::default();
        match mail {
            Mail::Pods(keys) => keys.iter().for_each(|key| self.take_pod(key, &mut changes)),
            Mail::Nodes(keys) => keys.iter().for_each(|key| self.take_node(key, &mut changes)),
            Mail::Namespaces(keys) => keys.iter().for_each(|key| self.take_namespace(key, &mut changes)),
            Mail::Unbound { pod, attempts } => self.unbound(pod, attempts),
            Mail::Continue => {}
            Mail::Reload => self.load(),
            Mail::Flush => self.queue.flush(Instant::now()),
        }
        self.release(&changes);
        self.work();
        Ok(())
    }
}
