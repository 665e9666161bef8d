//! postStart and preStop: a command, a GET or a pause, at the beginning and before the end of a container.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::probes::http;
use crate::runtime::Runtime;

/// A hook that has no end of its own is given up after this long, as upstream's exec hooks are bounded by the grace
/// period and its GETs by the client's patience.
const LONGEST: Duration = Duration::from_secs(600);

/// Runs a hook to its end. The error is the text that the events show.
pub async fn run(
    runtime: &Runtime,
    handler: &LifecycleHandler,
    container: &Container,
    container_id: &str,
    pod_ip: Option<IpAddr>,
    limit: Duration,
) -> Result<(), String> {
    let limit = limit.min(LONGEST);
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        let result = runtime.exec_sync(container_id, &command, limit).await;
        return match result {
            Ok(result) if result.exit_code == 0 => Ok(()),
            Ok(result) => {
                let output = String::from_utf8_lossy(&result.stdout).into_owned()
                    + String::from_utf8_lossy(&result.stderr).as_ref();
                Err(format!("command '{}' exited with {}: {output}", command.join(" "), result.exit_code))
            }
            Err(error) => Err(format!("command '{}': {error}", command.join(" "))),
        };
    }
    if let Some(action) = &handler.http_get {
        let port = crate::probes::port(&action.port, container).ok_or_else(|| "couldn't find port".to_owned())?;
        return http::get(action, pod_ip, port, limit, "kube-lifecycle/1.36").await.map(drop);
    }
    if let Some(action) = &handler.sleep {
        let wanted = Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(limit)).await;
        return Ok(());
    }
    Err("invalid handler: nothing to run".to_owned())
}
