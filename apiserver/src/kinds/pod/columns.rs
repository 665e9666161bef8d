//! What `kubectl get pods` shows: above all one word for what a pod is doing.

use serde_json::Value;

use super::containers::is_sidecar;
use crate::kinds::fields::Fields;
use crate::registry::{Cell, Column};
use crate::tables::{age, cells};

pub fn columns() -> Vec<Column> {
    vec![
        cells::name_column(),
        Column::new(
            "Ready",
            "string",
            "The aggregate readiness state of this pod for accepting traffic.",
            Cell::Read(|pod, _| {
                let summary = Summary::of(pod);
                format!("{}/{}", summary.ready, summary.total).into()
            }),
        ),
        Column::new(
            "Status",
            "string",
            "The aggregate status of the containers in this pod.",
            Cell::Read(|pod, _| Summary::of(pod).reason.into()),
        ),
        Column::new(
            "Restarts",
            "string",
            "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
            Cell::Read(|pod, now| Summary::of(pod).restarts_text(now).into()),
        ),
        cells::age_column(),
        Column::new(
            "IP",
            "string",
            "The pod's address, empty until it is allocated.",
            Cell::Read(|pod, _| match pod.sub("status").items("podIPs").first() {
                Some(address) => cells::or_none(address.text("ip")),
                None => cells::or_none(pod.sub("status").text("podIP")),
            }),
        )
        .wide(),
        Column::new(
            "Node",
            "string",
            "The node that the pod is bound to.",
            Cell::Read(|pod, _| cells::or_none(pod.sub("spec").text("nodeName"))),
        )
        .wide(),
        Column::new(
            "Nominated Node",
            "string",
            "The node on which preemption makes room for the pod.",
            Cell::Read(|pod, _| cells::or_none(pod.sub("status").text("nominatedNodeName"))),
        )
        .wide(),
        Column::new(
            "Readiness Gates",
            "string",
            "How many of the pod's readiness gates are open.",
            Cell::Read(|pod, _| readiness_gates(pod)),
        )
        .wide(),
    ]
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = pod.sub("spec").items("readinessGates");
    if gates.is_empty() {
        return cells::NONE.into();
    }
    let open = gates.iter().filter(|gate| has_condition(pod, gate.text("conditionType"))).count();
    format!("{open}/{}", gates.len()).into()
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    let conditions = pod.sub("status").items("conditions");
    conditions.iter().any(|condition| condition.text("type") == kind && condition.text("status") == "True")
}

/// What the containers' states come to.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: i64,
    /// Seconds since the epoch.
    last_restart: Option<i64>,
}

