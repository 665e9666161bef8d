//! containerd's events, and what is made of the end of a task.
//!
//! One subscription for the agent's life. When it breaks (containerd was restarted), it is made again and everything
//! is compared with what containerd has: an exit that no event told of is found that way.

use std::fs;
use std::path::Path;
use std::sync::Weak;
use std::time::{Duration, SystemTime};

use containerd_client::events::TaskExit;
use containerd_client::services::v1::{Container as Stored, PublishRequest, SubscribeRequest, UpdateContainerRequest};
use prost::Message;

use super::containerd::failed;
use super::record::{EXIT, exit_document};
use super::{Container, ContainerState, Error, Event, Exit, Inner, Runtime, TerminationMessagePolicy, sandbox};

const RECONNECT: Duration = Duration::from_millis(500);
/// As the API documents them for terminationMessagePath and FallbackToLogsOnError.
const MESSAGE_LIMIT: u64 = 4096;
const FALLBACK_BYTES: usize = 2048;
const FALLBACK_LINES: usize = 80;
const EXIT_TOPIC: &str = "/tasks/exit";
const HELLO_TOPIC: &str = "/keelson/hello";
const HELLO_INTERVAL: Duration = Duration::from_millis(20);
const HELLO_LIMIT: usize = 500;

/// Ends with the last handle to the runtime.
pub async fn follow(inner: Weak<Inner>, mut stream: Subscription) {
    loop {
        match stream.message().await {
            Ok(Some(envelope)) => {
                let Some(inner) = inner.upgrade() else { return };
                let runtime = Runtime { inner };
                if envelope.topic == EXIT_TOPIC
                    && let Some(event) = envelope.event
                    && let Ok(exit) = TaskExit::decode(event.value.as_slice())
                {
                    runtime.on_exit(exit);
                }
                continue;
            }
            Ok(None) => tracing::warn!("containerd ended the stream of events"),
            Err(status) => tracing::warn!(%status, "lost the stream of containerd's events"),
        }
        loop {
            tokio::time::sleep(RECONNECT).await;
            let Some(inner) = inner.upgrade() else { return };
            let runtime = Runtime { inner };
            // Subscribed first: what happens while the lists are read is not missed.
            let Ok(again) = runtime.subscribe().await else { continue };
            match runtime.recover().await {
                Ok(()) => {
                    tracing::info!("containerd is back");
                    runtime.inner.table.announce(Event::Resync);
                    stream = again;
                    break;
                }
                Err(error) => tracing::warn!(%error, "cannot read containerd's state"),
            }
        }
    }
}

pub type Subscription = tonic::Streaming<containerd_client::types::Envelope>;

impl Runtime {
    /// When it answers, nothing that happens from then on is missed.
    ///
    /// containerd answers a subscription with its first event and not before, so one is published until it comes.
    pub(super) async fn subscribe(&self) -> Result<Subscription, Error> {
        let containerd = &self.inner.containerd;
        let namespace = &self.inner.options.namespace;
        let filters = [EXIT_TOPIC, HELLO_TOPIC].map(|topic| format!("topic==\"{topic}\",namespace==\"{namespace}\""));
        let mut events = containerd.events();
        let request = containerd.request(SubscribeRequest { filters: filters.to_vec() });
        let mut call = std::pin::pin!(events.subscribe(request));
        let refused = failed("subscribing to events");
        for _ in 0..HELLO_LIMIT {
            if let Ok(answer) = tokio::time::timeout(HELLO_INTERVAL, &mut call).await {
                return answer.map(tonic::Response::into_inner).map_err(refused);
            }
            let event = containerd_client::to_any(&TaskExit::default());
            let hello = PublishRequest { topic: HELLO_TOPIC.into(), event: Some(event) };
            containerd.events().publish(containerd.request(hello)).await.map_err(failed("publishing an event"))?;
        }
        Err(refused(tonic::Status::deadline_exceeded("no event of our own came back")))
    }

    fn on_exit(&self, event: TaskExit) {
        // Of an exec: its own waiter hears of it.
        if !event.id.is_empty() && event.id != event.container_id {
            return;
        }
        let id = event.container_id;
        if self.inner.table.sandbox(&id).is_some() {
            self.sandbox_ended(&id);
            return;
        }
        if self.inner.table.row(&id).is_none() {
            return;
        }
        let finished_at = event.exited_at.map(system_time).unwrap_or_else(SystemTime::now);
        let runtime = self.clone();
        // Not in the way of the next event: it writes to containerd and lets the task go.
        tokio::spawn(async move {
            runtime.task_ended(&id, event.exit_status as i32, finished_at).await;
        });
    }

    pub(super) fn sandbox_ended(&self, id: &str) {
        let mut was_ready = false;
        let sandbox = self.inner.table.change_sandbox(id, |sandbox| {
            was_ready = sandbox.ready;
            sandbox::ended(sandbox);
        });
        if let Some(sandbox) = sandbox.filter(|_| was_ready) {
            self.inner.table.announce(Event::SandboxExited { pod_uid: sandbox.pod.uid, sandbox_id: sandbox.id });
        }
    }

