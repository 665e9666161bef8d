//! Hands each pod's news to its actor: makes actors for new pods, lets go of those that are done.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use keelson_client::informer::{Event, Informer};
use keelson_process::BoxError;
use keelson_process::supervision::{Escalation, Spec, supervise};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::actor::Factory;
use super::execute::Turns;
use super::link::Link;
use super::mail::Mail;
use super::{spec, state_file};
use crate::context::Context;
use crate::runtime;

/// Mails that wait for a pod at most; the dispatcher waits when one is that far behind.
const MAILBOX: usize = 256;
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What the agent knows to be on this node, found by name; for the streaming door.
#[derive(Clone, Default)]
pub struct Directory {
    pods: Arc<Mutex<HashMap<String, Newest>>>,
}

/// The newest version of a pod, shared with its actor's factory.
type Newest = Arc<Mutex<Arc<Pod>>>;

impl Directory {
    /// The pod of a name on this node.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.lock();
        let newest = pods.values().map(|newest| newest.lock().clone());
        newest.into_iter().find(|pod| spec::namespace(pod) == namespace && spec::name(pod) == name)
    }
}

struct Entry {
    link: Link,
    newest: Newest,
}

/// Runs until the process stops, or until the watch or the runtime's events end.
pub async fn run(context: Context, pods: Informer<Pod>, directory: Directory) -> Result<(), BoxError> {
    let mut runtime_events = context.runtime.events();
    let (finished, mut done) = mpsc::unbounded_channel();
    let mut dispatcher = Dispatcher { context: context.clone(), entries: HashMap::new(), directory, finished };
    if !pods.synced().await {
        return Ok(());
    }
    let mut changes = pods.subscribe();
    dispatcher.take_up(&pods).await?;
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => dispatcher.pod_changed(change).await,
                None => return Ok(()),
            },
            event = runtime_events.recv() => match event {
                Some(event) => dispatcher.runtime_changed(event).await,
                None => return Err("the container runtime's events ended".into()),
            },
            Some(uid) = done.recv() => dispatcher.let_go(&uid),
            () = context.process.shutdown.begun() => return Ok(()),
        }
    }
}

struct Dispatcher {
    context: Context,
    entries: HashMap<String, Entry>,
    directory: Directory,
    finished: mpsc::UnboundedSender<String>,
}

impl Dispatcher {
    /// What was on the node when the agent began: pods of the API that were started before, and pods that went away
    /// while the agent was dead.
    async fn take_up(&mut self, pods: &Informer<Pod>) -> Result<(), BoxError> {
        let store = pods.store();
        let wanted: HashMap<&str, &Arc<Pod>> = store.values().map(|pod| (spec::uid(pod), pod)).collect();
        let saved = state_file::known_pods(&self.context.node.root_dir)?;
        let sandboxes = self.context.runtime.sandboxes().await?;
        let mut known: Vec<String> = saved.iter().map(|pod| spec::uid(pod).to_owned()).collect();
        known.extend(sandboxes.iter().map(|sandbox| sandbox.pod.uid.clone()));
        for uid in &known {
            if let Some(pod) = wanted.get(uid.as_str()) {
                self.admit((*pod).clone(), true, false);
            }
        }
        for pod in saved.into_iter().filter(|pod| !wanted.contains_key(spec::uid(pod))) {
            tracing::info!(pod = spec::long_name(&pod), "was deleted while the agent was away");
            self.admit(Arc::new(pod), true, true);
        }
        for sandbox in sandboxes {
            if !wanted.contains_key(sandbox.pod.uid.as_str()) && !self.entries.contains_key(&sandbox.pod.uid) {
                tracing::info!(sandbox = sandbox.id, "belongs to no pod, removing");
                self.context.runtime.remove_sandbox(&sandbox.id).await?;
            }
        }
        Ok(())
    }

    async fn pod_changed(&mut self, change: Event<Pod>) {
        match change {
            Event::Applied { old, new } => {
                if let Some(old) = old.filter(|old| spec::uid(old) != spec::uid(&new)) {
                    self.send(spec::uid(&old), Mail::Gone).await;
                }
                self.apply(new).await;
            }
            Event::Deleted(pod) => {
                // The last version tells how much grace the deletion left.
                if let Some(entry) = self.entries.get(spec::uid(&pod)) {
                    *entry.newest.lock() = pod.clone();
                }
                let uid = spec::uid(&pod).to_owned();
                self.send(&uid, Mail::Pod(pod)).await;
                self.send(&uid, Mail::Gone).await;
            }
            Event::Resync => {}
        }
    }

    async fn apply(&mut self, pod: Arc<Pod>) {
        match self.entries.get(spec::uid(&pod)) {
            Some(entry) => {
                *entry.newest.lock() = pod.clone();
                let link = entry.link.clone();
                link.send(Mail::Pod(pod)).await;
            }
            None => self.admit(pod, false, false),
        }
    }

    fn admit(&mut self, pod: Arc<Pod>, known: bool, gone: bool) {
        let uid = spec::uid(&pod).to_owned();
        if self.entries.contains_key(&uid) {
            return;
        }
        let link = Link::default();
        let newest = Arc::new(Mutex::new(pod.clone()));
        let factory = Factory {
            context: self.context.clone(),
            link: link.clone(),
            newest: newest.clone(),
            known: Arc::new(AtomicBool::new(known)),
            turns: Turns::default(),
            gone,
            finished: self.finished.clone(),
        };
        let terms = Spec::new(format!("pod {}/{}", spec::namespace(&pod), spec::name(&pod)))
            .mailbox_capacity(MAILBOX)
            .stuck_after(STUCK_AFTER)
            .escalation(Escalation::StopRole);
        link.connect(supervise(&self.context.process, terms, move || factory.make()));
        self.directory.pods.lock().insert(uid.clone(), newest.clone());
        self.entries.insert(uid, Entry { link, newest });
    }

    async fn runtime_changed(&self, event: runtime::Event) {
        match event {
            runtime::Event::ContainerStarted { .. } => {}
            runtime::Event::ContainerExited { pod_uid, container_id } => {
                self.send(&pod_uid, Mail::ContainerChanged(container_id)).await;
            }
            runtime::Event::SandboxExited { pod_uid, sandbox_id } => {
                self.send(&pod_uid, Mail::SandboxChanged(sandbox_id)).await;
            }
            runtime::Event::Resync => {
                for entry in self.entries.values() {
                    entry.link.send(Mail::Resync).await;
                }
            }
        }
    }

    async fn send(&self, uid: &str, mail: Mail) {
        if let Some(entry) = self.entries.get(uid) {
            entry.link.send(mail).await;
        }
    }

    fn let_go(&mut self, uid: &str) {
        self.directory.pods.lock().remove(uid);
        if let Some(entry) = self.entries.remove(uid) {
            entry.link.cut();
        }
    }
}
