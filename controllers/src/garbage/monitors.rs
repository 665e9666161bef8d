//! One metadata watch for each kind that is served, feeding the graph.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_client::Client;
use keelson_client::informer::{Event, Informer, InformerOptions};
use keelson_process::{Process, Shutdown};

use super::CONTROLLER;
use super::collect::Collector;
use super::identity::{Observed, Record};
use crate::context::Context;
use crate::dynamic::{self, ResourceType};
use crate::workers;

/// How often the served kinds are read anew: a kind that is defined now is followed by then.
const REDISCOVERY: Duration = Duration::from_secs(30);

/// While discovery fails at the start, it is tried this often.
const RETRY: Duration = Duration::from_secs(1);

/// Kinds that come and go in masses and own nothing.
const IGNORED: [&str; 2] = ["events", "events.events.k8s.io"];

pub struct Monitors {
    client: Client,
    process: Process,
    shutdown: Shutdown,
    collector: Arc<Collector>,
    followed: BTreeMap<Arc<ResourceType>, (Informer<Record>, Shutdown)>,
}

impl Monitors {
    pub fn new(context: &Context, collector: Arc<Collector>) -> Self {
        Self {
            client: context.client.clone(),
            process: context.process.clone(),
            shutdown: context.shutdown.clone(),
            collector,
            followed: BTreeMap::new(),
        }
    }

    /// Follows every kind that is served, and waits until the graph holds all of them.
    pub async fn follow_served_kinds(&mut self) {
        loop {
            match dynamic::discover(&self.client).await {
                Ok(types) => {
                    self.adjust(types).await;
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot discover the served kinds, trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.shutdown.begun() => return,
            }
        }
    }

    /// Keeps the followed kinds those that are served.
    pub async fn keep_up(mut self) {
        loop {
            tokio::time::sleep(REDISCOVERY).await;
            match dynamic::discover(&self.client).await {
                Ok(types) => self.adjust(types).await,
                Err(error) => tracing::warn!(%error, "cannot discover the served kinds, keeping those known"),
            }
        }
    }

    async fn adjust(&mut self, types: Vec<ResourceType>) {
        let served: BTreeSet<Arc<ResourceType>> = types.into_iter().filter(is_followed).map(Arc::new).collect();
        self.collector.set_served(&served);
        let (followed, collector) = (&mut self.followed, &self.collector);
        followed.retain(|kind, (_, shutdown)| {
            let stays = served.contains(kind);
            if !stays {
                shutdown.begin();
                collector.forget_kind(kind);
            }
            stays
        });
        for kind in served {
            if !self.followed.contains_key(&kind) {
                self.follow(kind);
            }
        }
        for (kind, (informer, _)) in &self.followed {
            if !informer.has_synced() {
                informer.synced().await;
                // The subscription shows the complete state in its own time; the graph must have it now.
                self.collector.observe_all(kind, informer);
            }
        }
    }

    fn follow(&mut self, kind: Arc<ResourceType>) {
        let shutdown = self.shutdown.child();
        let api = self.client.resource(&kind.to_client(), "");
        let informer = Informer::<Record>::start_on(api, InformerOptions::default(), &shutdown);
        let pump = pump(informer.clone(), kind.clone(), self.collector.clone());
        workers::spawn_vital(&self.process, &shutdown, CONTROLLER, pump);
        self.followed.insert(kind, (informer, shutdown));
    }
}

fn is_followed(kind: &ResourceType) -> bool {
    let needed = ["list", "watch", "delete"];
    needed.iter().all(|verb| kind.supports(verb)) && !IGNORED.contains(&kind.qualified_name().as_str())
}

async fn pump(informer: Informer<Record>, kind: Arc<ResourceType>, collector: Arc<Collector>) {
    let mut changes = informer.subscribe();
    while let Some(events) = changes.batch().await {
        for event in events {
            match event {
                Event::Applied { new, .. } => collector.observe(Observed { kind: kind.clone(), record: new }),
                Event::Deleted(object) => collector.forget(&object.uid),
                Event::Resync => collector.observe_all(&kind, &informer),
            }
        }
    }
}
