//! One containerd a node: its own root, state, sockets and runc state, so that several live side by side.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::layout::Layout;

pub fn configuration_file(layout: &Layout, node: &str) -> PathBuf {
    layout.configuration().join(format!("containerd-{node}.toml"))
}

/// Writes the daemon's configuration. The node agent drives containerd itself, so its CRI is off, which saves memory.
pub fn write_configuration(layout: &Layout, node: &str) -> Result<()> {
    let state = layout.node_state(node);
    let runtime = layout.node_runtime(node);
    crate::files::directory(&state, 0o711)?;
    crate::files::directory(&runtime, 0o711)?;
    let text = format!(
        r#"# Written by keelson up: changes are lost.
version = 2
root = {root}
state = {run}
oom_score = 0
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = {socket}

[ttrpc]
  address = {ttrpc}

[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "1s"
"#,
        root = quoted(&state.join("containerd")),
        run = quoted(&runtime.join("containerd")),
        socket = quoted(&layout.containerd_socket(node)),
        ttrpc = quoted(&runtime.join("containerd.ttrpc.sock")),
    );
    crate::files::write(&configuration_file(layout, node), text.as_bytes(), 0o644)
}

/// A TOML basic string.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
