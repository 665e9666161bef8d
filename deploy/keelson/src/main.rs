//! `keelson`: makes, stops, shows and explains a cluster on this machine.

mod api;
mod cluster;
mod containerd;
mod down;
mod error;
mod files;
mod kubeconfig;
mod layout;
mod machine;
mod network;
mod pki;
mod plan;
mod progress;
mod slot;
mod status;
mod store;
mod supervisor;
mod trace;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::layout::Layout;

#[derive(Parser)]
#[command(name = "keelson", version, about = "Makes, stops, shows and explains a Keelson cluster on this machine")]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Args)]
struct Place {
    /// Directory below which all of the cluster's files lie; several clusters live side by side in different ones
    #[arg(long, value_name = "DIR", default_value = "/", env = "KEELSON_ROOT", global = true)]
    root: PathBuf,
}

#[derive(Subcommand)]
enum Action {
    /// Start the cluster; the first time, make it. Can be run again at any time: it takes up what is there
    Up {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        options: up::Options,
    },
    /// Stop the cluster's processes and containers, and keep its data
    Down {
        #[command(flatten)]
        place: Place,
        /// Remove every trace of the cluster too: data, mounts, namespaces, cgroups, links, nft tables
        #[arg(long)]
        purge: bool,
    },
    /// Show processes, store members, nodes and versions
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Draw the timeline of what made an object: from the request through the store, the controllers and the scheduler
    /// to running containers
    Trace {
        #[command(flatten)]
        place: Place,
        /// KIND/NAME, such as deployment/test-nginx
        object: String,
        /// Namespace of the object
        #[arg(short, long, default_value = "default")]
        namespace: String,
    },
    /// Look after the Raft store: members, backups, recovery
    Store {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        endpoints: store::Endpoints,
        #[command(subcommand)]
        action: store::Action,
    },
    /// Run the supervisor in the foreground (`up` starts it in the background)
    #[command(hide = true)]
    Supervise {
        #[command(flatten)]
        place: Place,
    },
}

fn main() -> ExitCode {
    let command = Command::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("keelson: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(act(command.action)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keelson: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn act(action: Action) -> error::Result<()> {
    let layout = |place: Place| match std::path::absolute(&place.root) {
        Ok(root) => Ok(Layout::new(root)),
        Err(error) => Err(error::Error::file("use", &place.root, error)),
    };
    match action {
        Action::Up { place, options } => up::up(&layout(place)?, options).await,
        Action::Down { place, purge } => down::down(&layout(place)?, purge).await,
        Action::Status { place } => status::status(&layout(place)?).await,
        Action::Trace { place, object, namespace } => trace::trace(&layout(place)?, &object, &namespace).await,
        Action::Store { place, endpoints, action } => store::act(&layout(place)?, endpoints, action).await,
        Action::Supervise { place } => {
            let telemetry = keelson_process::TelemetryOptions::default();
            let _telemetry = keelson_process::telemetry::start("supervisor", &telemetry)
                .map_err(|error| error::Error::tried("start logging", error))?;
            supervisor::run(layout(place)?, machine::facts()).await
        }
    }
}
