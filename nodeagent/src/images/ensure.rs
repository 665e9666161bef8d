//! Has an image on the node, as the container's pull policy asks, and says so in the pod's events.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Container, Secret};

use super::pull_secrets;
use super::reference::Reference;
use crate::pods::events::PodEvents;
use crate::pods::memory::Reason;
use crate::runtime::{Image, Runtime};

/// Why there is no image for a container.
#[derive(Debug)]
pub struct Failure {
    /// The container's `waiting` state.
    pub reason: Reason,
    /// False where trying again cannot help.
    pub retry: bool,
}

/// Looks the image up, pulls it if the policy says so. `secrets` are the pod's pull secrets that exist.
pub async fn ensure(
    runtime: &Runtime,
    events: &PodEvents,
    container: &Container,
    secrets: &[std::sync::Arc<Secret>],
) -> Result<Image, Failure> {
    let asked = container.image.as_deref().unwrap_or_default();
    let reference = match Reference::parse(asked) {
        Ok(reference) => reference,
        Err(error) => {
            let message = format!(
                "Failed to apply default image tag \"{asked}\": couldn't parse image name \"{asked}\": {error}"
            );
            events.warning(&container.name, "InspectFailed", &message);
            events.warning(&container.name, "Failed", "Error: InvalidImageName");
            return Err(Failure { reason: Reason::new("InvalidImageName", message), retry: false });
        }
    };
    let policy = container.image_pull_policy.as_deref().unwrap_or(default_policy(&reference));
    let name = reference.to_string();
    if policy != "Always" {
        let known = runtime.image(&name).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{asked}\": {error}");
            events.warning(&container.name, "InspectFailed", &message);
            events.warning(&container.name, "Failed", "Error: ImageInspectError");
            Failure { reason: Reason::new("ImageInspectError", message), retry: true }
        })?;
        if let Some(image) = known {
            let message =
                format!("Container image \"{asked}\" already present on machine and can be accessed by the pod");
            events.normal(&container.name, "Pulled", &message);
            return Ok(image);
        }
        if policy == "Never" {
            let message = format!("Container image \"{asked}\" is not present with pull policy of Never");
            events.warning(&container.name, "ErrImageNeverPull", &message);
            events.warning(&container.name, "Failed", "Error: ErrImageNeverPull");
            return Err(Failure { reason: Reason::new("ErrImageNeverPull", message), retry: true });
        }
    }
    pull(runtime, events, container, &reference, secrets).await
}

async fn pull(
    runtime: &Runtime,
    events: &PodEvents,
    container: &Container,
    reference: &Reference,
    secrets: &[std::sync::Arc<Secret>],
) -> Result<Image, Failure> {
    let asked = container.image.as_deref().unwrap_or_default();
    events.normal(&container.name, "Pulling", &format!("Pulling image \"{asked}\""));
    let begun = Instant::now();
    let credentials = pull_secrets::for_image(reference, secrets.iter().map(std::sync::Arc::as_ref));
    match runtime.pull_image(&reference.to_string(), &credentials).await {
        Ok(image) => {
            let took = seconds(begun.elapsed());
            let message = format!(
                "Successfully pulled image \"{asked}\" in {took} ({took} including waiting). Image size: {} bytes.",
                image.size
            );
            events.normal(&container.name, "Pulled", &message);
            Ok(image)
        }
        Err(error) => {
            let why = error.to_string();
            events.warning(&container.name, "Failed", &format!("Failed to pull image \"{asked}\": {why}"));
            // An unreachable registry is no case of its own: containerd's CRI tells it no apart either.
            events.warning(&container.name, "Failed", "Error: ErrImagePull");
            Err(Failure { reason: Reason::new("ErrImagePull", why), retry: true })
        }
    }
}

/// The API server defaults the policy; this is for pods from files.
fn default_policy(reference: &Reference) -> &'static str {
    let latest = reference.tag.as_deref() == Some("latest") && reference.digest.is_none();
    if latest { "Always" } else { "IfNotPresent" }
}

/// A duration in Go's notation with milliseconds: `812ms`, `3.25s`, `1m2.5s`.
fn seconds(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let trimmed = |millis: u128| {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match millis / 60_000 {
        0 => format!("{}s", trimmed(millis)),
        minutes => format!("{minutes}m{}s", trimmed(millis % 60_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_read_as_go_writes_them() {
        let table = [(0, "0ms"), (812, "812ms"), (1000, "1s"), (3250, "3.25s"), (62_500, "1m2.5s"), (120_000, "2m0s")];
        for (millis, want) in table {
            assert_eq!(seconds(Duration::from_millis(millis)), want);
        }
    }
}
