//! The OCI runtime specification of a sandbox and of a container.
//!
//! Everything here is a function of what was asked, of the image, and of what this host allows ([`HostLimits`]);
//! reading the root file system's users is the one look outside.

mod capabilities;
mod devices;
mod limits;
mod mounts;
mod process;
mod resources;
mod users;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder, Spec, SpecBuilder,
};

pub use limits::HostLimits;
pub use users::RootFs;

use super::image::Unpacked;
use super::{ContainerSpec, Error, Sandbox, SandboxSpec};

/// Containers with the same value share one shim process.
const GROUP: &str = "io.containerd.runc.v2.group";

pub struct SandboxInput<'a> {
    pub id: &'a str,
    pub spec: &'a SandboxSpec,
    pub netns: Option<&'a Path>,
    pub image: &'a Unpacked,
    pub limits: &'a HostLimits,
}

pub fn sandbox(input: &SandboxInput<'_>) -> Result<Spec, Error> {
    let spec = input.spec;
    let mut namespaces = vec![namespace(LinuxNamespaceType::Mount, None)?];
    if !spec.host_pid {
        namespaces.push(namespace(LinuxNamespaceType::Pid, None)?);
    }
    if !spec.host_ipc {
        namespaces.push(namespace(LinuxNamespaceType::Ipc, None)?);
    }
    if !spec.host_network {
        // A pod on the node's network bears the node's name.
        namespaces.push(namespace(LinuxNamespaceType::Uts, None)?);
        namespaces.push(namespace(LinuxNamespaceType::Network, input.netns)?);
    }
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(cgroup_of(&spec.cgroup_parent, input.id))
        .resources(resources::sandbox()?)
        .sysctl(spec.sysctls.clone().into_iter().collect::<HashMap<_, _>>())
        .masked_paths(mounts::masked_paths())
        .readonly_paths(mounts::readonly_paths())
        .build()
        .map_err(invalid)?;
    let process = process::sandbox(input.image, input.limits)?;
    let mut built = base(linux, process, mounts::sandbox()?, true, input.id)?;
    if !spec.host_network {
        built.set_hostname(Some(spec.hostname.clone()));
    }
    Ok(built)
}

pub struct ContainerInput<'a> {
    pub id: &'a str,
    pub spec: &'a ContainerSpec,
    pub sandbox: &'a Sandbox,
    pub image: &'a Unpacked,
    pub root: &'a RootFs,
    pub limits: &'a HostLimits,
    /// The sandbox's shared memory on the host.
    pub shared_memory: &'a Path,
    /// (in the container, on the host)
    pub termination_message: Option<(&'a str, &'a Path)>,
    pub unified_cgroups: bool,
}

pub fn container(input: &ContainerInput<'_>) -> Result<Spec, Error> {
    let (spec, sandbox) = (input.spec, input.sandbox);
    let of_sandbox = |name: &str| PathBuf::from(format!("/proc/{}/ns/{name}", sandbox.pid));
    let mut namespaces = vec![
        namespace(LinuxNamespaceType::Mount, None)?,
        namespace(LinuxNamespaceType::Ipc, Some(&of_sandbox("ipc")))?,
        namespace(LinuxNamespaceType::Uts, Some(&of_sandbox("uts")))?,
        namespace(LinuxNamespaceType::Network, Some(&of_sandbox("net")))?,
    ];
    if sandbox.host_pid || sandbox.share_process_namespace {
        namespaces.push(namespace(LinuxNamespaceType::Pid, Some(&of_sandbox("pid")))?);
    } else {
        namespaces.push(namespace(LinuxNamespaceType::Pid, None)?);
    }
    if input.unified_cgroups && !spec.security.privileged {
        namespaces.push(namespace(LinuxNamespaceType::Cgroup, None)?);
    }

    let devices = devices::of_container(spec)?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(cgroup_of(&sandbox.cgroup_parent, input.id))
        .resources(resources::container(&spec.resources, &devices, spec.security.privileged)?)
        .devices(devices.iter().map(|device| device.node.clone()).collect::<Vec<_>>());
    if spec.security.privileged || spec.security.unmasked_proc {
        linux = linux.masked_paths(Vec::new()).readonly_paths(Vec::new());
    } else {
        linux = linux.masked_paths(mounts::masked_paths()).readonly_paths(mounts::readonly_paths());
    }
    if spec.mounts.iter().any(|mount| mount.propagation != super::MountPropagation::Private) {
        // Mounts of the host's can only come in, or go out, where the root does not stand in the way.
        let shared = spec.mounts.iter().any(|mount| mount.propagation == super::MountPropagation::Bidirectional);
        linux = linux.rootfs_propagation(if shared { "rshared" } else { "rslave" }.to_string());
    }
    let linux = linux.build().map_err(invalid)?;
    let process = process::container(input)?;
    let mounts = mounts::container(input)?;
    base(linux, process, mounts, spec.security.read_only_root_filesystem, &sandbox.id)
}

fn base(
    linux: Linux,
    process: oci_spec::runtime::Process,
    mounts: Vec<oci_spec::runtime::Mount>,
    read_only: bool,
    sandbox_id: &str,
) -> Result<Spec, Error> {
    let root = RootBuilder::default().path("rootfs").readonly(read_only).build().map_err(invalid)?;
    SpecBuilder::default()
        .version("1.0.2")
        .root(root)
        .process(process)
        .mounts(mounts)
        .linux(linux)
        .annotations(HashMap::from([(GROUP.to_string(), sandbox_id.to_string())]))
        .build()
        .map(|mut spec| {
            spec.set_hostname(None);
            spec
        })
        .map_err(invalid)
}

/// cgroupfs form: an absolute path below each hierarchy's mount.
pub fn cgroup_of(parent: &str, id: &str) -> String {
    format!("{}/{id}", parent.trim_end_matches('/'))
}

fn namespace(kind: LinuxNamespaceType, path: Option<&Path>) -> Result<LinuxNamespace, Error> {
    let mut builder = LinuxNamespaceBuilder::default().typ(kind);
    if let Some(path) = path {
        builder = builder.path(path);
    }
    builder.build().map_err(invalid)
}

fn invalid(error: oci_spec::OciSpecError) -> Error {
    Error::InvalidSpec(format!("OCI runtime spec: {error}"))
}

#[cfg(test)]
mod tests;
