//! The process.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rcgen::KeyPair;
use tokio::time::{Duration, Instant};

use super::aside;
use super::kubectl::Kubectl;
use crate::cluster::bind;
use crate::{Error, Result};

/// Nobody outside this process's network can reach it.
const TOKEN: &str = "whoever-is-in-this-network";
const PORT: u16 = 6443;
/// On a whole store it is up within seconds; a machine may be busy.
const START: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);

/// Killed when it is dropped.
pub struct ApiServer {
    child: Child,
}

impl ApiServer {
    pub fn start(program: &Path, stores: &[String], directory: &Path) -> Result<Self> {
        let file = |name: &str, content: &str| {
            let path = directory.join(name);
            std::fs::write(&path, content).map_err(|error| Error::tried("write", path.display(), error))?;
            Ok::<_, Error>(path.display().to_string())
        };
        let key = KeyPair::generate().map_err(|error| Error::tried("make", "a key", error))?;
        let public = file("service-account.pub", &key.public_key_pem())?;
        let private = file("service-account.key", &key.serialize_pem())?;
        let tokens = file("tokens.csv", &format!("{TOKEN},admin,admin,system:masters\n"))?;
        let log_file = directory.join("kube-apiserver.log");
        let failed = |error| Error::tried("open", log_file.display(), error);
        let log = File::create(&log_file).map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let mut command = Command::new(program);
        command
            .arg(format!("--etcd-servers={}", stores.join(",")))
            .arg(format!("--cert-dir={}", directory.join("certificates").display()))
            .arg(format!("--service-account-key-file={public}"))
            .arg(format!("--service-account-signing-key-file={private}"))
            .args([format!("--token-auth-file={tokens}"), format!("--secure-port={PORT}")])
            // Without a default route it finds no address itself.
            .args(["--bind-address=127.0.0.1", "--advertise-address=10.77.0.1"])
            .args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"])
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        bind(&mut command, None);
        let child = command.spawn().map_err(|error| Error::tried("start", program.display(), error))?;
        Ok(Self { child })
    }

    /// The flags with which kubectl comes in.
    pub fn way_in() -> [String; 3] {
        [
            format!("--server=https://127.0.0.1:{PORT}"),
            format!("--token={TOKEN}"),
            "--insecure-skip-tls-verify".to_owned(),
        ]
    }

    /// Waits until it says that it is ready.
    pub async fn wait_until_ready(&mut self, kubectl: &Kubectl) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            let asker = kubectl.clone();
            let told = match aside(move || asker.attempt(&["get", "--raw", "/readyz"], "")).await? {
                Ok(answer) if answer == "ok" => return Ok(()),
                Ok(told) | Err(told) => told,
            };
            if let Some(status) = self.ended() {
                return Err(Error::new(format!("the API server ended with {status}: see kube-apiserver.log")));
            }
            if Instant::now() > deadline {
                return Err(Error::new(format!("the API server does not become ready: {told}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
