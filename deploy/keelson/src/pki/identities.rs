//! The identities of a cluster's components: a table of who they are, in Kubernetes' own names.

use std::net::{IpAddr, Ipv4Addr};

use super::{Authority, Subject};
use crate::cluster::{Cluster, Network};
use crate::error::{Error, Result};
use crate::layout::Layout;

/// Makes what is missing: the CA, every component's certificate and the key that signs service-account tokens.
pub fn ensure(layout: &Layout, cluster: &Cluster, host_addresses: &[IpAddr]) -> Result<()> {
    let authority = Authority::ensure(layout)?;
    for (name, subject) in table(cluster, host_addresses) {
        authority.ensure_identity(layout, &name, &subject)?;
    }
    ensure_signing_key(layout)
}

fn table(cluster: &Cluster, host_addresses: &[IpAddr]) -> Vec<(String, Subject)> {
    let local = [IpAddr::from(Ipv4Addr::LOCALHOST)];
    let client = |common_name: &str, organization: Option<&str>| Subject {
        common_name: common_name.to_owned(),
        organizations: organization.map(str::to_owned).into_iter().collect(),
        dns_names: Vec::new(),
        addresses: Vec::new(),
    };
    let served = |subject: Subject, dns_names: &[&str], addresses: &[IpAddr]| Subject {
        dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
        addresses: addresses.to_vec(),
        ..subject
    };
    let mut api_addresses = vec![local[0], IpAddr::from(Ipv4Addr::new(10, 96, 0, 1)), IpAddr::from(cluster.gateway())];
    for address in host_addresses {
        if !api_addresses.contains(address) {
            api_addresses.push(*address);
        }
    }
    let api_names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut table = vec![
        ("admin".to_owned(), client("kubernetes-admin", Some("system:masters"))),
        ("operator".to_owned(), client("keelson:operator", Some("system:masters"))),
        (
            "apiserver".to_owned(),
            served(client("keelson:apiserver", Some("keelson:apiservers")), &api_names, &api_addresses),
        ),
        ("controllers".to_owned(), served(client("system:kube-controller-manager", None), &["localhost"], &local)),
        ("scheduler".to_owned(), served(client("system:kube-scheduler", None), &["localhost"], &local)),
        ("raftstore".to_owned(), served(client("keelson:raftstore", None), &["localhost"], &local)),
    ];
    for (index, node) in cluster.node_names().into_iter().enumerate() {
        let mut addresses = local.to_vec();
        match cluster.network {
            Network::Host => addresses.extend_from_slice(host_addresses),
            Network::Namespaces => addresses.push(IpAddr::from(cluster.node_address(index))),
        }
        let subject = client(&format!("system:node:{node}"), Some("system:nodes"));
        table.push((node.clone(), served(subject, &[&node], &addresses)));
    }
    table
}

/// The key pair of service-account tokens (ECDSA P-256): `sa.key` signs, `sa.pub` verifies.
fn ensure_signing_key(layout: &Layout) -> Result<()> {
    let (private, public) = (layout.pki_file("sa", "key"), layout.pki_file("sa", "pub"));
    if private.exists() && public.exists() {
        return Ok(());
    }
    let key =
        rcgen::KeyPair::generate().map_err(|error| Error::tried("make the service accounts' signing key", error))?;
    crate::files::write(&private, key.serialize_pem().as_bytes(), 0o600)?;
    crate::files::write(&public, key.public_key_pem().as_bytes(), 0o644)
}
