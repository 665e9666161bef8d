//! The files of a pod that its containers share: hosts, hostname, resolv.conf.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::{DnsConfig, Error, SandboxSpec};

const NODE_RESOLV_CONF: &str = "/etc/resolv.conf";
const NODE_HOSTS: &str = "/etc/hosts";

pub fn write_pod_files(spec: &SandboxSpec, addresses: &[IpAddr]) -> Result<(), Error> {
    let resolv_conf = if spec.dns == DnsConfig::default() {
        fs::read_to_string(NODE_RESOLV_CONF).unwrap_or_default()
    } else {
        resolv_conf(&spec.dns)
    };
    let node_hosts = if spec.host_network { fs::read_to_string(NODE_HOSTS).unwrap_or_default() } else { String::new() };
    let files = [
        ("etc-hosts", hosts(spec, addresses, &node_hosts)),
        ("hostname", format!("{}\n", spec.hostname)),
        ("resolv.conf", resolv_conf),
    ];
    for (name, text) in files {
        write(&spec.directory.join(name), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    // Containers have it bound: it is written in place and never replaced.
    fs::write(path, text).map_err(Error::io("writing", path))
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

/// The first lines are the ones that upstream's node agent writes: programs look for them.
fn hosts(spec: &SandboxSpec, addresses: &[IpAddr], node_hosts: &str) -> String {
    let mut text = String::new();
    if spec.host_network {
        text += "# Kubernetes-managed hosts file (host network).\n";
        text += node_hosts;
    } else {
        text += "# Kubernetes-managed hosts file.\n";
        let entries = [
            ("127.0.0.1", "localhost"),
            ("::1", "localhost ip6-localhost ip6-loopback"),
            ("fe00::0", "ip6-localnet"),
            ("fe00::0", "ip6-mcastprefix"),
            ("fe00::1", "ip6-allnodes"),
            ("fe00::2", "ip6-allrouters"),
        ];
        for (address, names) in entries {
            let _ = writeln!(text, "{address}\t{names}");
        }
        for address in addresses {
            let names = match &spec.fqdn {
                Some(fqdn) => format!("{fqdn}\t{}", spec.hostname),
                None => spec.hostname.clone(),
            };
            let _ = writeln!(text, "{address}\t{names}");
        }
    }
    if !spec.host_aliases.is_empty() {
        text += "\n# Entries added by HostAliases.\n";
        for (address, names) in &spec.host_aliases {
            let _ = writeln!(text, "{address}\t{}", names.join("\t"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_itself_and_its_aliases() {
        let spec = SandboxSpec {
            hostname: "web-0".into(),
            fqdn: Some("web-0.web.default.svc.cluster.local".into()),
            host_aliases: vec![("10.9.9.9".into(), vec!["db".into(), "db.local".into()])],
            ..SandboxSpec::default()
        };
        let text = hosts(&spec, &["10.244.0.7".parse().expect("address")], "");
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.contains("10.244.0.7\tweb-0.web.default.svc.cluster.local\tweb-0\n"));
        assert!(text.ends_with("# Entries added by HostAliases.\n10.9.9.9\tdb\tdb.local\n"));
        let host = SandboxSpec { host_network: true, ..spec };
        assert!(
            hosts(&host, &[], "127.0.0.1 node\n")
                .starts_with("# Kubernetes-managed hosts file (host network).\n127.0.0.1 node\n")
        );
    }

    #[test]
    fn resolv_conf_has_what_was_asked() {
        let dns = DnsConfig {
            servers: vec!["10.96.0.10".into()],
            searches: vec!["a".into(), "b".into()],
            options: vec!["ndots:5".into()],
        };
        assert_eq!(resolv_conf(&dns), "search a b\nnameserver 10.96.0.10\noptions ndots:5\n");
    }
}
