//! Images made of what Debian installed: a program, the libraries that it loads, and a configuration.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Result, run};

/// An image of one layer, ready to be pushed.
pub struct Image {
    pub layer: Vec<u8>,
    pub configuration: Vec<u8>,
    pub manifest: Vec<u8>,
}

const CONFIGURATION_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

impl Image {
    /// `process` holds the image configuration's `config`: Cmd, Entrypoint, Env, ExposedPorts, ...
    fn new(layer: Vec<u8>, process: Value) -> Result<Self> {
        let configuration = serde_json::to_vec(&json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": process,
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": { "mediaType": CONFIGURATION_TYPE, "digest": digest(&configuration), "size": configuration.len() },
            "layers": [{ "mediaType": LAYER_TYPE, "digest": digest(&layer), "size": layer.len() }],
        }))?;
        Ok(Self { layer, configuration, manifest })
    }
}

pub fn digest(content: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The static busybox with its applets in /bin: a shell and the usual tools.
pub fn busybox() -> Result<Image> {
    let mut root = Root::new();
    root.file("bin/busybox", &fs::read("/bin/busybox")?, 0o755)?;
    for applet in run("/bin/busybox", &["--list"], None)?.stdout.lines().filter(|applet| *applet != "busybox") {
        root.link(&format!("bin/{applet}"), "busybox")?;
    }
    root.skeleton()?;
    Image::new(root.finish()?, json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"] }))
}

/// Debian's nginx on port 80, which answers with `greeting`.
pub fn nginx(greeting: &str) -> Result<Image> {
    let mut root = Root::new();
    for path in with_libraries(&["/usr/sbin/nginx"])? {
        root.copy(&path)?;
    }
    root.file("bin/busybox", &fs::read("/bin/busybox")?, 0o755)?;
    for applet in ["sh", "wget", "cat", "ls", "sleep"] {
        root.link(&format!("bin/{applet}"), "busybox")?;
    }
    root.skeleton()?;
    let configuration = "user root;\nworker_processes 1;\ndaemon off;\npid /run/nginx.pid;\nerror_log /dev/stderr notice;\n\
        events { worker_connections 64; }\n\
        http {\n  access_log /dev/stdout;\n  client_body_temp_path /tmp/body;\n  proxy_temp_path /tmp/proxy;\n\
        fastcgi_temp_path /tmp/fastcgi;\n  uwsgi_temp_path /tmp/uwsgi;\n  scgi_temp_path /tmp/scgi;\n\
        server { listen 80; location / { root /usr/share/nginx/html; index index.html; } }\n}\n";
    root.file("etc/nginx/nginx.conf", configuration.as_bytes(), 0o644)?;
    root.file("usr/share/nginx/html/index.html", format!("{greeting}\n").as_bytes(), 0o644)?;
    root.directory("var/log/nginx")?;
    root.directory("var/lib/nginx")?;
    Image::new(
        root.finish()?,
        json!({
            "Entrypoint": ["/usr/sbin/nginx"],
            "Cmd": ["-c", "/etc/nginx/nginx.conf"],
            "Env": ["PATH=/usr/sbin:/bin"],
            "ExposedPorts": { "80/tcp": {} },
            "StopSignal": "SIGQUIT",
        }),
    )
}

/// A root file system in the making.
struct Root {
    archive: tar::Builder<Vec<u8>>,
    made: BTreeSet<PathBuf>,
}

impl Root {
    fn new() -> Self {
        Self { archive: tar::Builder::new(Vec::new()), made: BTreeSet::new() }
    }

    fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        let mut whole = PathBuf::new();
        for part in Path::new(path).components() {
            whole.push(part);
            if self.made.insert(whole.clone()) {
                let mode = if whole.ends_with("tmp") { 0o1777 } else { 0o755 };
                let mut header = Self::header(tar::EntryType::Directory, mode);
                header.set_size(0);
                self.archive.append_data(&mut header, &whole, std::io::empty())?;
            }
        }
        Ok(())
    }

    fn parent_of(&mut self, path: &str) -> Result<()> {
        match Path::new(path).parent().and_then(Path::to_str) {
            Some(parent) if !parent.is_empty() => self.directory(parent),
            _ => Ok(()),
        }
    }

    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        self.parent_of(path)?;
        let mut header = Self::header(tar::EntryType::Regular, mode);
        header.set_size(content.len() as u64);
        Ok(self.archive.append_data(&mut header, path, content)?)
    }

    fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.parent_of(path)?;
        let mut header = Self::header(tar::EntryType::Symlink, 0o777);
        header.set_size(0);
        Ok(self.archive.append_link(&mut header, path, target)?)
    }

    /// A file of this machine, at the same place.
    fn copy(&mut self, path: &Path) -> Result<()> {
        let content = fs::read(path)?;
        let place = path.strip_prefix("/")?.to_str().ok_or("library paths are text")?.to_owned();
        self.file(&place, &content, 0o755)
    }

    /// What programs expect of a root file system.
    fn skeleton(&mut self) -> Result<()> {
        for directory in ["tmp", "run", "proc", "sys", "dev", "root", "etc"] {
            self.directory(directory)?;
        }
        self.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644)?;
        self.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
    }

    fn finish(self) -> Result<Vec<u8>> {
        Ok(self.archive.into_inner()?)
    }
}

/// Programs and every library that the loader would load for them.
fn with_libraries(programs: &[&str]) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for program in programs {
        files.insert(PathBuf::from(program));
        for line in run("ldd", &[program], None)?.stdout.lines() {
            if let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) {
                files.insert(PathBuf::from(library));
            }
        }
    }
    Ok(files)
}