    /// In this order: evidence that goes with the task is read; the end is written down; the task is let go, which
    /// ends the logger, so that the log is whole; and only then everybody is told. An agent that dies in between
    /// finds either the stopped task or what was written.
    pub(super) async fn task_ended(&self, id: &str, exit_code: i32, finished_at: SystemTime) {
        let Some(row) = self.inner.table.begin_end(id) else { return };
        let started_at = match row.container.state {
            ContainerState::Running { started_at } => started_at,
            _ => finished_at,
        };
        let oom_killed = exit_code != 0 && self.inner.cgroups.was_oom_killed(&row.record.cgroup);
        let reason = match exit_code {
            _ if oom_killed => "OOMKilled",
            0 => "Completed",
            _ => "Error",
        };
        let file = row.record.termination_message_file.as_deref();
        // Codes past 128 are those of signals, as shells have it; the API's own field stays 0 with containerd.
        let mut exit = Exit {
            started_at: Some(started_at),
            finished_at,
            exit_code,
            signal: 0,
            reason: reason.to_string(),
            message: file.map(termination_message).unwrap_or_default(),
        };
        self.write_down(id, &exit).await;
        if let Err(error) = self.delete_task(id).await {
            tracing::warn!(container = id, %error, "cannot remove an ended task");
        }
        let falls_back = row.record.termination_message_policy == TerminationMessagePolicy::FallbackToLogsOnError;
        if exit.message.is_empty() && exit_code != 0 && falls_back {
            exit.message = end_of_log(&row.record.log_path);
            self.write_down(id, &exit).await;
        }
        self.tell(id, exit);
    }

    /// Of a container whose task is gone, or never was.
    pub(super) async fn settle(&self, id: &str, exit: Exit) {
        if self.inner.table.begin_end(id).is_some() {
            self.write_down(id, &exit).await;
            self.tell(id, exit);
        }
    }

    fn tell(&self, id: &str, exit: Exit) {
        let container = self.inner.table.change(id, |container: &mut Container| {
            container.state = ContainerState::Exited(exit);
            container.pid = 0;
        });
        if let Some(container) = container {
            let event = Event::ContainerExited { pod_uid: container.pod.uid, container_id: id.to_string() };
            self.inner.table.announce(event);
        }
    }

    async fn write_down(&self, id: &str, exit: &Exit) {
        match self.write_exit(id, exit).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(container = id, %error, "cannot write down how a container ended");
            }
            _ => {}
        }
    }

    async fn write_exit(&self, id: &str, exit: &Exit) -> Result<(), Error> {
        let document = exit_document(exit).map_err(|error| Error::InvalidSpec(error.to_string()))?;
        let stored =
            Stored { id: id.to_string(), extensions: [(EXIT.to_string(), document)].into(), ..Stored::default() };
        let paths = vec![format!("extensions.{EXIT}")];
        let request =
            UpdateContainerRequest { container: Some(stored), update_mask: Some(prost_types::FieldMask { paths }) };
        let containerd = &self.inner.containerd;
        containerd.containers().update(containerd.request(request)).await.map_err(failed("updating container"))?;
        Ok(())
    }
}

pub(super) fn system_time(timestamp: prost_types::Timestamp) -> SystemTime {
    SystemTime::try_from(timestamp).unwrap_or_else(|_| SystemTime::now())
}

fn termination_message(file: &Path) -> String {
    use std::io::Read;
    let mut text = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(MESSAGE_LIMIT).read_to_end(&mut text));
    match read {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(_) => String::new(),
    }
}

/// The last lines of the log, without the times.
fn end_of_log(path: &Path) -> String {
    use std::io::{Read, Seek, SeekFrom};
    // More than enough for what is kept, with the times of its lines.
    const WINDOW: u64 = (FALLBACK_BYTES + FALLBACK_LINES * 64) as u64;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut text = Vec::new();
        file.take(WINDOW).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // The text of each line, and whether it ends with it.
    let lines: Vec<(&str, bool)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(4, ' ');
            let is_line = fields.next()?.ends_with('Z') && matches!(fields.next()?, "stdout" | "stderr");
            let is_whole = fields.next()? != "P";
            is_line.then_some((fields.next()?, is_whole))
        })
        .collect();
    let mut message = String::new();
    for (text, is_whole) in &lines[lines.len().saturating_sub(FALLBACK_LINES)..] {
        message.push_str(text);
        if *is_whole {
            message.push('\n');
        }
    }
    let mut cut = message.len().saturating_sub(FALLBACK_BYTES);
    while !message.is_char_boundary(cut) {
        cut += 1;
    }
    message.split_off(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_its_text() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("0.log");
        let mut text = String::new();
        for number in 0..200 {
            text += &format!("2026-01-01T00:00:00.000000000Z stderr F line {number}\n");
        }
        fs::write(&path, text).expect("write");
        let end = end_of_log(&path);
        assert!(end.ends_with("line 198\nline 199\n") && end.starts_with("line 120\n"), "{end}");
        assert!(end.len() <= FALLBACK_BYTES);
        assert_eq!(end_of_log(Path::new("/nonexistent")), "");
        let time = "2026-01-01T00:00:00.000000000Z";
        fs::write(&path, format!("{time} stdout F whole\n{time} stdout P be\n{time} stdout P gun\n")).expect("write");
        assert_eq!(end_of_log(&path), "whole\nbegun", "what was not ended gets no end");
    }
}
