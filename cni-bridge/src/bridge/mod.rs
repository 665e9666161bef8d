//! `type: bridge`: a bridge on the host, and for each container a veth pair with one end in it.

mod addressing;
mod check;
mod host;
mod ipam;

use rand::RngCore;

use crate::netlink::{Failure, Link, Netlink, PortOptions, VethPair};
use crate::netns::NetworkNamespace;
use crate::protocol::{CniResult, Error, Interface, Request};
use crate::{nft, sysctl};

pub use check::check;

fn refused(what: &str) -> impl Fn(Failure) -> Error {
    let what = what.to_string();
    move |failure| Error::netlink(format!("{what}: {failure}"))
}

/// Either all of it, or nothing is left behind but the bridge, which others may use by now.
pub fn add(request: &Request) -> Result<CniResult, Error> {
    host::check_config(&request.config.bridge)?;
    let namespace = NetworkNamespace::open(&request.netns)?;
    // Before anything is made: what fails from here on is cleaned up, and that interface would not be ours to remove.
    let mut inside = namespace.run(|| Netlink::open().map_err(refused("opening netlink")))?;
    if inside.link(&request.interface).map_err(refused("looking for the interface"))?.is_some() {
        return Err(Error::failed(format!("container veth name provided ({}) already exists", request.interface)));
    }
    let addresses = ipam::add(request)?;
    let attached = attach(request, &namespace, inside, addresses);
    if attached.is_err() {
        // The first error is the one to tell; what cannot be given back now, DEL or GC give back.
        let _ = remove_interface(&namespace, &request.interface);
        let _ = ipam::del(request);
    }
    attached
}

fn attach(
    request: &Request,
    namespace: &NetworkNamespace,
    mut inside: Netlink,
    addresses: CniResult,
) -> Result<CniResult, Error> {
    let config = &request.config.bridge;
    let mut host = Netlink::open().map_err(refused("opening netlink"))?;
    let bridge = host::ensure_bridge(&mut host, config)?;
    let host_name = create_pair(&mut host, request, namespace, &bridge)?;
    let port = host
        .link(&host_name)
        .map_err(refused("reading the host's veth"))?
        .ok_or_else(|| Error::failed(format!("link {host_name} went away")))?;
    if config.hairpin_mode || config.port_isolation {
        let options = PortOptions { hairpin: config.hairpin_mode, isolated: config.port_isolation };
        host.set_port(port.index, options).map_err(refused("setting the bridge port"))?;
    }
    let link = inside
        .link(&request.interface)
        .map_err(refused("reading the container's veth"))?
        .ok_or_else(|| Error::failed(format!("link {} went away", request.interface)))?;

    let mut result = addresses;
    addressing::complete_gateways(&mut result, config);
    if !config.disable_container_interface {
        if !result.ips.is_empty() {
            // Neighbours that knew the address under another MAC learn at once.
            namespace.run(|| {
                let _ = sysctl::set(&format!("net/ipv4/conf/{}/arp_notify", request.interface), "1");
                addressing::prepare_family(&result, &request.interface)
            })?;
        }
        addressing::configure(&mut inside, &link, &result)?;
    }
    if config.is_gateway || config.is_default_gateway {
        addressing::ensure_gateways(&mut host, &bridge, &result, config.force_address)?;
        // The host may know an address under the MAC of whoever had it before, and believe so for half a minute: the
        // announcement is lost where the bridge has not opened its port yet.
        for ip in &result.ips {
            host.forget_neighbour(bridge.index, ip.address.addr()).map_err(refused("forgetting a neighbour"))?;
        }
    }
    if config.ip_masq {
        for ip in &result.ips {
            nft::ensure(ip.address, &config.masquerade_except)?;
        }
    }
    if !request.config.dns.is_empty() {
        result.dns = request.config.dns.clone();
    }
    Ok(compose(request, result, &bridge, &port, &link))
}

/// After an earlier plugin of a chain, its result comes first.
fn compose(request: &Request, mut result: CniResult, bridge: &Link, port: &Link, link: &Link) -> CniResult {
    let mut composed = request.config.prev_result.clone().unwrap_or_default();
    let offset = composed.interfaces.len();
    let interface = |link: &Link, sandbox: &str| Interface {
        name: link.name.clone(),
        mac: link.mac_text(),
        mtu: Some(link.mtu),
        sandbox: sandbox.to_string(),
    };
    composed.interfaces.extend([interface(bridge, ""), interface(port, ""), interface(link, &request.netns)]);
    result.ips.iter_mut().for_each(|ip| ip.interface = Some(offset + 2));
    composed.ips.append(&mut result.ips);
    composed.routes.append(&mut result.routes);
    if !result.dns.is_empty() {
        composed.dns = result.dns;
    }
    composed
}

fn create_pair(
    host: &mut Netlink,
    request: &Request,
    namespace: &NetworkNamespace,
    bridge: &Link,
) -> Result<String, Error> {
    const ATTEMPTS: usize = 10;
    let container_mac = host::requested_mac(request)?;
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let host_name = format!("veth{:08x}", rand::rng().next_u32());
        outcome = host.create_veth(&VethPair {
            host_name: &host_name,
            container_name: &request.interface,
            container_mac,
            container_netns: namespace.file(),
            mtu: request.config.bridge.mtu,
            bridge: bridge.index,
        });
        match &outcome {
            Ok(()) => return Ok(host_name),
            // Somebody has that name: try another.
            Err(failure) if failure.is(libc::EEXIST) => {}
            Err(_) => break,
        }
    }
    outcome.map(|()| String::new()).map_err(refused("failed to make veth pair"))
}

fn remove_interface(namespace: &NetworkNamespace, name: &str) -> Result<(), Error> {
    let mut inside = namespace.run(|| Netlink::open().map_err(refused("opening netlink")))?;
    match inside.link(name).map_err(refused("looking for the interface"))? {
        Some(link) => inside.delete_link(link.index).map_err(refused("removing the interface")),
        None => Ok(()),
    }
}

/// The link goes before its address is free for others. What is gone already is no error.
pub fn del(request: &Request) -> Result<(), Error> {
    if let Some(namespace) = NetworkNamespace::open_if_exists(&request.netns) {
        remove_interface(&namespace, &request.interface)?;
    }
    ipam::del(request)
}

/// Links go with their namespaces; addresses are what can stay behind.
pub fn gc(request: &Request) -> Result<(), Error> {
    ipam::gc(request)
}

pub fn status(request: &Request) -> Result<(), Error> {
    host::check_config(&request.config.bridge).map_err(|error| Error::not_available(error.message))?;
    ipam::status(request)
}
