//! `type: loopback`: brings `lo` up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::netlink::Netlink;
use crate::netns::NetworkNamespace;
use crate::protocol::{CniResult, Error, Interface, IpConfig, Request};

fn refused(failure: crate::netlink::Failure) -> Error {
    Error::netlink(format!("loopback: {failure}"))
}

pub fn add(request: &Request) -> Result<CniResult, Error> {
    let mut netlink = NetworkNamespace::open(&request.netns)?.run(|| Netlink::open().map_err(refused))?;
    let link = netlink.link("lo").map_err(refused)?.ok_or_else(|| Error::failed("there is no lo"))?;
    netlink.set_up(link.index).map_err(refused)?;
    // In a chain, loopback hands on what it was given.
    if let Some(previous) = &request.config.prev_result {
        return Ok(previous.clone());
    }

    let mut ips = Vec::new();
    for network in netlink.addresses(link.index).map_err(refused)? {
        ips.push(IpConfig { address: network, gateway: None, interface: Some(0) });
    }
    if ips.is_empty() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        ips.push(IpConfig { address: IpNet::new(local, 8).expect("8 fits"), gateway: None, interface: Some(0) });
    }
    ips.retain(|ip| matches!(ip.address.addr(), IpAddr::V4(_) | IpAddr::V6(Ipv6Addr::LOCALHOST)));
    let interface =
        Interface { name: "lo".into(), mac: "00:00:00:00:00:00".into(), mtu: None, sandbox: request.netns.clone() };
    Ok(CniResult { interfaces: vec![interface], ips, ..CniResult::default() })
}

/// Answers well where the namespace is gone.
pub fn del(request: &Request) -> Result<(), Error> {
    let Some(namespace) = NetworkNamespace::open_if_exists(&request.netns) else { return Ok(()) };
    let mut netlink = namespace.run(|| Netlink::open().map_err(refused))?;
    if let Some(link) = netlink.link("lo").map_err(refused)? {
        netlink.set_down(link.index).map_err(refused)?;
    }
    Ok(())
}

pub fn check(request: &Request) -> Result<(), Error> {
    let mut netlink = NetworkNamespace::open(&request.netns)?.run(|| Netlink::open().map_err(refused))?;
    match netlink.link("lo").map_err(refused)? {
        Some(link) if link.up => Ok(()),
        _ => Err(Error::check("loopback interface is down")),
    }
}
