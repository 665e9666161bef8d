//! Waiting eagerly: what is about to come is polled for, a moment long, before the thread goes to sleep.
//!
//! Waking a thread that sleeps on an idle processor costs some 0.04 ms on a virtual machine (the processor is halted, and
//! its host wakes it), which is more than most of a request's work. So whoever waits for an answer that is mostly there
//! soon looks a few times before it sleeps. As in the kernel's haltpoll governor, the habit pays for itself: a wait that
//! took longer than the longest look makes the next wait sleep at once, so an idle process does not look at all; and the
//! processor is given to any other thread that wants it, which ends the look.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A processor that comes back later than this was wanted by others.
const WANTED_BY_OTHERS: Duration = Duration::from_micros(20);

/// The habit of one kind of wait. Shared by those who wait in one place: one of them looks, the others sleep.
#[derive(Debug)]
pub struct Eagerness {
    longest: Duration,
    /// The last wait was a short one.
    is_worthwhile: AtomicBool,
    is_looking: AtomicBool,
}

impl Eagerness {
    /// Looks for `longest` at most, if the wait before took no longer than that.
    pub const fn new(longest: Duration) -> Self {
        Self { longest, is_worthwhile: AtomicBool::new(false), is_looking: AtomicBool::new(false) }
    }

    /// The future's output. Between two looks every other task of this thread has its turn.
    pub async fn wait<Awaited: Future>(&self, future: Awaited) -> Awaited::Output {
        let mut future = pin!(future);
        if let std::task::Poll::Ready(output) = futures::poll!(future.as_mut()) {
            return output;
        }
        let Some(look) = self.begin() else { return future.await };
        while look.goes_on() {
            // The runtime asks the kernel for events, without sleeping, before it comes back here.
            tokio::task::yield_now().await;
            if let std::task::Poll::Ready(output) = futures::poll!(future.as_mut()) {
                return output;
            }
        }
        future.await
    }

    fn begin(&self) -> Option<Look<'_>> {
        let is_looking = !self.is_looking.swap(true, Ordering::Acquire);
        is_looking.then(|| Look {
            eagerness: self,
            begun: Instant::now(),
            is_worthwhile: self.is_worthwhile.load(Ordering::Relaxed),
        })
    }
}

/// The wait of the one who looks; its end says whether the next look is worthwhile.
struct Look<'e> {
    eagerness: &'e Eagerness,
    begun: Instant,
    is_worthwhile: bool,
}

impl Look<'_> {
    /// Lets other threads run, and says whether to look again.
    fn goes_on(&self) -> bool {
        if !self.is_worthwhile || self.begun.elapsed() >= self.eagerness.longest {
            return false;
        }
        let before = Instant::now();
        std::thread::yield_now();
        before.elapsed() < WANTED_BY_OTHERS
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let is_worthwhile = self.begun.elapsed() <= self.eagerness.longest;
        self.eagerness.is_worthwhile.store(is_worthwhile, Ordering::Relaxed);
        self.eagerness.is_looking.store(false, Ordering::Release);
    }
}
