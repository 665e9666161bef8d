//! The histograms that openraft keeps of its own batches, in two kilobytes each.
//!
//! openraft records sizes of batches with the crate `base2histogram`, whose first use builds tables for all of its sixteen
//! resolutions: 25 MB that stay resident, of which openraft uses the smallest. That is as much as all the rest of an idle
//! raftstore. This crate has the part of its interface that openraft uses: one resolution, four buckets for each power
//! of two, and no tables.

use std::fmt;
use std::marker::PhantomData;

/// Four buckets for each power of two up to 2^63, the numbers below four exactly.
const BUCKETS: usize = 252;

/// Counts of recorded numbers by their size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Made with the first number.
    counts: Vec<u64>,
    slot: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    pub fn new() -> Self {
        Self { counts: Vec::new(), slot: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    pub fn record_n(&mut self, value: u64, times: u64) {
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        let count = &mut self.counts[bucket(value)];
        *count = count.saturating_add(times);
    }

    /// How many numbers were recorded.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The lower bound of the bucket below which `part` (0 to 1) of the numbers lie.
    pub fn percentile(&self, part: f64) -> u64 {
        let wanted = (self.total() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lower_bound(bucket);
            }
        }
        0
    }

    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

fn bucket(value: u64) -> usize {
    match value.checked_ilog2() {
        None | Some(0 | 1) => value as usize,
        Some(exponent) => 4 * (exponent as usize - 1) + ((value >> (exponent - 2)) & 3) as usize,
    }
}

fn lower_bound(bucket: usize) -> u64 {
    if bucket < 4 { bucket as u64 } else { (4 + bucket as u64 % 4) << (bucket / 4 - 1) }
}

/// A histogram in nine numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} samples, median {}, p90 {}, p99 {}, p99.9 {}",
            self.samples, self.p50, self.p90, self.p99, self.p99_9
        )
    }
}

/// Several histograms, one line of text each.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    rows: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    pub fn new() -> Self {
        Self::default()
    }

    // The name is openraft's choice.
    pub fn add<T>(mut self, name: impl Into<String>, histogram: Histogram<T>) -> Self {
        self.rows.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.iter().try_for_each(|(name, stats)| writeln!(formatter, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_lies_in_the_bucket_of_its_bound() {
        let numbers = (0..5_000).chain((0..64).map(|shift| 1 << shift)).chain([u64::MAX]);
        for number in numbers {
            let bucket = bucket(number);
            assert!(bucket < BUCKETS && lower_bound(bucket) <= number, "{number}");
            assert!(bucket + 1 == BUCKETS || lower_bound(bucket + 1) > number, "{number}");
        }
    }

    #[test]
    fn percentiles_are_exact_for_small_numbers() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        for number in [1, 2, 2, 3, 7] {
            histogram.record(number);
        }
        assert_eq!((histogram.total(), histogram.percentile(0.5), histogram.percentile(1.0)), (5, 2, 7));
    }
}
