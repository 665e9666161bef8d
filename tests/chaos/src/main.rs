//! The program: flags, isolation, one run, its summary.

use std::process::ExitCode;

use clap::Parser as _;
use keelson_chaos::options::Options;
use keelson_chaos::plan::Plan;
use keelson_chaos::summary::Summary;
use keelson_chaos::{Error, Result, cluster, quick, run, upstream};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = if options.quick { quick::run(options.verbose) } else { judged(&options) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the run came out as it should.
fn judged(options: &Options) -> Result<bool> {
    let summary = begin(options)?;
    println!("{summary}");
    if options.expect.is_empty() {
        return Ok(summary.is_good());
    }
    let found = summary.violations.iter().any(|violation| options.expect.contains(&violation.kind));
    println!("expected          {:?}: {}", options.expect, if found { "found" } else { "NOT FOUND" });
    Ok(found)
}

fn begin(options: &Options) -> Result<Summary> {
    cluster::isolate()?;
    let failed = |error: std::io::Error| Error::tried("make", "a directory", error);
    let temporary = tempfile::Builder::new().prefix("chaos-").tempdir().map_err(failed)?;
    let directory = options.directory.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let plan = Plan::new(options);
    println!("seed {}, {} s, faults {:?}, in {}", plan.seed, plan.length.as_secs(), plan.faults, directory.display());
    // One thread: the members' lives are bound to the thread that starts them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let outcome = runtime.block_on(async {
        match &options.kube_apiserver {
            Some(program) => upstream::run(program, options, plan, &directory).await,
            None => run::run(options, plan, &directory).await,
        }
    });
    let is_good = outcome.as_ref().is_ok_and(Summary::is_good);
    if !is_good && options.expect.is_empty() && options.directory.is_none() {
        let kept = temporary.keep();
        println!("the members' logs are kept in {}", kept.display());
    }
    outcome
}
