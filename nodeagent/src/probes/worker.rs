//! The task that runs one probe of one container instance until it is dropped.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub use super::check::Target;
use super::check::{Outcome, check};
use super::thresholds::Thresholds;
use crate::pods::events::PodEvents;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Liveness,
    Readiness,
    Startup,
}

impl Kind {
    /// As upstream's event messages begin.
    fn title(self) -> &'static str {
        match self {
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
            Kind::Startup => "Startup",
        }
    }
}

/// A verdict, sent when it differs from the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub container: String,
    pub container_id: String,
    pub kind: Kind,
    pub success: bool,
}

/// A running probe; dropping it stops it.
pub struct Worker {
    task: JoinHandle<()>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where and since when to probe.
pub struct Assignment {
    pub kind: Kind,
    pub probe: Probe,
    pub target: Target,
    pub started_at: Timestamp,
    pub events: PodEvents,
}

/// Starts probing. `report` is called with each change of the verdict.
pub fn start<F>(tasks: &Handle, assignment: Assignment, report: impl Fn(Report) -> F + Send + 'static) -> Worker
where
    F: Future<Output = ()> + Send + 'static,
{
    Worker { task: tasks.spawn(run(assignment, report)) }
}

async fn run<F>(assignment: Assignment, report: impl Fn(Report) -> F + Send)
where
    F: Future<Output = ()> + Send,
{
    let Assignment { kind, probe, target, started_at, events } = assignment;
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|s| *s > 0).unwrap_or(default))
    };
    let timeout = seconds(probe.timeout_seconds, 1);
    let period = seconds(probe.period_seconds, 10);
    let delay = Duration::from_secs(probe.initial_delay_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
    let age = Duration::try_from(Timestamp::now().duration_since(started_at)).unwrap_or_default();
    tokio::time::sleep(delay.saturating_sub(age)).await;

    let mut thresholds = Thresholds::new(&probe);
    let mut verdict = None;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let success = match check(&target, &probe, timeout).await {
            Outcome::Success => true,
            Outcome::Warning(text) => {
                let message = format!("{} probe warning: {text}", kind.title());
                events.warning(&target.container.name, "ProbeWarning", &message);
                true
            }
            Outcome::Failure(text) => {
                events.warning(&target.container.name, "Unhealthy", &format!("{} probe failed: {text}", kind.title()));
                false
            }
            Outcome::Unknown(text) => {
                let message = format!("{} probe errored and resulted in unknown state: {text}", kind.title());
                events.warning(&target.container.name, "Unhealthy", &message);
                continue;
            }
        };
        let Some(now) = thresholds.count(success) else { continue };
        if verdict != Some(now) {
            verdict = Some(now);
            report(Report {
                container: target.container.name.clone(),
                container_id: target.container_id.clone(),
                kind,
                success: now,
            })
            .await;
        }
        if kind == Kind::Startup && now {
            return;
        }
    }
}