impl Summary {
    fn of(pod: &Value) -> Summary {
        let (spec, status) = (pod.sub("spec"), pod.sub("status"));
        let phase = status.text("phase");
        let mut reason = if status.text("reason").is_empty() { phase } else { status.text("reason") }.to_owned();
        let gated = |condition: &Value| {
            condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated"
        };
        if status.items("conditions").iter().any(gated) {
            reason = "SchedulingGated".to_owned();
        }
        let init = spec.items("initContainers");
        let sidecars = init.iter().filter(|container| is_sidecar(container)).count();
        let mut summary = Summary {
            ready: 0,
            total: spec.items("containers").len() + sidecars,
            reason,
            restarts: 0,
            last_restart: None,
        };
        let sidecar_restarts = summary.add_init(init, status);
        let initializing = sidecar_restarts.is_none();
        if !initializing || has_condition(pod, "Initialized") {
            let (restarts, last) = sidecar_restarts.unwrap_or_else(|| sidecar_history(init, status));
            summary.restarts = restarts;
            summary.last_restart = last;
            summary.add_regular(pod);
        }
        if pod.sub("metadata").present("deletionTimestamp") {
            if status.text("reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase, "Failed" | "Succeeded") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Walks the init containers up to the first that is not done. `None`: the pod is still initializing; otherwise
    /// the restarts of its sidecars.
    fn add_init(&mut self, init: &[Value], status: &Value) -> Option<(i64, Option<i64>)> {
        let sidecar = |name: &str| init.iter().any(|container| container.text("name") == name && is_sidecar(container));
        for (index, container) in status.items("initContainerStatuses").iter().enumerate() {
            self.restarts += container.int("restartCount").unwrap_or(0);
            self.last_restart = self.last_restart.max(last_end(container));
            let terminated = container.at(&["state", "terminated"]);
            let waiting = container.at(&["state", "waiting"]).text("reason");
            if !terminated.is_null() && terminated.int("exitCode").unwrap_or(0) == 0 {
                continue;
            }
            if sidecar(container.text("name")) && container.flag("started") == Some(true) {
                self.ready += usize::from(container.flag("ready") == Some(true));
                continue;
            }
            self.reason = if !terminated.is_null() {
                format!("Init:{}", end_reason(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", init.len())
            };
            return None;
        }
        Some(sidecar_history(init, status))
    }

    fn add_regular(&mut self, pod: &Value) {
        let mut running = false;
        for container in pod.sub("status").items("containerStatuses").iter().rev() {
            self.restarts += container.int("restartCount").unwrap_or(0);
            self.last_restart = self.last_restart.max(last_end(container));
            let state = container.sub("state");
            let waiting = state.sub("waiting").text("reason");
            let terminated = state.sub("terminated");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if !terminated.is_null() {
                self.reason = end_reason(terminated);
            } else if container.flag("ready") == Some(true) && state.present("running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if has_condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn restarts_text(&self, now: i64) -> String {
        match self.last_restart {
            Some(last) if self.restarts > 0 => format!("{} ({} ago)", self.restarts, age::human_duration(now - last)),
            _ => self.restarts.to_string(),
        }
    }
}

fn sidecar_history(init: &[Value], status: &Value) -> (i64, Option<i64>) {
    let mut restarts = 0;
    let mut last = None;
    for container in status.items("initContainerStatuses") {
        let name = container.text("name");
        if init.iter().any(|spec| spec.text("name") == name && is_sidecar(spec)) {
            restarts += container.int("restartCount").unwrap_or(0);
            last = last.max(last_end(container));
        }
    }
    (restarts, last)
}

fn last_end(container: &Value) -> Option<i64> {
    age::epoch_seconds(container.at(&["lastState", "terminated", "finishedAt"]))
}

fn end_reason(terminated: &Value) -> String {
    let reason = terminated.text("reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match terminated.int("signal").unwrap_or(0) {
        0 => format!("ExitCode:{}", terminated.int("exitCode").unwrap_or(0)),
        signal => format!("Signal:{signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(pod: &Value) -> (String, String, String) {
        let summary = Summary::of(pod);
        let ready = format!("{}/{}", summary.ready, summary.total);
        let restarts = summary.restarts_text(600);
        (ready, summary.reason, restarts)
    }

    #[test]
    fn one_word_says_what_a_pod_is_doing() {
        let spec = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]});
        let table = [
            (json!({"phase": "Pending"}), ("0/1", "Pending", "0")),
            (
                json!({"phase": "Running", "containerStatuses": [
                    {"name": "a", "ready": true, "restartCount": 3, "state": {"running": {}},
                     "lastState": {"terminated": {"finishedAt": "1970-01-01T00:05:00Z"}}}]}),
                ("1/1", "Running", "3 (5m ago)"),
            ),
            (
                json!({"phase": "Running", "containerStatuses": [
                    {"name": "a", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
                ("0/1", "CrashLoopBackOff", "1"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
                ("0/1", "Init:Error", "2"),
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"running": {}}}]}),
                ("0/1", "Init:0/1", "0"),
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}}]}),
                ("0/1", "Signal:9", "0"),
            ),
            (
                json!({"phase": "Succeeded", "containerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
                ("0/1", "Completed", "0"),
            ),
            (json!({"phase": "Failed", "reason": "Evicted"}), ("0/1", "Evicted", "0")),
        ];
        for (status, (ready, reason, restarts)) in table {
            let pod = json!({"spec": spec, "status": status});
            assert_eq!(row(&pod), (ready.to_owned(), reason.to_owned(), restarts.to_owned()), "{pod}");
        }
    }

    #[test]
    fn a_deleted_pod_is_terminating_unless_it_ended() {
        let metadata = json!({"deletionTimestamp": "1970-01-01T00:00:00Z"});
        let running = json!({"metadata": metadata, "spec": {"containers": [{}]}, "status": {"phase": "Running"}});
        assert_eq!(row(&running).1, "Terminating");
        let lost = json!({"metadata": metadata, "status": {"phase": "Running", "reason": "NodeLost"}});
        assert_eq!(row(&lost).1, "Unknown");
        let ended = json!({"metadata": metadata, "status": {"phase": "Succeeded"}});
        assert_eq!(row(&ended).1, "Succeeded");
    }

    #[test]
    fn a_started_sidecar_counts_as_a_container() {
        let pod = json!({
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            "status": {
                "phase": "Running",
                "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
                "containerStatuses": [{"name": "a", "ready": true, "restartCount": 2, "state": {"running": {}}}],
            },
        });
        assert_eq!(row(&pod), ("2/2".to_owned(), "Running".to_owned(), "3".to_owned()));
    }
}
