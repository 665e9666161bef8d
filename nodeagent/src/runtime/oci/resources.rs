//! Limits of a container, in the terms of the OCI specification (which are those of cgroup v1; runc converts).

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemoryBuilder,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

use super::devices::ContainerDevice;
use super::invalid;
use crate::runtime::{Error, Resources};

const DEFAULT_PERIOD: u64 = 100_000;
/// The least that the kernel takes: the sandbox only waits.
const SANDBOX_SHARES: u64 = 2;

pub fn sandbox() -> Result<LinuxResources, Error> {
    let cpu = LinuxCpuBuilder::default().shares(SANDBOX_SHARES).build().map_err(invalid)?;
    LinuxResourcesBuilder::default().devices(vec![rule(false, None, "rwm")?]).cpu(cpu).build().map_err(invalid)
}

pub fn container(
    resources: &Resources,
    devices: &[ContainerDevice],
    privileged: bool,
) -> Result<LinuxResources, Error> {
    // runc allows the devices that every container has on top of these.
    let mut rules = vec![rule(privileged, None, "rwm")?];
    if !privileged {
        for device in devices {
            rules.push(rule(true, Some(device), &device.permissions)?);
        }
    }
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(shares) = resources.cpu_shares {
        cpu = cpu.shares(shares);
    }
    if let Some(quota) = resources.cpu_quota {
        cpu = cpu.quota(quota).period(resources.cpu_period.unwrap_or(DEFAULT_PERIOD));
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        cpu = cpu.cpus(cpus.clone());
    }
    if let Some(mems) = &resources.cpuset_mems {
        cpu = cpu.mems(mems.clone());
    }
    let mut built = LinuxResourcesBuilder::default().devices(rules).cpu(cpu.build().map_err(invalid)?);
    if let Some(limit) = resources.memory_limit {
        // Neither swap is given out: a pod's memory is its limit.
        let memory = LinuxMemoryBuilder::default().limit(limit).build().map_err(invalid)?;
        built = built.memory(memory);
    }
    if let Some(limit) = resources.pids_limit {
        built = built.pids(LinuxPidsBuilder::default().limit(limit).build().map_err(invalid)?);
    }
    built.build().map_err(invalid)
}

fn rule(allow: bool, device: Option<&ContainerDevice>, access: &str) -> Result<LinuxDeviceCgroup, Error> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).access(access.to_string());
    rule = match device {
        Some(device) => rule.typ(device.node.typ()).major(device.node.major()).minor(device.node.minor()),
        None => rule.typ(LinuxDeviceType::A),
    };
    rule.build().map_err(invalid)
}
