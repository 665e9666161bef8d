//! The pod's status, brought to the API server whenever it changes and nothing is on its way there already.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::Patch;

use super::super::mail::{Done, Failure, Mail};
use super::super::memory::{ImageState, Operation, Reason};
use super::super::status::{self, Inputs};
use super::super::{spec, status_patch};
use super::{PodRole, Task};

/// How long a failed pull shows its error before it shows that it waits.
const ERROR_SHOWN: Duration = Duration::from_secs(3);

impl PodRole {
    pub(super) fn is_reported(&self) -> bool {
        !self.memory.is_running(&Operation::ReportStatus) && self.wanted == self.reported
    }

    /// Computes the status anew and sends it on its way. What changes meanwhile goes with the next patch.
    pub(super) fn report(&mut self, now: Timestamp) {
        let status = status::compute(Inputs {
            pod: &self.pod,
            seen: &self.seen,
            memory: &self.memory,
            held_back: &self.held_back,
            previous: &self.wanted,
            host_ips: &self.context().node.ips,
            now,
        });
        self.wanted = status;
        let silent = self.memory.gone_from_api || self.memory.deleted || self.wanted == self.reported;
        let waiting = self.memory.retries.get(&Operation::ReportStatus).is_some_and(|backoff| backoff.until() > now);
        if silent || waiting || self.memory.is_running(&Operation::ReportStatus) {
            return;
        }
        let Some(patch) = status_patch::patch(spec::uid(&self.pod), &self.reported, &self.wanted) else {
            self.reported = self.wanted.clone();
            return;
        };
        let context = self.context().clone();
        let wanted = Box::new(self.wanted.clone());
        let namespace = spec::namespace(&self.pod).to_owned();
        let name = spec::name(&self.pod).to_owned();
        let span = keelson_client::trace::continued(&self.pod.metadata, || {
            keelson_process::traced!("report status", pod = format!("{namespace}/{name}"))
        });
        let work = async move {
            let _slot = context.reports.acquire().await;
            let pods = context.client.namespaced::<Pod>(&namespace);
            match pods.patch_status(&name, &Patch::Strategic(patch)).await {
                Ok(_) => Ok(Done::Reported(wanted)),
                // The pod is gone, or another one has its name: there is nobody to tell.
                Err(error) if error.is_not_found() || error.is_conflict() => Ok(Done::Reported(wanted)),
                Err(error) => Err(Failure::new(format!("cannot report the pod's status: {error}"))),
            }
        };
        self.spawn(Operation::ReportStatus, tracing::Instrument::instrument(work, span));
    }

    /// After a while the failed pull of an image shows as what it is from then on: a wait.
    pub(super) fn schedule_pull_backoff(&mut self, name: &str) {
        let link = self.factory.link.clone();
        let key = Operation::EnsureImage(name.to_owned());
        let handle = self.context().tasks.spawn(async move {
            tokio::time::sleep(ERROR_SHOWN).await;
            link.send(Mail::Wake).await;
        });
        // Not an operation of the planner's: it only holds the timer.
        self.tasks.insert(key, Task { number: 0, handle });
    }

    /// Failed pulls that have shown their error long enough.
    pub(super) fn show_pull_backoff(&mut self, now: Timestamp) {
        let mut announced = Vec::new();
        for (name, image) in &mut self.memory.images {
            let ImageState::Failed { reason, backoff, retry: true } = image else { continue };
            let shown = Duration::try_from(now.duration_since(backoff.since)).unwrap_or_default() >= ERROR_SHOWN;
            if shown && reason.reason == "ErrImagePull" {
                announced.push((name.clone(), reason.clone()));
                *reason = Reason::new("ImagePullBackOff", String::new());
            }
        }
        for (name, error) in announced {
            let Some((container, _)) = spec::find_container(&self.pod, &name) else { continue };
            let image = container.image.clone().unwrap_or_default();
            let Reason { reason, message } = error;
            let text = format!("Back-off pulling image \"{image}\": {reason}: {message}");
            self.events.normal(&name, "BackOff", &format!("Back-off pulling image \"{image}\""));
            self.events.warning(&name, "Failed", "Error: ImagePullBackOff");
            if let Some(ImageState::Failed { reason, .. }) = self.memory.images.get_mut(&name) {
                reason.message = text;
            }
        }
    }
}
