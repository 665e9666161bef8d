//! Progress of long work, a line a step, with the time that it took.

use std::io::Write;
use std::time::Instant;

pub struct Progress {
    step: u32,
    steps: u32,
}

impl Progress {
    pub fn new(steps: u32) -> Self {
        Self { step: 0, steps }
    }

    /// Announces a step, does it, and says how long it took.
    pub async fn step<Done, Failure>(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<Done, Failure>>,
    ) -> Result<Done, Failure> {
        self.step += 1;
        let mut out = std::io::stdout();
        let _ = write!(out, "[{}/{}] {what} ... ", self.step, self.steps);
        let _ = out.flush();
        let start = Instant::now();
        let outcome = work.await;
        match &outcome {
            Ok(_) => println!("ok ({:.1} s)", start.elapsed().as_secs_f32()),
            Err(_) => println!("failed"),
        }
        outcome
    }
}
