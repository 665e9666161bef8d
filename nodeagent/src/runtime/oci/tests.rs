//! Whole specifications, as runc reads them.

use std::path::PathBuf;
use std::time::SystemTime;

use super::*;
use crate::runtime::image::Execution;
use crate::runtime::{Mount, PodIdentity, Resources, Security};

fn image() -> Unpacked {
    let execution = Execution { entrypoint: vec!["/app".into()], working_dir: "/srv".into(), ..Execution::default() };
    Unpacked { config_digest: String::new(), chain_id: String::new(), execution, size: 0 }
}

fn limits() -> HostLimits {
    HostLimits { capabilities: capabilities::all(), lowest_oom_score_adj: 0 }
}

fn sandbox_state() -> Sandbox {
    Sandbox {
        id: "sand".into(),
        pod: PodIdentity::default(),
        attempt: 0,
        ready: true,
        created_at: SystemTime::UNIX_EPOCH,
        ips: Vec::new(),
        netns: None,
        pid: 77,
        cgroup_parent: "/keelson/pod1".into(),
        annotations: Default::default(),
        directory: "/pods/1".into(),
        host_network: false,
        host_pid: false,
        host_ipc: false,
        share_process_namespace: false,
        hostname: "web".into(),
    }
}

fn built(spec: &ContainerSpec, sandbox: &Sandbox) -> serde_json::Value {
    let built = container(&ContainerInput {
        id: "cont",
        spec,
        sandbox,
        image: &image(),
        root: &RootFs::default(),
        limits: &limits(),
        shared_memory: Path::new("/run/shm/sand"),
        termination_message: Some(("/dev/termination-log", Path::new("/pods/1/log"))),
        unified_cgroups: false,
    })
    .expect("a specification");
    serde_json::to_value(built).expect("JSON")
}

fn mounted<'a>(spec: &'a serde_json::Value, destination: &str) -> Option<&'a serde_json::Value> {
    spec["mounts"].as_array().expect("mounts").iter().find(|mount| mount["destination"] == destination)
}

fn namespace_path<'a>(spec: &'a serde_json::Value, kind: &str) -> Option<&'a serde_json::Value> {
    spec["linux"]["namespaces"].as_array().expect("namespaces").iter().find(|one| one["type"] == kind)
}

#[test]
fn a_container_joins_its_sandbox() {
    let spec = ContainerSpec {
        resources: Resources { memory_limit: Some(1 << 20), cpu_shares: Some(512), ..Resources::default() },
        oom_score_adj: -500,
        ..ContainerSpec::default()
    };
    let built = built(&spec, &sandbox_state());
    assert_eq!(built["linux"]["cgroupsPath"], "/keelson/pod1/cont");
    assert_eq!(built["linux"]["resources"]["memory"]["limit"], 1 << 20);
    assert_eq!(built["linux"]["resources"]["cpu"]["shares"], 512);
    assert_eq!(built["linux"]["resources"]["devices"][0]["allow"], false);
    assert_eq!(namespace_path(&built, "network").expect("network")["path"], "/proc/77/ns/net");
    assert!(namespace_path(&built, "pid").expect("pid").get("path").is_none());
    assert_eq!(built["annotations"][GROUP], "sand");
    assert_eq!(built["process"]["args"][0], "/app");
    assert_eq!(built["process"]["cwd"], "/srv");
    assert_eq!(built["process"]["oomScoreAdj"], 0, "clamped to what the host allows");
    assert!(built["process"].get("rlimits").is_none_or(|limits| limits.as_array().is_some_and(Vec::is_empty)));
    assert_eq!(mounted(&built, "/etc/hosts").expect("hosts")["source"], "/pods/1/etc-hosts");
    assert_eq!(mounted(&built, "/dev/shm").expect("shm")["source"], "/run/shm/sand");
    assert!(mounted(&built, "/dev/termination-log").is_some());
    assert!(built["linux"].get("seccomp").is_none());
}

#[test]
fn sharing_and_host_namespaces() {
    let shared = Sandbox { share_process_namespace: true, ..sandbox_state() };
    let of_shared = built(&ContainerSpec::default(), &shared);
    assert_eq!(namespace_path(&of_shared, "pid").expect("pid")["path"], "/proc/77/ns/pid");
    let host = Sandbox { host_ipc: true, ..sandbox_state() };
    assert_eq!(mounted(&built(&ContainerSpec::default(), &host), "/dev/shm").expect("shm")["source"], "/dev/shm");
}

#[test]
fn privileged_sees_the_host() {
    let security = Security { privileged: true, ..Security::default() };
    let built = built(&ContainerSpec { security, ..ContainerSpec::default() }, &sandbox_state());
    assert_eq!(built["linux"]["resources"]["devices"][0]["allow"], true);
    assert!(built["linux"]["maskedPaths"].as_array().is_none_or(Vec::is_empty));
    let options = mounted(&built, "/sys").expect("sys")["options"].as_array().expect("options").clone();
    assert!(options.contains(&"rw".into()));
}

#[test]
fn mounts_of_the_pod_win_and_nest() {
    let at = |destination: &str| Mount {
        source: "/data".into(),
        destination: PathBuf::from(destination),
        ..Mount::default()
    };
    let spec = ContainerSpec { mounts: vec![at("/a/b"), at("/etc/hosts"), at("/a")], ..ContainerSpec::default() };
    let built = built(&spec, &sandbox_state());
    assert_eq!(mounted(&built, "/etc/hosts").expect("hosts")["source"], "/data");
    let order: Vec<&str> = built["mounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .filter(|mount| mount["source"] == "/data")
        .filter_map(|mount| mount["destination"].as_str())
        .collect();
    assert_eq!(order, ["/a", "/a/b", "/etc/hosts"]);
}

#[test]
fn a_sandbox_holds_the_pods_namespaces() {
    let spec = SandboxSpec { hostname: "web".into(), cgroup_parent: "/k/p".into(), ..SandboxSpec::default() };
    let netns = Path::new("/run/netns/x");
    let (image, limits) = (image(), limits());
    let build = |spec: &SandboxSpec| {
        let input = SandboxInput { id: "sand", spec, netns: Some(netns), image: &image, limits: &limits };
        serde_json::to_value(sandbox(&input).expect("a specification")).expect("JSON")
    };
    let own = build(&spec);
    assert_eq!(own["hostname"], "web");
    assert_eq!(namespace_path(&own, "network").expect("network")["path"], "/run/netns/x");
    assert_eq!(own["root"]["readonly"], true);

    let host = build(&SandboxSpec { host_network: true, host_pid: true, ..spec });
    assert!(namespace_path(&host, "network").is_none() && namespace_path(&host, "pid").is_none());
    assert!(host.get("hostname").is_none());
}
