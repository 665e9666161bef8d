//! The members' network: a namespace each, joined by a bridge that drops what it is told to drop.
//!
//! Clients sit at the bridge and reach every member at all times: a member that is cut off from the others still answers,
//! and must not answer wrongly.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::{Error, Result};

/// The third octet is nobody's business: nothing outside sees these addresses.
const SUBNET: &str = "10.77.0";

/// Takes this process out of the machine's network and mounts, before it has any other thread.
pub fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|error| Error::tried("leave", "the machine's namespaces (root is needed)", error))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(|error| Error::tried("keep", "mounts to this process", error))?;
    ip("link set lo up")
}

pub struct Network {
    namespaces: Vec<File>,
    /// Directed: what goes from the first to the second is dropped.
    cuts: BTreeSet<(usize, usize)>,
}

pub fn address(place: usize) -> String {
    format!("{SUBNET}.{}", 10 + place)
}

impl Network {
    pub fn new(members: usize) -> Result<Self> {
        ip("link add name bridge type bridge")?;
        ip(&format!("addr add {SUBNET}.1/24 dev bridge"))?;
        ip("link set bridge up")?;
        let mut namespaces = Vec::new();
        for place in 0..members {
            let namespace = new_namespace()?;
            let path = path_of(&namespace);
            ip(&format!("link add name m{place} type veth peer name inner{place}"))?;
            ip(&format!("link set m{place} master bridge up"))?;
            ip(&format!("link set inner{place} netns {path}"))?;
            for words in [
                "link set lo up".to_owned(),
                format!("addr add {}/24 dev inner{place}", address(place)),
                format!("link set inner{place} up"),
            ] {
                run("nsenter", &format!("--net={path} ip {words}"))?;
            }
            namespaces.push(namespace);
        }
        Ok(Self { namespaces, cuts: BTreeSet::new() })
    }

    pub fn namespace(&self, place: usize) -> &File {
        &self.namespaces[place]
    }

    /// Drops what goes from one member to another, from now on.
    pub fn cut(&mut self, cuts: impl IntoIterator<Item = (usize, usize)>) -> Result<()> {
        self.cuts.extend(cuts);
        self.apply()
    }

    pub fn mend(&mut self, cuts: impl IntoIterator<Item = (usize, usize)>) -> Result<()> {
        for cut in cuts {
            self.cuts.remove(&cut);
        }
        self.apply()
    }

    pub fn is_whole(&self) -> bool {
        self.cuts.is_empty()
    }

    pub fn mend_all(&mut self) -> Result<()> {
        self.cuts.clear();
        self.apply()
    }

    fn apply(&self) -> Result<()> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| Error::tried("run", "nft", error))?;
        let script = rules(&self.cuts);
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes()).map_err(|error| Error::tried("write to", "nft", error))?;
        }
        let status = child.wait().map_err(|error| Error::tried("wait for", "nft", error))?;
        if status.success() { Ok(()) } else { Err(Error::new(format!("nft refused: {script}"))) }
    }
}

/// The bridge's rules for these cuts, as one transaction.
pub fn rules(cuts: &BTreeSet<(usize, usize)>) -> String {
    let mut script = "table bridge cuts {}\ndelete table bridge cuts\ntable bridge cuts {\n chain forward {\n  type filter hook forward priority 0; policy accept;\n".to_owned();
    for (from, to) in cuts {
        // Writing to a String does not fail.
        let _ = writeln!(script, "  iifname \"m{from}\" oifname \"m{to}\" drop");
    }
    script.push_str(" }\n}\n");
    script
}

/// A network namespace that lives as long as the file is open, and the processes in it.
fn new_namespace() -> Result<File> {
    // A thread of its own, because the namespace of a thread changes.
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        File::open("/proc/thread-self/ns/net")
    });
    let made = made.join().map_err(|_| Error::new("a thread panicked that makes a namespace"))?;
    made.map_err(|error| Error::tried("make", "a network namespace", error))
}

fn path_of(namespace: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

fn ip(words: &str) -> Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &str) -> Result<()> {
    let output = Command::new(program)
        .args(words.split(' '))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::tried("run", program, error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{program} {words}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cut_is_one_rule_and_none_are_no_rules() {
        let rules_of = |cuts: &[(usize, usize)]| rules(&cuts.iter().copied().collect());
        assert!(!rules_of(&[]).contains("drop"));
        let script = rules_of(&[(0, 2), (2, 0)]);
        assert!(
            script.contains("iifname \"m0\" oifname \"m2\" drop")
                && script.contains("iifname \"m2\" oifname \"m0\" drop")
        );
        assert_eq!(script.matches("drop").count(), 2);
    }
}
