//! What happened, as one number: two runs of a seed are the same if it is. And the last lines of it, to read.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};

const LINES: usize = 400;

pub struct Trace {
    hash: DefaultHasher,
    pub events: u64,
    lines: VecDeque<String>,
    /// Every line goes to the terminal.
    pub loud: bool,
}

impl Trace {
    pub fn new(loud: bool) -> Self {
        Self { hash: DefaultHasher::new(), events: 0, lines: VecDeque::new(), loud }
    }

    pub fn mix(&mut self, bytes: &[u8]) {
        self.hash.write(bytes);
    }

    pub fn say(&mut self, now: u64, line: &str) {
        self.mix(&now.to_le_bytes());
        self.mix(line.as_bytes());
        self.events += 1;
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        let line = format!("{now:>7} {line}");
        if self.loud {
            eprintln!("{line}");
        }
        self.lines.push_back(line);
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn tail(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
