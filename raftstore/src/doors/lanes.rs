//! The places of a door's connections, and where each is served: by the threads that do everything else, or by some beside
//! them.
//!
//! A process has a worker for each two cores: what one thread does for itself costs no wake-up of another, and a lone
//! client is answered soonest. Many clients keep that worker busy while a core is idle. So the first connections are
//! served at home, and of more than those every other one on the side, by as many threads as there are cores left.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::socket::Socket;

/// So many connections more are served at home than on the side.
const AT_HOME: usize = 4;
const MAX_SIDE_WORKERS: usize = 8;

pub struct Lanes {
    places: Arc<Semaphore>,
    home: Handle,
    at_home: AtomicUsize,
    on_side: AtomicUsize,
    /// Made when it is needed. None: the kernel gave no thread.
    side: OnceLock<Option<Runtime>>,
}

/// One connection's place and lane, for as long as it lives.
pub struct Seat {
    lanes: Arc<Lanes>,
    is_home: bool,
    _place: OwnedSemaphorePermit,
}

impl Lanes {
    /// At home is where this is called.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places)),
            home: Handle::current(),
            at_home: AtomicUsize::new(0),
            on_side: AtomicUsize::new(0),
            side: OnceLock::new(),
        })
    }

    fn side(&self) -> Option<&Runtime> {
        let made = || {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let workers = cores.saturating_sub(self.home.metrics().num_workers()).clamp(1, MAX_SIDE_WORKERS);
            let made =
                Builder::new_multi_thread().worker_threads(workers).thread_name("side-lane").enable_all().build();
            made.inspect_err(|error| tracing::warn!(%error, "no threads for more connections")).ok()
        };
        self.side.get_or_init(made).as_ref()
    }

    /// None if all places are taken.
    pub fn seat(self: &Arc<Self>) -> Option<Seat> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let (at_home, on_side) = (self.at_home.load(Ordering::Relaxed), self.on_side.load(Ordering::Relaxed));
        let is_home = at_home < on_side + AT_HOME || self.side().is_none();
        let seat = Seat { lanes: self.clone(), is_home, _place: place };
        seat.count().fetch_add(1, Ordering::Relaxed);
        Some(seat)
    }
}

impl Seat {
    pub fn handle(&self) -> &Handle {
        match self.lanes.side() {
            Some(side) if !self.is_home => side.handle(),
            _ => &self.lanes.home,
        }
    }

    /// The stream as one of this lane's threads. Called on the lane.
    pub fn take<Stream: Socket>(&self, stream: Stream) -> io::Result<Stream> {
        if self.is_home { Ok(stream) } else { stream.moved_here() }
    }

    fn count(&self) -> &AtomicUsize {
        if self.is_home { &self.lanes.at_home } else { &self.lanes.on_side }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Lanes {
    /// The last seat may be left on the side itself, where a runtime must not wait for its threads.
    fn drop(&mut self) {
        if let Some(Some(side)) = self.side.take() {
            side.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_are_served_at_home_and_then_every_other_one() {
        let lanes = Lanes::new(8);
        let mut seats: Vec<Seat> = (0..8).map(|_| lanes.seat().expect("a place")).collect();
        assert!(lanes.seat().is_none(), "all are taken");
        let homes: Vec<bool> = seats.iter().map(|seat| seat.is_home).collect();
        assert_eq!(homes, [true, true, true, true, false, true, false, true]);
        let thread = seats[4].handle().spawn(async { std::thread::current().name().map(str::to_owned) });
        assert_eq!(thread.await.expect("it runs").as_deref(), Some("side-lane"));
        // Who leaves makes room.
        seats.drain(..3);
        assert!(lanes.seat().is_some_and(|seat| seat.is_home));
    }
}
