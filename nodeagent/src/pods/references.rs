//! The ConfigMaps and Secrets that pods of this node read: each is watched once, for as long as a pod needs it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use keelson_client::informer::{Informer, InformerOptions};
use keelson_client::{Client, Object, ObjectKey};
use keelson_process::Shutdown;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::link::Link;
use super::mail::Mail;
use super::spec;
use crate::environment::variables::Sources;

/// The watches of the whole node. Cheap to clone.
#[derive(Clone)]
pub struct References {
    client: Client,
    shutdown: Shutdown,
    config_maps: Watches<ConfigMap>,
    secrets: Watches<Secret>,
}

type Watches<K> = Arc<Mutex<HashMap<ObjectKey, Weak<Informer<K>>>>>;

/// What one pod reads; its watches end with the last pod that needs them.
pub struct PodReferences {
    namespace: String,
    config_maps: BTreeMap<String, Arc<Informer<ConfigMap>>>,
    secrets: BTreeMap<String, Arc<Informer<Secret>>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Drop for PodReferences {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

impl References {
    pub fn new(client: Client, shutdown: Shutdown) -> References {
        References { client, shutdown, config_maps: Arc::default(), secrets: Arc::default() }
    }

    /// Watches what `pod` names; `link` is told of changes.
    pub fn watch(&self, pod: &Pod, link: &Link) -> PodReferences {
        let named = Named::by(pod);
        let namespace = spec::namespace(pod).to_owned();
        let mut listeners = Vec::new();
        let mut config_maps = BTreeMap::new();
        for name in named.config_maps {
            let informer = self.informer(&self.config_maps, &namespace, &name);
            listeners.push(listen(&informer, link));
            config_maps.insert(name, informer);
        }
        let mut secrets = BTreeMap::new();
        for name in named.secrets {
            let informer = self.informer(&self.secrets, &namespace, &name);
            listeners.push(listen(&informer, link));
            secrets.insert(name, informer);
        }
        PodReferences { namespace, config_maps, secrets, listeners }
    }

    fn informer<K: Object>(&self, watches: &Watches<K>, namespace: &str, name: &str) -> Arc<Informer<K>> {
        let mut watches = watches.lock();
        watches.retain(|_, informer| informer.strong_count() > 0);
        let key = ObjectKey::new(namespace, name);
        if let Some(informer) = watches.get(&key).and_then(Weak::upgrade) {
            return informer;
        }
        let options = InformerOptions::default().namespace(namespace).fields(format!("metadata.name={name}"));
        let informer = Arc::new(Informer::start(&self.client, options, &self.shutdown));
        watches.insert(key, Arc::downgrade(&informer));
        informer
    }
}

/// Tells the pod's actor of each change after the first full state.
fn listen<K: Object>(informer: &Arc<Informer<K>>, link: &Link) -> JoinHandle<()> {
    let informer = informer.clone();
    let link = link.clone();
    tokio::spawn(async move {
        if !informer.synced().await {
            return;
        }
        let mut changes = informer.subscribe();
        changes.take_ready();
        while changes.batch().await.is_some() {
            link.send(Mail::SourcesChanged).await;
        }
    })
}

impl PodReferences {
    /// Resolves when every watch has shown its object, or that there is none.
    pub async fn synced(&self) {
        for informer in self.config_maps.values() {
            informer.synced().await;
        }
        for informer in self.secrets.values() {
            informer.synced().await;
        }
    }

    /// The pull secrets that exist.
    pub fn pull_secrets(&self, pod: &Pod) -> Vec<Arc<Secret>> {
        let names = spec::spec(pod).image_pull_secrets.iter().flatten();
        names.filter_map(|reference| self.secret(&reference.name)).collect()
    }
}

impl Sources for PodReferences {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(name)?.get(&self.namespace, name)
    }

    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(name)?.get(&self.namespace, name)
    }
}

/// The names that a pod's spec mentions.
#[derive(Debug, Default, PartialEq)]
struct Named {
    config_maps: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Named {
    fn by(pod: &Pod) -> Named {
        let mut named = Named::default();
        for (container, _) in spec::all_containers(pod) {
            for source in container.env_from.iter().flatten() {
                named.config_maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
                named.secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
            }
            for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
                named.config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
                named.secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
            }
        }
        for volume in spec::spec(pod).volumes.iter().flatten() {
            named.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
            named.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
            for source in volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten()) {
                named.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
                named.secrets.extend(source.secret.iter().map(|source| source.name.clone()));
            }
        }
        let pull_secrets = spec::spec(pod).image_pull_secrets.iter().flatten();
        named.secrets.extend(pull_secrets.map(|reference| reference.name.clone()));
        named.config_maps.remove("");
        named.secrets.remove("");
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mention_counts() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "imagePullSecrets": [{"name": "s-pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "c-from"}}, {"secretRef": {"name": "s-from"}}]}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c-env", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s-env", "key": "k"}}}]}],
            "volumes": [
                {"name": "1", "configMap": {"name": "c-vol"}}, {"name": "2", "secret": {"secretName": "s-vol"}},
                {"name": "3", "projected": {"sources": [{"configMap": {"name": "c-proj"}}, {"secret": {"name": "s-proj"}}]}}]
        }}))
        .expect("a pod");
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let want = Named {
            config_maps: names(&["c-from", "c-env", "c-vol", "c-proj"]),
            secrets: names(&["s-pull", "s-from", "s-env", "s-vol", "s-proj"]),
        };
        assert_eq!(Named::by(&pod), want);
    }
}
