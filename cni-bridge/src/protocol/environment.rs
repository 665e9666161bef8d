//! The CNI_* environment variables.

use super::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    pub fn concerns_a_container(self) -> bool {
        matches!(self, Command::Add | Command::Del | Command::Check)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub command: String,
    pub container_id: String,
    pub netns: String,
    pub interface: String,
    pub args: String,
    pub path: String,
}

impl Environment {
    pub fn from_process() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Environment {
            command: variable("CNI_COMMAND"),
            container_id: variable("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS"),
            interface: variable("CNI_IFNAME"),
            args: variable("CNI_ARGS"),
            path: variable("CNI_PATH"),
        }
    }

    pub fn command(&self) -> Result<Command, Error> {
        match self.command.as_str() {
            "ADD" => Ok(Command::Add),
            "DEL" => Ok(Command::Del),
            "CHECK" => Ok(Command::Check),
            "GC" => Ok(Command::Gc),
            "STATUS" => Ok(Command::Status),
            "VERSION" => Ok(Command::Version),
            "" => Err(Error::environment("required env variables [CNI_COMMAND] missing")),
            other => Err(Error::environment(format!("unknown CNI_COMMAND: {other}"))),
        }
    }

    /// What ADD, DEL and CHECK need; the netns may be gone by the time of DEL.
    pub fn require_container(&self, command: Command) -> Result<(), Error> {
        let mut missing = Vec::new();
        if self.container_id.is_empty() {
            missing.push("CNI_CONTAINERID");
        }
        if self.interface.is_empty() {
            missing.push("CNI_IFNAME");
        }
        if self.netns.is_empty() && command != Command::Del {
            missing.push("CNI_NETNS");
        }
        if !missing.is_empty() {
            return Err(Error::environment(format!("required env variables [{}] missing", missing.join(","))));
        }
        if !super::config::is_valid_name(&self.container_id) {
            return Err(Error::environment(format!("invalid characters in containerID {:?}", self.container_id)));
        }
        check_interface_name(&self.interface)
    }

    /// CNI_ARGS: `KEY=VALUE;KEY=VALUE`.
    pub fn args(&self) -> Result<Vec<(String, String)>, Error> {
        self.args
            .split(';')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                pair.split_once('=')
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .ok_or_else(|| Error::environment(format!("CNI_ARGS: invalid pair {pair:?}")))
            })
            .collect()
    }
}

/// The kernel's own rules for names of links.
fn check_interface_name(name: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::environment(format!("interface name {name:?} {why}")));
    if name.len() > 15 {
        return refuse("is longer than 15 characters");
    }
    if name == "." || name == ".." {
        return refuse("is . or ..");
    }
    if name.contains(['/', ':']) || name.contains(char::is_whitespace) {
        return refuse("contains / or : or whitespace characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_calls_name_what_is_missing() {
        let environment = Environment { container_id: "c".into(), ..Environment::default() };
        let error = environment.require_container(Command::Add).expect_err("incomplete");
        assert_eq!((error.code, error.message.as_str()), (4, "required env variables [CNI_IFNAME,CNI_NETNS] missing"));

        let environment = Environment { container_id: "c".into(), interface: "eth0".into(), ..Environment::default() };
        environment.require_container(Command::Del).expect("DEL needs no netns");

        for name in ["sixteen-letters-", "a/b", "..", "a b"] {
            let environment = Environment { interface: name.into(), ..environment.clone() };
            assert!(environment.require_container(Command::Del).is_err(), "{name}");
        }
    }

    #[test]
    fn args_are_pairs() {
        let environment = Environment { args: "IgnoreUnknown=1;IP=10.0.0.9".into(), ..Environment::default() };
        let args = environment.args().expect("pairs");
        assert_eq!(args[1], ("IP".to_string(), "10.0.0.9".to_string()));
        assert!(Environment { args: "nonsense".into(), ..environment }.args().is_err());
    }
}
