//! CHECK: is the container's network still what ADD made?

use super::{host, ipam, refused};
use crate::netlink::{Link, Netlink};
use crate::netns::NetworkNamespace;
use crate::protocol::{CniResult, Error, Request};

pub fn check(request: &Request) -> Result<(), Error> {
    let Some(previous) = &request.config.prev_result else {
        return Err(Error::config("required prevResult missing"));
    };
    ipam::check(request)?;
    let mut host = Netlink::open().map_err(refused("opening netlink"))?;
    let mut inside =
        NetworkNamespace::open(&request.netns)?.run(|| Netlink::open().map_err(refused("opening netlink")))?;

    let bridge = check_bridge(&mut host, host::bridge_name(&request.config.bridge), previous)?;
    check_port(&mut host, &bridge, previous)?;
    check_container(&mut inside, request, previous)
}

fn check_bridge(host: &mut Netlink, name: &str, previous: &CniResult) -> Result<Link, Error> {
    let bridge = host
        .link(name)
        .map_err(refused("looking for the bridge"))?
        .filter(|link| link.is_bridge)
        .ok_or_else(|| Error::check(format!("bridge {name:?} is missing")))?;
    let known = previous.interfaces.iter().find(|interface| interface.name == name && interface.sandbox.is_empty());
    if known.is_some_and(|known| !known.mac.is_empty() && known.mac != bridge.mac_text()) {
        return Err(Error::check(format!("bridge {name:?} has another MAC address than ADD reported")));
    }
    Ok(bridge)
}

/// Of the host's interfaces that the result lists, one is a port of the bridge.
fn check_port(host: &mut Netlink, bridge: &Link, previous: &CniResult) -> Result<(), Error> {
    for interface in previous.interfaces.iter().filter(|interface| interface.sandbox.is_empty()) {
        let Some(link) = host.link(&interface.name).map_err(refused("looking for the port"))? else { continue };
        if link.controller == Some(bridge.index) {
            return Ok(());
        }
    }
    Err(Error::check(format!("no interface of the result is a port of {:?}", bridge.name)))
}

fn check_container(inside: &mut Netlink, request: &Request, previous: &CniResult) -> Result<(), Error> {
    let name = &request.interface;
    let link = inside
        .link(name)
        .map_err(refused("looking for the interface"))?
        .ok_or_else(|| Error::check(format!("interface {name:?} is missing in the container")))?;
    let known =
        previous.interfaces.iter().position(|interface| interface.name == *name && !interface.sandbox.is_empty());
    let Some(known) = known else {
        return Err(Error::check(format!("prevResult has no interface {name:?}")));
    };
    let mac = &previous.interfaces[known].mac;
    if !mac.is_empty() && *mac != link.mac_text() {
        return Err(Error::check(format!("interface {name:?} has MAC {}, expected {mac}", link.mac_text())));
    }
    let addresses = inside.addresses(link.index).map_err(refused("reading addresses"))?;
    for ip in previous.ips.iter().filter(|ip| ip.interface == Some(known)) {
        if !addresses.contains(&ip.address) {
            return Err(Error::check(format!("interface {name:?} has lost its address {}", ip.address)));
        }
    }
    for route in &previous.routes {
        let present = inside.route_destinations(link.index, &route.dst).map_err(refused("reading routes"))?;
        let found = present.iter().any(|(length, address)| {
            *length == route.dst.prefix_len()
                && address.unwrap_or_else(|| unspecified(route.dst.addr())) == route.dst.network()
        });
        if !found {
            return Err(Error::check(format!("interface {name:?} has lost its route to {}", route.dst)));
        }
    }
    Ok(())
}

/// The kernel leaves out the destination of a default route.
fn unspecified(like: std::net::IpAddr) -> std::net::IpAddr {
    match like {
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
