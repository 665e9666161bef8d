//! What the machine has, and what it lacks.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::plan::Facts;

/// Programs without which there are no containers, by the Debian package that brings each.
const PROGRAMS: [(&str, &str); 3] = [("containerd", "containerd"), ("runc", "runc"), ("nft", "nftables")];
const COMPONENTS: [&str; 6] = ["raftstore", "apiserver", "controllers", "scheduler", "nodeagent", "cni-bridge"];

/// Looks for everything that a cluster needs before anything is changed.
pub fn check(binaries: &Path) -> Result<Facts> {
    if !nix::unistd::geteuid().is_root() {
        return Err(
            Error::new("a cluster needs root: it makes namespaces, mounts and links").hint("run the command with sudo")
        );
    }
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).collect();
    if !missing.is_empty() {
        let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        return Err(Error::new(format!("this machine has no {}", programs.join(", "))).hint(format!(
            "on Debian or Ubuntu: apt-get install {}; elsewhere install what brings these programs",
            packages.join(" ")
        )));
    }
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && !Path::new("/sys/fs/cgroup/memory").exists() {
        return Err(Error::new("no cgroups are mounted at /sys/fs/cgroup")
            .hint("mount them, for example with the package cgroupfs-mount"));
    }
    for component in COMPONENTS {
        if !binaries.join(component).exists() {
            return Err(Error::new(format!("{} has no {component}", binaries.display()))
                .hint("build all components with `cargo build --release`, or run deploy/up, which does it"));
        }
    }
    Ok(facts())
}

/// What is so about the machine, without a check.
pub fn facts() -> Facts {
    Facts {
        host_address: host_address(),
        containerd: find("containerd").unwrap_or_else(|| "/usr/bin/containerd".into()),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(known).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// The address by which the machine would reach others; loopback if it reaches none. Nothing is sent.
fn host_address() -> IpAddr {
    let probe = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // An address of the documentation range: connecting a datagram socket only picks a route.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
