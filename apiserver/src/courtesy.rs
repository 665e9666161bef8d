//! Leaving the processor to whoever was woken by what a thread has just done.
//!
//! On a machine with few processors those wait behind the thread that woke them, until it sleeps: readers of a watch until
//! all others are written to, a worker with a hundred of them until controllers are told. Where nobody waits it costs a
//! system call.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// A processor that comes back later than this was not taken by those who were woken.
const HELD_BY_OTHERS: Duration = Duration::from_millis(1);
/// So long nothing is left to whoever held it: a machine that is busy with other work takes what it needs anyway.
const GRUDGE: Duration = Duration::from_millis(100);

thread_local! {
    /// Until when this thread gives no way.
    static WITHHELD: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Lets other threads run that wait for this processor, as long as that takes little time, and not again within `pause`.
pub fn give_way(pause: Duration) {
    let begun = Instant::now();
    if WITHHELD.get().is_some_and(|until| begun < until) {
        return;
    }
    std::thread::yield_now();
    let now = Instant::now();
    WITHHELD.set(Some(now + if now - begun > HELD_BY_OTHERS { GRUDGE } else { pause }));
}
