//! The life of a process: build the actor system, run the component, end in order.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::health::Health;
use crate::metrics::Metrics;
use crate::supervision::Arbiters;
use crate::{BoxError, Shutdown, telemetry};

/// How long a component may take to end after it was asked to, before the process leaves without it.
const GRACE: Duration = Duration::from_secs(10);

/// What a component is handed: who it is, and the frame's services. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    pub name: &'static str,
    pub version: &'static str,
    pub shutdown: Shutdown,
    pub health: Health,
    pub metrics: Metrics,
    pub(crate) arbiters: Arbiters,
}

impl Process {
    /// A process frame inside an actor system that is already running (tests host several components in one).
    /// Must be called on a thread of an actix system.
    pub fn within_system(name: &'static str, shutdown: Shutdown) -> Self {
        let metrics = Metrics::new(name);
        Self {
            name,
            version: crate::VERSION,
            shutdown,
            health: Health::new(metrics.clone()),
            arbiters: Arbiters::start(&metrics),
            metrics,
        }
    }
}

/// Runs a component to its end: `main` calls this and nothing else.
///
/// SIGTERM and SIGINT begin the shutdown; a second one ends the process at once. Exit code 0 after a shutdown that was
/// asked for, 1 after an error or a failed supervision.
pub fn main<Run, Ending, Failure>(name: &'static str, telemetry: &telemetry::Options, run: Run) -> ExitCode
where
    Run: FnOnce(Process) -> Ending,
    Ending: Future<Output = Result<(), Failure>>,
    Failure: Into<BoxError>,
{
    use_small_pages();
    identity_provider();
    let system = actix::System::with_tokio_rt(runtime);
    system.block_on(async {
        let telemetry = match telemetry::start(name, telemetry) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("{name}: cannot start telemetry: {error}");
                return ExitCode::FAILURE;
            }
        };
        let process = Process::within_system(name, Shutdown::new());
        let outcome = match listen_for_signals(&process.shutdown) {
            Ok(()) => until_ended(run(process.clone()), &process.shutdown).await,
            Err(error) => Err(error),
        };
        let code = match (outcome, process.shutdown.failure()) {
            (Err(error), _) => {
                tracing::error!(error = %Causes(error.as_ref()), "{name} failed");
                ExitCode::FAILURE
            }
            (Ok(()), Some(cause)) => {
                tracing::error!(cause, "{name} gave up");
                ExitCode::FAILURE
            }
            (Ok(()), None) => ExitCode::SUCCESS,
        };
        telemetry.finish();
        code
    })
}

/// Caches and databases touch their buffers here and there; with transparent huge pages each touch would keep two
/// megabytes resident.
fn use_small_pages() {
    // SAFETY: the call takes plain numbers and concerns this process alone. If the kernel refuses, memory is larger.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// The multi-thread runtime of a process: a worker for each two cores, but no more than eight. The processes of a control
/// plane share the machine, and what one worker does for itself costs no wake-up of another.
fn runtime() -> tokio::runtime::Runtime {
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, 8));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .expect("the kernel gives a process its first threads")
}

/// One crypto provider for the whole process: aws-lc-rs.
pub(crate) fn identity_provider() {
    // An error only says that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn listen_for_signals(shutdown: &Shutdown) -> Result<(), BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        for times in 0.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if times > 0 {
                std::process::exit(130);
            }
            tracing::info!("asked to stop");
            shutdown.begin();
        }
    });
    Ok(())
}

async fn until_ended<Ending, Failure>(run: Ending, shutdown: &Shutdown) -> Result<(), BoxError>
where
    Ending: Future<Output = Result<(), Failure>>,
    Failure: Into<BoxError>,
{
    let late = async {
        shutdown.begun().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        outcome = run => outcome.map_err(Into::into),
        () = late => {
            tracing::warn!(grace_seconds = GRACE.as_secs(), "did not end in time, leaving");
            Ok(())
        }
    }
}

/// An error with the errors that caused it, in one line.
struct Causes<'a>(&'a (dyn std::error::Error + 'static));

impl Display for Causes<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut said = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors already repeat their source.
            if !said.contains(&text) {
                write!(formatter, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}
