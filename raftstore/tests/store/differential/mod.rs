//! The same requests to etcd and to raftstore, answers compared field by field.
//!
//! Debian's etcd 3.4 is the judge. What is left out of the comparison is in [`compare`], with its reason; where the two
//! differ on purpose, raftstore's README says why, and the tests here hold both sides of the difference.

mod by_hand;
mod compare;
mod generate;
mod sides;
mod twice;
mod watches;

use generate::Generator;
use sides::Pair;

/// Steps of the run that is always made.
const STEPS: u64 = 1_500;

/// Seeded requests, one after the other. A longer run: `DIFFERENTIAL_STEPS=100000 DIFFERENTIAL_SEED=7 cargo nextest run
/// -p raftstore the_same_requests`.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_requests_get_the_same_answers() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
    };
    let (steps, seed) = (number("DIFFERENTIAL_STEPS", STEPS), number("DIFFERENTIAL_SEED", 1));
    let mut pair = Pair::started().await;
    let mut generator = Generator::new(seed);
    for step in 0..steps {
        let request = generator.next();
        pair.judge(&request, &format!("seed {seed}, step {step}")).await;
        generator.heed(&pair);
    }
}
