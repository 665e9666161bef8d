//! Watchers: each keeps its picture of some keys by list and watch, over one connection after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::watch_client::WatchClient;
use keelson_wire::etcdserverpb::watch_request::RequestUnion;
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::translate::{Malformed, bounds, sighting};
use super::{Connection, Load};
use crate::history::{Message, Outcome, Record, Reply, Request, Revision, Seen, Session, Span, Watching};

/// A list, or a watch's beginning, takes this long at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// A quiet watch is asked how far it is after this time, and given up when it has not answered as long again.
const QUIET: Duration = Duration::from_millis(700);

/// How a watcher goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Goes on with each watch as long as it lasts, and resumes where it ended.
    Steady,
    /// Leaves its watches now and then, often stays away so long that the history is compacted, and then lists again.
    Fickle,
    /// Wants only what comes, and never resumes.
    Live,
}

pub struct Watcher {
    pub name: String,
    /// As a client: lists are operations like any other.
    pub number: u32,
    pub habit: Habit,
    pub span: Span,
    pub load: Load,
    pub dice: StdRng,
    /// Where the watcher begins without a list.
    pub start: Option<Revision>,
    /// The revision that it is to reach, once that is known.
    pub goal: watch::Receiver<Option<Revision>>,
    /// Told how far it is.
    pub reached: Arc<AtomicI64>,
    /// When to give up reaching the goal.
    pub patience: Duration,
}

/// Why a session is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Lost,
    Compacted,
    Left,
    Reached,
}

type List = (Revision, Vec<Record>);

impl Watcher {
    /// Watches until the goal is reached, or for as long after it was set as patience allows.
    pub async fn run(mut self) -> Watching {
        let mut sessions = Vec::new();
        let mut list: Option<List> = None;
        let mut next = self.start;
        let mut deadline: Option<Instant> = None;
        loop {
            if self.goal.borrow().is_some() {
                let now = Instant::now();
                if *deadline.get_or_insert(now + self.patience) < now {
                    break;
                }
            }
            let place = self.dice.random_range(0..self.load.urls.len());
            let Ok(connection) = Connection::open(place, &self.load.urls[place]).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if next.is_none() && self.habit != Habit::Live {
                let Some(listed) = self.list(&connection).await else { continue };
                next = Some(listed.0 + 1);
                list = Some(listed);
                if self.dice.random_bool(0.5) {
                    // The list of one member, the watch of another: which may be behind the first.
                    continue;
                }
            }
            let session = Session {
                list: list.take(),
                start: next.unwrap_or(0),
                previous_wanted: self.dice.random_bool(0.5),
                seen: Vec::new(),
                member: place,
            };
            let (session, ended) = self.session(&connection, session, deadline).await;
            let reached = session.reached();
            sessions.push(session);
            next = match (self.habit, ended) {
                (Habit::Live, _) | (_, Ended::Compacted) => None,
                _ => reached.map(|reached| reached + 1).or(next),
            };
            match ended {
                Ended::Reached => break,
                Ended::Left => {
                    let away = Duration::from_millis(self.dice.random_range(0..2_500));
                    let mut goal = self.goal.clone();
                    let _ = tokio::time::timeout(away, goal.wait_for(Option::is_some)).await;
                }
                Ended::Lost | Ended::Compacted => {}
            }
        }
        Watching { name: self.name, span: self.span, sessions }
    }

    async fn list(&self, connection: &Connection) -> Option<List> {
        let request = Request::Read { spans: vec![self.span.clone()], revision: None, serializable: false };
        let recorder = &self.load.recorder;
        let place = recorder.begin(self.number, connection.id, request.clone());
        let asked = connection.ask(&request, PATIENCE).await;
        let Ok((answer, _)) = asked else {
            recorder.end(place, |at| Outcome::Refused { at, reason: "the list was lost".to_owned() });
            return None;
        };
        let records = match &answer.reply {
            Reply::Read(found) => found.concat(),
            Reply::Written(_) | Reply::Guarded(_) => Vec::new(),
        };
        let revision = answer.revision;
        recorder.end(place, |at| Outcome::Answered { at, answer });
        Some((revision, records))
    }

