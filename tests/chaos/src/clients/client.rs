//! One client: asks one thing after the other, of whichever member it is connected to at the time.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use tokio::sync::watch;

use super::{Connection, Failure, Generator, Pulse};
use crate::history::{Outcome, Recorder, Request};

/// After this an operation's fate is unknown.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before the next try where no member takes a connection.
const PAUSE: Duration = Duration::from_millis(20);

/// What all clients share.
#[derive(Clone)]
pub struct Load {
    pub recorder: Recorder,
    pub urls: Arc<Vec<String>>,
    pub pulse: Arc<Pulse>,
    /// Between two operations of one client.
    pub interval: Duration,
    pub stop: watch::Receiver<bool>,
}

pub struct Client {
    pub number: u32,
    /// The member that it asks always; without it, one after the other.
    pub stays_with: Option<usize>,
    pub generator: Generator,
    pub load: Load,
}

impl Client {
    /// Goes on until it is told to stop, and hands back what it is made of.
    pub async fn run(mut self) -> Generator {
        let mut connection: Option<Connection> = None;
        let mut left = 0_u32;
        let mut ticks = tokio::time::interval(self.load.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !*self.load.stop.borrow() {
            if left == 0 {
                connection = None;
                left = self.generator.dice().random_range(5..60);
            }
            let Some(open) = &connection else {
                let members = self.load.urls.len();
                let place = self.stays_with.unwrap_or_else(|| self.generator.dice().random_range(0..members));
                connection = Connection::open(place, &self.load.urls[place]).await.ok();
                if connection.is_none() {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            };
            ticks.tick().await;
            left -= 1;
            if !self.operate(open).await {
                connection = None;
            }
        }
        self.generator
    }

    /// Whether the connection is still of use.
    async fn operate(&mut self, connection: &Connection) -> bool {
        let request = self.generator.request();
        let recorder = &self.load.recorder;
        let place = recorder.begin(self.number, connection.id, request.clone());
        match connection.ask(&request, PATIENCE).await {
            Ok((answer, term)) => {
                self.generator.learn(&request, &answer);
                if matches!(request, Request::Write { .. }) {
                    self.load.pulse.acknowledged(term);
                }
                recorder.end(place, |at| Outcome::Answered { at, answer });
                true
            }
            Err(Failure::Refused(reason)) => {
                recorder.end(place, |at| Outcome::Refused { at, reason });
                true
            }
            // A read that was lost did nothing.
            Err(Failure::Lost(reason)) if matches!(request, Request::Read { .. }) => {
                recorder.end(place, |at| Outcome::Refused { at, reason });
                false
            }
            Err(Failure::Lost(_)) => false,
        }
    }
}
