//! The ServiceAccount controller: every namespace has its `default` ServiceAccount.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::informer::Informer;
use keelson_client::{Client, ObjectKey};

use crate::context::Context;
use crate::workers::{Error, Reconciler};
use crate::{follow, meta};

pub const CONTROLLER: &str = "serviceaccount-controller";

/// The ServiceAccount of pods that name none.
pub const NAME: &str = "default";

/// Starts the controller with so many workers.
pub async fn start(context: &Context, workers: usize) {
    let queue = context.queue();
    let (namespaces, accounts) = (context.namespaces(), context.service_accounts());
    let controller = Arc::new(ServiceAccounts {
        client: context.client.clone(),
        namespaces: namespaces.clone(),
        accounts: accounts.clone(),
    });
    namespaces.synced().await;
    accounts.synced().await;
    context.start_workers(CONTROLLER, workers, &queue, controller);
    context.spawn_vital(CONTROLLER, follow::objects(namespaces.clone(), queue.clone()));
    context.spawn_vital(CONTROLLER, follow::namespaces_of(accounts, namespaces, queue));
}

struct ServiceAccounts {
    client: Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
}

/// Whether a namespace takes in new objects.
pub fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

impl Reconciler for ServiceAccounts {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(namespace) = self.namespaces.get_key(key).filter(|namespace| is_active(namespace)) else {
            return Ok(None);
        };
        let namespace = meta::name(&namespace.metadata);
        if self.accounts.get(namespace, NAME).is_some() {
            return Ok(None);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                ..Default::default()
            },
            ..Default::default()
        };
        match self.client.namespaced::<ServiceAccount>(namespace).create(&account).await {
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => Ok(None),
            outcome => Ok(outcome.map(|_| None)?),
        }
    }
}
