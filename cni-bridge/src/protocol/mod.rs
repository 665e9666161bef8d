//! The CNI protocol: what comes in by environment and standard input, what goes out as result or error.

mod config;
mod environment;
mod error;
mod result;
pub mod version;

pub use config::{Attachment, BridgeConfig, NetworkConfig, RangeConfig, Route};
pub use environment::{Command, Environment};
pub use error::Error;
pub use result::{CniResult, Dns, Interface, IpConfig};

/// One call, checked: what every plugin may rely on.
pub struct Request {
    pub config: NetworkConfig,
    /// The configuration as it came, for delegated IPAM plugins.
    pub input: Vec<u8>,
    pub container_id: String,
    pub interface: String,
    /// Empty where the runtime has none left (DEL only).
    pub netns: String,
    /// CNI_ARGS.
    pub args: Vec<(String, String)>,
    /// CNI_PATH, for delegated IPAM plugins.
    pub environment: Environment,
}

impl Request {
    pub fn new(
        command: Command,
        environment: &Environment,
        config: NetworkConfig,
        input: &[u8],
    ) -> Result<Self, Error> {
        if config.name.is_empty() && command != Command::Status {
            return Err(Error::config("missing network name"));
        }
        if !config.name.is_empty() && !config::is_valid_name(&config.name) {
            return Err(Error::config(format!("invalid characters found in network name {:?}", config.name)));
        }
        if command.concerns_a_container() {
            environment.require_container(command)?;
        }
        Ok(Request {
            config,
            input: input.to_vec(),
            container_id: environment.container_id.clone(),
            interface: environment.interface.clone(),
            netns: environment.netns.clone(),
            args: environment.args()?,
            environment: environment.clone(),
        })
    }

    pub fn arg(&self, name: &str) -> Option<&str> {
        self.args.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
