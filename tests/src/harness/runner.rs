//! Runs scenarios one after the other and tells how each went.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use super::Result;

/// One end-to-end test on a world that all of a run share.
pub struct Scenario<World> {
    pub name: &'static str,
    pub run: fn(&mut World) -> Result<()>,
}

/// Runs those scenarios whose name contains one of the words (all, without words), and prints the sum in one line.
pub fn run_all<World>(
    world: &mut World,
    scenarios: &[Scenario<World>],
    words: &[String],
    on_failure: impl Fn(&World) -> String,
) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for scenario in scenarios {
        if !words.is_empty() && !words.iter().any(|word| scenario.name.contains(word.as_str())) {
            skipped += 1;
            continue;
        }
        println!("---- {}", scenario.name);
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.run)(world))).unwrap_or_else(|panic| {
            Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panicked".to_owned()).into())
        });
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("PASS {} ({seconds:.1} s)", scenario.name);
            }
            Err(error) => {
                failed += 1;
                println!("FAIL {} ({seconds:.1} s): {error}\n{}", scenario.name, on_failure(world));
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
