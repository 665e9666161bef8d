//! Carries out what the planner decided. Every operation is idempotent: it can be given up half way and begun again.

mod containers;
mod ending;
mod sandbox;
mod turns;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use keelson_client::trace;
use tracing::{Instrument as _, Span};

use super::events::PodEvents;
use super::mail::{Done, Failure};
use super::plan::Action;
use super::references::PodReferences;
use super::{spec, state_file};
use crate::context::Context;
use crate::images::ensure;
use crate::runtime;

pub use turns::Turns;

/// One operation with all that it works on, taken at the moment when it begins.
#[derive(Clone)]
pub struct Job {
    pub context: Context,
    pub pod: Arc<Pod>,
    pub directory: PathBuf,
    pub events: PodEvents,
    pub references: Arc<PodReferences>,
    /// Of those who write to the pod's directory.
    pub turns: Turns,
    /// The newest sandbox.
    pub sandbox: Option<runtime::Sandbox>,
    /// The instance that a start replaces if it never ran.
    pub leftover: Option<String>,
    /// A stop that hurries an earlier one along: its preStop hook has had its chance.
    pub hook_tried: bool,
}

impl Job {
    pub async fn run(self, action: Action) -> Result<Done, Failure> {
        let span = self.span(&action);
        async move {
            match action {
                Action::Prepare => self.prepare().await,
                Action::MountVolumes => self.mount_volumes().await,
                Action::CreateSandbox { attempt } => self.create_sandbox(attempt).await,
                Action::StopSandbox { id } => self.stop_sandbox(id).await,
                Action::RemoveSandbox { id } => self.remove_sandbox(id).await,
                Action::EnsureImage { container } => self.ensure_image(&container).await,
                Action::StartContainer { container, attempt, .. } => self.start_container(&container, attempt).await,
                Action::PostStart { container, id } => self.post_start(&container, &id).await,
                Action::StopContainer { container, id, deadline, message } => {
                    self.stop_container(&container, &id, deadline, &message).await
                }
                Action::RemoveContainer { id } => self.remove_container(&id).await,
                Action::CleanUp => self.clean_up().await,
                Action::Delete => self.delete().await,
            }
        }
        .instrument(span)
        .await
    }

    /// The steps that a person waits for are part of the pod's trace.
    fn span(&self, action: &Action) -> Span {
        let meta = &self.pod.metadata;
        let pod = format!("{}/{}", spec::namespace(&self.pod), spec::name(&self.pod));
        match action {
            Action::MountVolumes => trace::continued(meta, || keelson_process::traced!("mount volumes", pod = pod)),
            Action::CreateSandbox { .. } => {
                trace::continued(meta, || keelson_process::traced!("create sandbox", pod = pod))
            }
            Action::EnsureImage { container } => {
                trace::continued(meta, || keelson_process::traced!("ensure image", pod = pod, container = container))
            }
            Action::StartContainer { container, .. } => {
                trace::continued(meta, || keelson_process::traced!("start container", pod = pod, container = container))
            }
            _ => Span::none(),
        }
    }

    fn container(&self, name: &str) -> Result<&Container, Failure> {
        let found = spec::find_container(&self.pod, name).map(|(container, _)| container);
        found.ok_or_else(|| Failure::new(format!("the pod has no container {name:?}")))
    }

    async fn prepare(&self) -> Result<Done, Failure> {
        let directory = self.directory.clone();
        let pod = self.pod.clone();
        blocking(move || state_file::prepare(&directory, &pod))
            .await?
            .map_err(|error| Failure::new(format!("cannot make the pod's directories: {error}")))?;
        Ok(Done::Nothing)
    }

    async fn ensure_image(&self, name: &str) -> Result<Done, Failure> {
        let container = self.container(name)?;
        let named = spec::spec(&self.pod).image_pull_secrets.as_ref().is_some_and(|secrets| !secrets.is_empty());
        if named {
            self.references.synced().await;
        }
        let secrets = self.references.pull_secrets(&self.pod);
        match ensure::ensure(&self.context.runtime, &self.events, container, &secrets).await {
            Ok(image) => Ok(Done::Image(image.image_id)),
            Err(failure) => Err(Failure {
                message: failure.reason.message.clone(),
                reason: Some(failure.reason),
                retry: failure.retry,
                container: None,
            }),
        }
    }
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(format!("the work was broken off: {error}")))
}
