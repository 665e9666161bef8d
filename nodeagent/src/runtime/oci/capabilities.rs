//! Capabilities: the runtime's default set, what a security context adds and drops, and what the host has.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::{HostLimits, invalid};
use crate::runtime::{Error, Security};

/// In the kernel's order: the place is the bit.
const IN_ORDER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What containers have that ask for nothing: the set that other runtimes agree on.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

pub fn all() -> HashSet<Capability> {
    IN_ORDER.into_iter().collect()
}

pub fn from_mask(mask: u64) -> HashSet<Capability> {
    IN_ORDER.into_iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, one)| one).collect()
}

/// `CAP_SYS_ADMIN`
pub fn name(capability: Capability) -> String {
    format!("CAP_{capability}")
}

fn parse(text: &str) -> Result<Capability, Error> {
    let plain = text.strip_prefix("CAP_").unwrap_or(text).to_ascii_uppercase();
    IN_ORDER
        .into_iter()
        .find(|capability| capability.to_string() == plain)
        .ok_or_else(|| Error::InvalidSpec(format!("unknown capability {text:?}")))
}

pub fn of_container(security: &Security, limits: &HostLimits) -> Result<LinuxCapabilities, Error> {
    build(chosen(security)?.intersection(&limits.capabilities).copied().collect())
}

pub fn none() -> Result<LinuxCapabilities, Error> {
    build(HashSet::new())
}

/// ALL is taken first, on either side, so that single names can correct it.
fn chosen(security: &Security) -> Result<HashSet<Capability>, Error> {
    if security.privileged {
        return Ok(all());
    }
    let is_all = |text: &&String| text.eq_ignore_ascii_case("ALL");
    let mut set: HashSet<Capability> = DEFAULT.into_iter().collect();
    if security.capabilities_add.iter().any(|text| is_all(&text)) {
        set = all();
    }
    if security.capabilities_drop.iter().any(|text| is_all(&text)) {
        set.clear();
    }
    for text in security.capabilities_add.iter().filter(|text| !is_all(text)) {
        set.insert(parse(text)?);
    }
    for text in security.capabilities_drop.iter().filter(|text| !is_all(text)) {
        set.remove(&parse(text)?);
    }
    Ok(set)
}

fn build(set: HashSet<Capability>) -> Result<LinuxCapabilities, Error> {
    let empty = HashSet::new();
    LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        // Not inheritable: a program that gives up its identity would keep them by executing another.
        .inheritable(empty.clone())
        .ambient(empty)
        .build()
        .map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str]) -> Vec<String> {
        let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        let security = Security { capabilities_add: texts(add), capabilities_drop: texts(drop), ..Security::default() };
        let mut names: Vec<String> = chosen(&security).expect("known names").into_iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(names(&[], &[]).len(), 14);
        assert_eq!(names(&["NET_ADMIN"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(names(&["CAP_SYS_TIME"], &[]).len(), 15);
        assert_eq!(names(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert!(!names(&["ALL"], &["SYS_ADMIN"]).contains(&"CAP_SYS_ADMIN".to_string()));
        assert!(parse("MAKE_COFFEE").is_err());
    }

    #[test]
    fn the_order_is_the_kernels() {
        assert_eq!(from_mask(1 << 21), HashSet::from([Capability::SysAdmin]));
        assert_eq!(from_mask(1 << 40), HashSet::from([Capability::CheckpointRestore]));
    }
}
