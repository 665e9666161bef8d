//! Waiting on conditions. The limit only ends a test that would never end; no test is about time.

use std::time::{Duration, Instant};

use super::Result;

const LIMIT: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until the answer is Ok; the last refusal is the failure.
pub fn eventually<Seen>(what: &str, ask: impl FnMut() -> Result<Seen>) -> Result<Seen> {
    eventually_within(LIMIT, what, ask)
}

pub fn eventually_within<Seen>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<Seen>) -> Result<Seen> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(seen) => return Ok(seen),
            Err(error) if start.elapsed() > limit => {
                return Err(format!("{what}: not within {} s: {error}", limit.as_secs()).into());
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
