//! A node of the test's own: its own containerd, CNI configuration, network namespace and directories.

#![allow(dead_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nodeagent::runtime::{Container, ContainerSpec, DnsConfig, Options, PodIdentity, Runtime, Sandbox, SandboxSpec};
use serde_json::json;
use sha2::Digest;

pub const IMAGE: &str = "keelson.test/busybox:1";
/// How long anything may take on a slow, busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Node {
    pub directory: tempfile::TempDir,
    pub cgroup_root: String,
    /// Told apart from the other nodes of this process, and of other test processes.
    number: u32,
    containerd: Option<Child>,
}

impl Node {
    /// Needs root, containerd, runc and busybox-static.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("keelson-runtime-").tempdir().expect("directory");
        let name = directory.path().file_name().expect("name").to_string_lossy().into_owned();
        static NODES: AtomicU32 = AtomicU32::new(0);
        let number = std::process::id() * 16 + NODES.fetch_add(1, Ordering::Relaxed);
        let mut node = Node { directory, cgroup_root: format!("/{name}"), number, containerd: None };
        node.write_containerd_config();
        node.write_network();
        node.start_containerd();
        node.import_image();
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    fn write_containerd_config(&self) {
        let path = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n",
            path("root"),
            path("state"),
            path("containerd.sock"),
            path("containerd.ttrpc"),
            path("opt"),
        );
        fs::write(self.path("containerd.toml"), config).expect("write");
    }

    /// The project's own plugin where it is built, Debian's otherwise; a bridge that no other test has.
    fn write_network(&self) {
        fs::create_dir(self.path("net.d")).expect("directory");
        let number = self.number % (40 * 250);
        let subnet = format!("10.{}.{}.0/24", 200 + number / 250, number % 250);
        let config = json!({
            "cniVersion": "1.0.0", "name": "test", "type": "bridge", "bridge": self.bridge(),
            "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.path("ipam"),
                "ranges": [[{ "subnet": subnet }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        fs::write(self.path("net.d/10-test.conf"), config.to_string()).expect("write");
    }

    fn bridge(&self) -> String {
        format!("rt{}", self.number)
    }

    pub fn start_containerd(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("containerd.log")).expect("log");
        let child = Command::new("containerd")
            .arg("--config")
            .arg(self.path("containerd.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("start containerd");
        self.containerd = Some(child);
        until("containerd answers", || self.ctr(&["version"]).is_ok());
    }

    pub fn kill_containerd(&mut self) {
        if let Some(mut child) = self.containerd.take() {
            child.kill().expect("kill containerd");
            child.wait().expect("wait for containerd");
        }
    }

    pub fn ctr(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .output()
            .expect("run ctr");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    fn import_image(&self) {
        let archive = self.path("image.tar");
        fs::write(&archive, busybox().archive(IMAGE)).expect("write");
        self.ctr(&["images", "import", "--no-unpack", &archive.display().to_string()])
            .or_else(|_| self.ctr(&["images", "import", &archive.display().to_string()]))
            .expect("import the image");
    }

    pub fn options(&self) -> Options {
        let plugins = std::env::current_exe()
            .ok()
            .and_then(|test| Some(test.parent()?.parent()?.join("cni-bridge")))
            .filter(|plugin| plugin.is_file());
        let directory = self.path("cni-bin");
        if let Some(plugin) = plugins {
            fs::create_dir_all(&directory).expect("directory");
            let _ = std::os::unix::fs::symlink(plugin, directory.join("bridge"));
        }
        Options {
            endpoint: self.socket(),
            runc_root: Some(self.path("runc")),
            data_dir: self.path("data"),
            state_dir: self.path("run"),
            log_dir: self.path("logs"),
            cni_conf_dir: self.path("net.d"),
            cni_bin_dirs: vec![directory, "/usr/lib/cni".into()],
            cni_cache_dir: self.path("cni-cache"),
            ..Options::default()
        }
    }

    pub async fn connect(&self) -> Runtime {
        Runtime::connect(self.options()).await.expect("connect to containerd")
    }

    pub fn sandbox_spec(&self, name: &str) -> SandboxSpec {
        SandboxSpec {
            pod: PodIdentity { namespace: "default".into(), name: name.into(), uid: format!("uid-{name}") },
            cgroup_parent: format!("{}/burstable/poduid-{name}", self.cgroup_root),
            hostname: name.into(),
            dns: DnsConfig {
                servers: vec!["10.96.0.10".into()],
                searches: vec!["default.svc.cluster.local".into()],
                options: vec!["ndots:5".into()],
            },
            directory: self.path("pods").join(name),
            ..SandboxSpec::default()
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A test that failed half way leaves shims: those of this containerd alone are ended.
        let address = self.socket().display().to_string();
        for shim in shims(&address) {
            let children = fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
                kill(child);
            }
            kill(shim);
        }
        if let Some(mut child) = self.containerd.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let prefix = self.directory.path().display().to_string();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if mount.starts_with(&prefix) {
                let _ = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        let _ = Command::new("ip").args(["link", "delete", &self.bridge()]).stderr(Stdio::null()).status();
        for root in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            remove_groups(&root.path().join(self.cgroup_root.trim_start_matches('/')));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(self.cgroup_root.trim_start_matches('/')));
    }
}

fn remove_groups(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

fn kill(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
}

/// Processes of shims that serve the containerd at `address`.
pub fn shims(address: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command);
        if command.contains("containerd-shim-runc-v2") && command.contains(address) {
            found.push(pid);
        }
    }
    found
}

pub fn container_spec(name: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.into(),
        image: IMAGE.into(),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        termination_message_path: Some("/dev/termination-log".into()),
        spec_hash: "hash".into(),
        ..ContainerSpec::default()
    }
}

pub async fn run(runtime: &Runtime, sandbox: &Sandbox, spec: &ContainerSpec) -> Container {
    let container = runtime.create_container(sandbox, spec).await.expect("create container");
    runtime.start_container(&container.id).await.expect("start container")
}

pub async fn exited(runtime: &Runtime, id: &str) -> Container {
    let mut events = runtime.events();
    tokio::time::timeout(PATIENCE, async {
        loop {
            let container = runtime.container(id).await.expect("state").expect("the container is known");
            if container.exit().is_some() {
                return container;
            }
            events.recv().await.expect("events go on");
        }
    })
    .await
    .expect("the container ends")
}

/// Looks again and again until it is so.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not so in time: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The text of a log, without times and tags.
pub fn log_text(container: &Container) -> String {
    let text = fs::read_to_string(&container.log_path).unwrap_or_default();
    text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(|line| format!("{line}\n")).collect()
}

/// An image: one layer with busybox, a config and a manifest.
pub struct TestImage {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

pub fn digest(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(data)))
}

pub fn busybox() -> TestImage {
    let program = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, data: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, data).expect("append");
    };
    add("bin/busybox", &program, 0o755);
    add("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/:/bin/sh\n", 0o644);
    add("etc/group", b"root:x:0:\nweb:x:102:\n", 0o644);
    let applets = [
        "sh", "sleep", "cat", "echo", "id", "ls", "env", "kill", "seq", "dd", "hostname", "wget", "nc", "ps", "head",
        "tail", "mkdir", "ip", "stty", "trap", "true", "false", "touch", "grep",
    ];
    for applet in applets {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("append");
    }
    let layer = archive.into_inner().expect("layer");
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["/bin/sh", "-c", "echo from the image"], "WorkingDir": "/bin",
        },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
    })
    .to_string()
    .into_bytes();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(&layer), "size": layer.len(),
        }],
    })
    .to_string()
    .into_bytes();
    TestImage { layer, config, manifest }
}

