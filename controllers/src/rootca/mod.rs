//! The root CA publisher: every namespace has the cluster's CA in a ConfigMap, for pods to trust the API server by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::informer::Informer;
use keelson_client::{Client, ObjectKey, Patch};
use serde_json::json;

use crate::context::Context;
use crate::serviceaccount::is_active;
use crate::workers::{Error, Reconciler};
use crate::{follow, meta};

pub const CONTROLLER: &str = "root-ca-certificate-publisher-controller";

pub const NAME: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";

const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Starts the publisher of this CA (PEM) with so many workers.
pub async fn start(context: &Context, workers: usize, ca: String) {
    let queue = context.queue();
    let (namespaces, published) = (context.namespaces(), context.root_cas());
    let publisher = Arc::new(Publisher {
        client: context.client.clone(),
        namespaces: namespaces.clone(),
        published: published.clone(),
        ca,
    });
    namespaces.synced().await;
    published.synced().await;
    context.start_workers(CONTROLLER, workers, &queue, publisher);
    context.spawn_vital(CONTROLLER, follow::objects(namespaces.clone(), queue.clone()));
    context.spawn_vital(CONTROLLER, follow::namespaces_of(published, namespaces, queue));
}

struct Publisher {
    client: Client,
    namespaces: Informer<Namespace>,
    published: Informer<ConfigMap>,
    ca: String,
}

#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create,
    /// Somebody changed it: put the data and the description back, and leave the rest.
    Restore,
}

fn plan(present: Option<&ConfigMap>, ca: &str) -> Plan {
    let Some(present) = present else {
        return Plan::Create;
    };
    let data_is_right = present.data.as_ref() == Some(&data(ca));
    let described = meta::annotation(&present.metadata, DESCRIPTION) == Some(DESCRIPTION_TEXT);
    if data_is_right && described { Plan::Nothing } else { Plan::Restore }
}

fn data(ca: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(KEY.to_owned(), ca.to_owned())])
}

/// The merge patch that makes `present` say what it should.
fn restoration(present: &ConfigMap, ca: &str) -> serde_json::Value {
    let mut wanted = json!({ KEY: ca });
    for foreign in present.data.iter().flatten().map(|(key, _)| key).filter(|key| *key != KEY) {
        wanted[foreign] = serde_json::Value::Null;
    }
    json!({"metadata": {"annotations": {DESCRIPTION: DESCRIPTION_TEXT}}, "data": wanted})
}

impl Reconciler for Publisher {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(namespace) = self.namespaces.get_key(key).filter(|namespace| is_active(namespace)) else {
            return Ok(None);
        };
        let namespace = meta::name(&namespace.metadata);
        let present = self.published.get(namespace, NAME);
        let api = self.client.namespaced::<ConfigMap>(namespace);
        let outcome = match (plan(present.as_deref(), &self.ca), &present) {
            (Plan::Restore, Some(present)) => api.patch(NAME, &Patch::Merge(restoration(present, &self.ca))).await,
            (Plan::Create, _) => {
                let metadata = ObjectMeta {
                    name: Some(NAME.to_owned()),
                    namespace: Some(namespace.to_owned()),
                    annotations: Some(BTreeMap::from([(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned())])),
                    ..Default::default()
                };
                api.create(&ConfigMap { metadata, data: Some(data(&self.ca)), ..Default::default() }).await
            }
            _ => return Ok(None),
        };
        match outcome {
            Err(error) if error.is_namespace_terminating() => Ok(None),
            outcome => Ok(outcome.map(|_| None)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_restored() {
        let mut published = ConfigMap { data: Some(data("ca")), ..Default::default() };
        let annotations = published.metadata.annotations.get_or_insert_default();
        annotations.insert(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned());
        assert_eq!(plan(None, "ca"), Plan::Create);
        assert_eq!(plan(Some(&published), "ca"), Plan::Nothing);
        assert_eq!(plan(Some(&published), "new ca"), Plan::Restore);
        let mut changed = published.clone();
        changed.data.get_or_insert_default().insert("extra".to_owned(), String::new());
        assert_eq!(plan(Some(&changed), "ca"), Plan::Restore);
        assert_eq!(restoration(&changed, "ca")["data"], json!({"ca.crt": "ca", "extra": null}));
    }
}
