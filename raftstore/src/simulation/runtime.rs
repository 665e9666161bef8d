//! The runtime that openraft is given: tokio's, with its chance from the seed and channels that wake in order.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::time::Duration;

use futures::FutureExt as _;
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::{AsyncRuntime, OptionalSend};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::watch::SimulatedWatch;
use crate::failpoints::{Bug, Point};

type Tokio = openraft::impls::TokioRuntime;

const LONGEST_APPLYING_MILLIS: u64 = 20;

/// At this point of this member something happens, once.
struct Armed {
    member: u64,
    point: Point,
    act: Box<dyn FnOnce()>,
}

thread_local! {
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    static ARMED: RefCell<Option<Armed>> = const { RefCell::new(None) };
    static INSTALLED: Cell<u64> = const { Cell::new(0) };
}

/// What openraft draws from now on, on this thread. A run begins.
pub fn seed_chance(seed: u64) {
    CHANCE.set(seed);
    INSTALLED.set(0);
}

fn next_chance() -> u64 {
    let seed = CHANCE.get();
    CHANCE.set(seed.wrapping_add(1));
    seed
}

/// Snapshots that members of this run took over from others.
pub fn installed() -> u64 {
    INSTALLED.get()
}

/// A bug that all members of this thread have.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whose turn it is.
pub fn set_current(member: u64) {
    CURRENT.set(member);
}

pub fn arm(member: u64, point: Point, act: impl FnOnce() + 'static) {
    ARMED.set(Some(Armed { member, point, act: Box::new(act) }));
}

pub fn disarm() {
    ARMED.set(None);
}

pub fn reached(point: Point) {
    if point == Point::AfterInstall {
        INSTALLED.set(INSTALLED.get() + 1);
    }
    let hit =
        ARMED.with_borrow_mut(|armed| armed.take_if(|armed| armed.member == CURRENT.get() && armed.point == point));
    if let Some(armed) = hit {
        (armed.act)();
    }
}

/// What is committed is applied now or in a while, by each member at its own time.
pub async fn before_applying() {
    let mut random = StdRng::seed_from_u64(next_chance());
    if random.random_bool(0.1) {
        let millis = random.random_range(1..=LONGEST_APPLYING_MILLIS);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

#[derive(Debug)]
pub struct Runtime(Tokio);

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = <Tokio as AsyncRuntime>::Instant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <DeterministicRng<Tokio> as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = SimulatedWatch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Tokio::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        let drawn = DeterministicRng::<Tokio>::scope(next_chance(), async { DeterministicRng::<Tokio>::thread_rng() });
        drawn.now_or_never().expect("nothing is waited for")
    }

    fn new(threads: usize) -> Self {
        Self(Tokio::new(threads))
    }

    fn block_on<F: Future<Output = T>, T>(&mut self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let done = work();
        async { Ok(done) }
    }
}
