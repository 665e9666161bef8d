//! One pass over a namespace's content: delete what is there, and count what is left.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::{Client, DeleteOptions, Error, ListOptions, PartialObject, Propagation};

use super::plan::{self, Pass};
use crate::dynamic::{self, ResourceType};

/// Kinds that are deleted at once.
const CONCURRENCY: usize = 8;

/// Deletes the content of a namespace, as far as it goes without waiting.
pub async fn content(client: &Client, namespace: &str) -> Pass {
    let mut pass = Pass::default();
    let types = match dynamic::discover(client).await {
        Ok(types) => types,
        Err(error) => {
            pass.discovery_failure = Some(format!("Discovery failed for some groups: {error}"));
            return pass;
        }
    };
    for round in plan::rounds(types) {
        let deletions = round.into_iter().map(|kind| async move {
            let left = delete_kind(client, namespace, &kind).await;
            (kind, left)
        });
        let mut outcomes = futures::stream::iter(deletions).buffer_unordered(CONCURRENCY);
        while let Some((kind, left)) = outcomes.next().await {
            match left {
                Ok(left) => pass.note(&kind, left.iter().map(|object| &object.metadata)),
                Err(error) => pass.content_failures.push(format!("{}: {error}", kind.qualified_name())),
            }
        }
        drop(outcomes);
        if !pass.is_done() {
            note_pods(client, namespace, &mut pass).await;
            break;
        }
    }
    pass.content_failures.sort();
    pass
}

/// Deletes all objects of a kind. The answer is what is still there.
async fn delete_kind(client: &Client, namespace: &str, kind: &ResourceType) -> Result<Vec<PartialObject>, Error> {
    let api = client.resource::<PartialObject>(&kind.to_client(), namespace);
    let options = DeleteOptions::default().propagation(Propagation::Background);
    let everything = ListOptions::default();
    if kind.supports("deletecollection") {
        match api.delete_collection(&everything, &options).await {
            Err(error) if error.is_not_found() => {}
            outcome => outcome?,
        }
        return Ok(api.list(&everything).await?.items);
    }
    for object in api.list(&everything).await?.items {
        match api.delete(object.metadata.name.as_deref().unwrap_or_default(), &options).await {
            Err(error) if error.is_not_found() => {}
            outcome => outcome?,
        }
    }
    Ok(api.list(&everything).await?.items)
}

async fn note_pods(client: &Client, namespace: &str, pass: &mut Pass) {
    // Only an estimate rests on this: without an answer the default interval serves.
    if let Ok(pods) = client.namespaced::<Pod>(namespace).list(&ListOptions::default()).await {
        pass.note_pods(&pods.items);
    }
}
