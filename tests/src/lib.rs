//! What the tests that cross processes share: a cluster of real processes, real containers, a real registry, kubectl.

pub mod harness;
pub mod scenarios;
