//! Makes configmaps one by one, and deletes every third again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::kubectl::Kubectl;
use crate::clients::Pulse;
use crate::faults::Monitor;
use crate::{Error, Result};

/// Something is wrong when one write is refused for so long: no fault lasts half of it.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

pub struct Writer {
    kubectl: Kubectl,
    stop: Arc<AtomicBool>,
    monitor: Monitor,
    pulse: Arc<Pulse>,
    written: Written,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Written {
    /// All that was ever made.
    pub made: BTreeSet<String>,
    /// What must be there in the end, and nothing else.
    pub present: BTreeSet<String>,
    pub answered: usize,
    /// Attempts; each was made again until it was answered.
    pub refused: usize,
}

impl Writer {
    pub fn new(kubectl: Kubectl, stop: Arc<AtomicBool>, monitor: Monitor, pulse: Arc<Pulse>) -> Self {
        Self { kubectl, stop, monitor, pulse, written: Written::default() }
    }

    pub fn run(mut self) -> Result<Written> {
        for number in 0.. {
            if self.stop.load(Ordering::Acquire) {
                break;
            }
            let name = format!("c{number}");
            self.until_done(&["create", "configmap", &name], "already exists")?;
            self.written.made.insert(name.clone());
            self.written.present.insert(name);
            if number % 3 == 2 {
                let earlier = format!("c{}", number - 2);
                self.until_done(&["delete", "configmap", &earlier], "not found")?;
                self.written.present.remove(&earlier);
            }
        }
        Ok(self.written)
    }

    /// An attempt that was refused may have been carried out. kubectl makes some of them itself.
    fn until_done(&mut self, words: &[&str], done_before: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(told) = self.kubectl.attempt(words, "")? {
            if told.contains(done_before) {
                break;
            }
            if Instant::now() > deadline {
                return Err(Error::new(format!("kubectl {}: {told}", words.join(" "))));
            }
            self.written.refused += 1;
            std::thread::sleep(PAUSE);
        }
        self.written.answered += 1;
        self.pulse.acknowledged(self.monitor.newest().term);
        Ok(())
    }
}