impl TestImage {
    /// As an OCI layout in a tar.
    pub fn archive(&self, name: &str) -> Vec<u8> {
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(&self.manifest), "size": self.manifest.len(),
                "annotations": { "io.containerd.image.name": name },
            }],
        })
        .to_string();
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, data: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, data).expect("append");
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        add("index.json", index.as_bytes());
        for blob in [&self.layer, &self.config, &self.manifest] {
            add(&format!("blobs/{}", digest(blob).replace(':', "/")), blob);
        }
        archive.into_inner().expect("archive")
    }
}

/// Debian's docker-registry on a port of loopback; with `htpasswd` it wants user `test`, password `secret`.
pub struct Registry {
    child: Child,
    pub host: String,
    _directory: tempfile::TempDir,
}

impl Registry {
    pub fn start(htpasswd: bool) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("port").port();
        let host = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            directory.path().join("data").display()
        );
        if htpasswd {
            let path = directory.path().join("htpasswd");
            let mut file = fs::File::create(&path).expect("htpasswd");
            writeln!(file, "test:{PASSWORD_HASH}").expect("write");
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", path.display());
        }
        let path = directory.path().join("config.yml");
        fs::write(&path, config).expect("write");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-registry");
        until("the registry listens", || std::net::TcpStream::connect(&host).is_ok());
        Registry { child, host, _directory: directory }
    }

    pub async fn push(&self, name: &str, image: &TestImage, auth: &oci_client::secrets::RegistryAuth) {
        use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
        let client =
            oci_client::Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
        let reference: oci_client::Reference = format!("{}/{name}", self.host).parse().expect("reference");
        let layer = ImageLayer::new(image.layer.clone(), "application/vnd.oci.image.layer.v1.tar".into(), None);
        let config = Config::new(image.config.clone(), "application/vnd.oci.image.config.v1+json".into(), None);
        let manifest: oci_client::manifest::OciImageManifest =
            serde_json::from_slice(&image.manifest).expect("manifest");
        client.push(&reference, &[layer], config, auth, Some(manifest)).await.expect("push");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PASSWORD_HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