    async fn session(
        &mut self,
        connection: &Connection,
        mut session: Session,
        deadline: Option<Instant>,
    ) -> (Session, Ended) {
        let stays = match self.habit {
            Habit::Steady => Duration::from_secs(3600),
            Habit::Fickle | Habit::Live => Duration::from_millis(self.dice.random_range(200..4_000)),
        };
        let leave = Instant::now() + stays;
        let Some((requests, mut responses)) = self.open(connection, &session).await else {
            return (session, Ended::Lost);
        };
        let mut asked_since: Option<Instant> = None;
        let mut reached = session.reached();
        loop {
            let goal = *self.goal.borrow();
            if let (Some(goal), Some(reached)) = (goal, reached)
                && reached >= goal
            {
                return (session, Ended::Reached);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline < now) {
                return (session, Ended::Lost);
            }
            if goal.is_none() && leave <= now && reached.is_some() {
                return (session, Ended::Left);
            }
            let quiet = if goal.is_some() { Duration::from_millis(100) } else { QUIET };
            let message = tokio::select! {
                message = tokio::time::timeout(quiet, responses.message()) => message,
                _ = self.goal.changed(), if goal.is_none() => continue,
            };
            match message {
                Ok(Ok(Some(response))) => {
                    asked_since = None;
                    let message = message_of(&response);
                    reached = message.reaches(reached);
                    self.reached.fetch_max(reached.unwrap_or(0), Ordering::AcqRel);
                    let cancelled = matches!(message, Message::Cancelled { .. });
                    session.seen.push(Seen { at: self.load.recorder.clock().moment(), message });
                    if cancelled {
                        return (session, Ended::Compacted);
                    }
                }
                Ok(Ok(None) | Err(_)) => return (session, Ended::Lost),
                // Quiet: is the watch alive, and how far is it?
                Err(_) => match asked_since {
                    Some(since) if since.elapsed() > QUIET => return (session, Ended::Lost),
                    Some(_) => {}
                    None => {
                        asked_since = Some(Instant::now());
                        let progress = RequestUnion::ProgressRequest(etcd::WatchProgressRequest {});
                        let request = etcd::WatchRequest { request_union: Some(progress) };
                        if requests.send(request).await.is_err() {
                            return (session, Ended::Lost);
                        }
                    }
                },
            }
        }
    }

    async fn open(
        &mut self,
        connection: &Connection,
        session: &Session,
    ) -> Option<(mpsc::Sender<etcd::WatchRequest>, Streaming<etcd::WatchResponse>)> {
        let (requests, stream) = mpsc::channel(8);
        let (key, range_end) = bounds(&self.span);
        let create = etcd::WatchCreateRequest {
            key,
            range_end,
            start_revision: session.start,
            prev_kv: session.previous_wanted,
            fragment: self.dice.random_bool(0.3),
            ..Default::default()
        };
        let create = etcd::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.send(create).await.ok()?;
        let mut client = WatchClient::new(connection.channel.clone());
        let opening = tokio::time::timeout(PATIENCE, client.watch(ReceiverStream::new(stream))).await;
        Some((requests, opening.ok()?.ok()?.into_inner()))
    }
}

fn message_of(response: &etcd::WatchResponse) -> Message {
    let revision = response.header.as_ref().map_or(0, |header| header.revision);
    if response.canceled {
        return Message::Cancelled { compacted: response.compact_revision, reason: response.cancel_reason.clone() };
    }
    if response.created {
        return Message::Created { revision };
    }
    if response.events.is_empty() {
        return Message::Progress { revision };
    }
    match response.events.iter().map(sighting).collect() {
        Ok(events) => Message::Events { revision, events, more: response.fragment },
        Err(malformed) => Message::Cancelled { compacted: 0, reason: Malformed::to_string(&malformed) },
    }
}
