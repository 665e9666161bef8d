//! The last steps of a pod: everything of it leaves the node, then its object leaves the API.

use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use keelson_client::DeleteOptions;

use super::super::mail::{Done, Failure};
use super::super::spec;
use super::Job;
use crate::runtime::ContainerFilter;
use crate::volumes;

impl Job {
    /// Removes containers, sandboxes, logs, mounts and directories.
    pub(super) async fn clean_up(&self) -> Result<Done, Failure> {
        let runtime = &self.context.runtime;
        let uid = spec::uid(&self.pod);
        let filter = ContainerFilter { pod_uid: Some(uid.to_owned()), ..ContainerFilter::default() };
        for container in runtime.containers(&filter).await? {
            self.remove_container(&container.id).await?;
        }
        for sandbox in runtime.sandboxes().await?.into_iter().filter(|sandbox| sandbox.pod.uid == uid) {
            self.remove_sandbox(sandbox.id).await?;
        }
        let logs = runtime.pod_log_directory(&self.identity());
        let directory = self.directory.clone();
        let remove = move |()| {
            volumes::tear_down(&directory)?;
            remove_tree(&logs)?;
            remove_tree(&directory)
        };
        self.turns
            .take(|| (), remove)
            .await?
            .map_err(|error| Failure::new(format!("cannot remove the pod's directory: {error}")))?;
        self.context.tokens.forget(uid);
        Ok(Done::Nothing)
    }

    /// The API server keeps a deleted pod until its node says that it is gone.
    pub(super) async fn delete(&self) -> Result<Done, Failure> {
        let pods = self.context.client.namespaced::<Pod>(spec::namespace(&self.pod));
        let options = DeleteOptions::of_uid(spec::uid(&self.pod)).grace_period_seconds(0);
        match pods.delete(spec::name(&self.pod), &options).await {
            // Gone already, or another pod has the name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(Done::Nothing),
            Err(error) => Err(Failure::new(format!("cannot delete the pod's object: {error}"))),
            Ok(()) => Ok(Done::Nothing),
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
