//! raftstore as a process, asked by real clients: etcdctl and gRPC.

mod bad_input;
mod clock;
mod cluster;
mod differential;
mod durability;
mod harness;
mod interoperability;
mod operators;
mod retention;
mod socket;
mod space;
mod tls;
mod watching;

/// Waits until the condition holds.
async fn harness_wait<Holds: Future<Output = bool>>(mut holds: impl FnMut() -> Holds) {
    let started = std::time::Instant::now();
    while !holds().await {
        assert!(started.elapsed() < harness::PATIENCE, "the condition does not come to hold");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
