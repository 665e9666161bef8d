//! `status.nodeInfo`.

use k8s_openapi::api::core::v1::NodeSystemInfo;

/// The Kubernetes version that this agent behaves as.
pub const KUBELET_VERSION: &str = concat!("v1.36.0+keelson-", env!("CARGO_PKG_VERSION"));

/// `container_runtime` is `containerd://1.6.20` and the like.
pub fn read(container_runtime: String) -> NodeSystemInfo {
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: container_runtime,
        kernel_version: line("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        machine_id: line("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image: os_image(&line("/etc/os-release")),
        swap: None,
        system_uuid: line("/sys/class/dmi/id/product_uuid"),
    }
}

/// In Go's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn os_image(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Unknown".to_owned(), |name| name.trim_matches('"').to_owned())
}
