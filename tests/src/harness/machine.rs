//! A machine of a test's own, as far as the network goes: a namespace with loopback, one link and a default route.
//!
//! What a program there does to the network (bridges, routes, nft tables, sysctls) touches nothing outside, and is gone
//! with the last process in it. Namespaces belong to threads: the work runs on a thread of its own, and every process
//! that it starts is born in there.

use nix::sched::{CloneFlags, unshare};

use super::{Result, run};

/// The machine's address on its only link: of the block for tests between networks (RFC 2544).
pub const MACHINE_ADDRESS: &str = "198.18.0.2";

/// What `ip` is told to make the link: its other end stays beside it and plays the outside.
const LINKS: [&str; 6] = [
    "link set lo up",
    "link add eth0 type veth peer name outside",
    "addr add 198.18.0.2/24 dev eth0",
    "link set outside up",
    "link set eth0 up",
    "route add default via 198.18.0.1",
];

/// Runs the work on a machine of its own and returns what it returned.
pub fn on_a_machine_of_its_own(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("make a network namespace: {error}"))?;
            for link in LINKS {
                let words: Vec<_> = link.split(' ').collect();
                let output = run("ip", &words, None)?;
                if !output.succeeded() {
                    return Err(format!("ip {link}: {}", output.stderr).into());
                }
            }
            work()
        });
        thread.join().unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            Err(said.unwrap_or_else(|| "panicked".to_owned()).into())
        })
    })
}
