//! The world that all scenarios of a run share.

use super::life_cycle;
use crate::harness::{
    Cluster, Collector, Image, Kubectl, MACHINE_ADDRESS, Network, Registry, Result, Shape, busybox, eventually, nginx,
};

/// What most scenarios run on.
const THREE_NODES: Shape = Shape { nodes: 3, members: 3, network: Network::Namespaces };
const REGISTRY_PORT: u16 = 5000;

pub struct World {
    // Fields are dropped in this order: the registry stands on the cluster's bridge.
    registry: Option<Registry>,
    pub cluster: Cluster,
    pub shape: Shape,
    /// Flags beyond those that every cluster under test has.
    pub own_flags: Vec<String>,
    /// Gets the spans of all processes, where the scenario wants one.
    pub collector: Option<Collector>,
    _directory: tempfile::TempDir,
}

impl World {
    /// A place for a cluster; the scenario `up` makes it.
    pub fn prepare() -> Result<Self> {
        Self::of(THREE_NODES)
    }

    pub fn of(shape: Shape) -> Result<Self> {
        // A short path, since sockets lie below it.
        let directory = tempfile::Builder::new().prefix("keelson-e2e-").tempdir_in("/tmp")?;
        let cluster = Cluster::at(directory.path())?;
        Ok(Self { registry: None, cluster, shape, own_flags: Vec::new(), collector: None, _directory: directory })
    }

    /// The flags of the cluster's processes.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = life_cycle::test_flags();
        flags.extend(self.own_flags.iter().cloned());
        if let Some(collector) = &self.collector {
            let processes = ["raftstore", "apiserver", "controllers", "scheduler", "nodeagent"];
            flags.extend(processes.map(|process| format!("{process}=--otlp-endpoint={}", collector.url())));
        }
        flags
    }

    pub fn kubectl(&self) -> Result<Kubectl> {
        self.cluster.kubectl()
    }

    /// A namespace of the scenario's own, whose default service account may pull from the registry.
    pub fn namespace(&self, name: &str) -> Result<Kubectl> {
        let kubectl = self.kubectl()?;
        kubectl.run(&format!("create namespace {name}"))?;
        let kubectl = kubectl.within(name);
        kubectl.run_words(&[
            "create",
            "secret",
            "docker-registry",
            "pull",
            &format!("--docker-server={}", self.registry()?.address()),
            &format!("--docker-username={}", crate::harness::REGISTRY_USER),
            &format!("--docker-password={}", crate::harness::REGISTRY_PASSWORD),
        ])?;
        eventually("the default service account", || kubectl.run("get serviceaccount default"))?;
        kubectl.run_words(&[
            "patch",
            "serviceaccount",
            "default",
            "--patch",
            r#"{"imagePullSecrets":[{"name":"pull"}]}"#,
        ])?;
        Ok(kubectl)
    }

    pub fn registry(&self) -> Result<&Registry> {
        self.registry.as_ref().ok_or_else(|| "the registry does not run: the scenario `up` starts it".into())
    }

    /// Starts the registry where the nodes reach it and fills it.
    pub fn start_registry(&mut self) -> Result<()> {
        let host = match self.shape.network {
            Network::Host => MACHINE_ADDRESS.to_owned(),
            Network::Namespaces => self.cluster.gateway()?,
        };
        let registry = Registry::start(&host, REGISTRY_PORT, &self.cluster.root().join("registry"))?;
        registry.push(&busybox()?, "busybox", "1")?;
        for version in ["1", "2"] {
            registry.push(&web(version)?, "nginx", version)?;
        }
        self.registry = Some(registry);
        Ok(())
    }

    pub fn stop_registry(&mut self) {
        self.registry = None;
    }

    /// The reference of an image in the registry.
    pub fn image(&self, name: &str) -> Result<String> {
        Ok(format!("{}/{name}", self.registry()?.address()))
    }

    /// What a failure's report shows beside the failure.
    pub fn report(&self) -> String {
        let mut text = self.cluster.log_tails();
        if let Ok(kubectl) = self.kubectl() {
            for words in ["get pods --all-namespaces --output=wide", "get events --all-namespaces"] {
                if let Ok(output) = kubectl.attempt(words, None) {
                    text.push_str(&format!("--- kubectl {words}\n{}{}\n", output.stdout, output.stderr));
                }
            }
        }
        text
    }
}

fn web(version: &str) -> Result<Image> {
    nginx(&format!("hello from version {version}"))
}
