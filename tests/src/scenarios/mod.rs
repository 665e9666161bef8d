//! What a user does, and what may happen meanwhile: each file one story.

mod bad_input;
mod faults;
mod kubectl;
mod life_cycle;
mod lost_quorum;
mod network;
mod one_node;
mod pods;
mod walk;
mod world;

pub use life_cycle::test_flags;
pub use world::World;

use crate::harness::Scenario;

/// Every scenario in its order: the first makes the cluster, `purge` removes it, and what follows makes its own.
pub fn all() -> Vec<Scenario<World>> {
    let mut scenarios = vec![Scenario { name: "up", run: life_cycle::up }];
    scenarios.extend(walk::SCENARIOS);
    scenarios.extend(kubectl::SCENARIOS);
    scenarios.extend(network::SCENARIOS);
    scenarios.extend(pods::scenarios());
    scenarios.extend(bad_input::SCENARIOS);
    scenarios.extend(faults::SCENARIOS);
    scenarios.push(Scenario { name: "down-and-up-again", run: life_cycle::down_and_up_again });
    scenarios.extend(lost_quorum::SCENARIOS);
    scenarios.push(Scenario { name: "purge", run: life_cycle::purge });
    scenarios.extend(one_node::SCENARIOS);
    scenarios
}
