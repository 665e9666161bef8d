//! A command in the container: its exit code is the result.

use std::time::Duration;

use k8s_openapi::api::core::v1::ExecAction;

use super::check::{Outcome, Target};
use crate::runtime::Error;

pub async fn check(target: &Target, action: &ExecAction, timeout: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    match target.runtime.exec_sync(&target.container_id, &command, timeout).await {
        Ok(result) if result.exit_code == 0 => Outcome::Success,
        Ok(result) => {
            let mut output = result.stdout;
            output.extend_from_slice(&result.stderr);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(Error::ExecTimeout(_)) => {
            let command = command.join(" ");
            Outcome::Failure(format!("command timed out: \"{command}\" timed out after {}s", timeout.as_secs()))
        }
        Err(Error::Oci(reason)) => Outcome::Failure(reason),
        Err(error) => Outcome::Unknown(error.to_string()),
    }
}
