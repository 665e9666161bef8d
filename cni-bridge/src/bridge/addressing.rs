//! Addresses and routes of the container, and the gateways on the bridge.

use std::net::IpAddr;

use ipnet::IpNet;

use super::refused;
use crate::netlink::{Link, Netlink};
use crate::protocol::{BridgeConfig, CniResult, Error, Route};
use crate::sysctl;

/// An address without a gateway gets its network's first address where the bridge is to be one; isDefaultGateway
/// routes everything through it.
pub fn complete_gateways(result: &mut CniResult, config: &BridgeConfig) {
    let is_gateway = config.is_gateway || config.is_default_gateway;
    let mut defaults: Vec<Route> = Vec::new();
    for ip in &mut result.ips {
        if is_gateway && ip.gateway.is_none() {
            ip.gateway = ip.address.trunc().hosts().next();
        }
        let everything: IpNet =
            if ip.address.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" }.parse().expect("a network");
        let known = result.routes.iter().chain(&defaults).any(|route| route.dst == everything);
        if config.is_default_gateway && !known {
            defaults.push(Route { dst: everything, gw: ip.gateway, mtu: None, advmss: None, priority: None });
        }
    }
    result.routes.append(&mut defaults);
}

/// Runs in the container's namespace: a host may have IPv6 off there by default.
pub fn prepare_family(result: &CniResult, interface: &str) -> Result<(), Error> {
    if result.ips.iter().any(|ip| ip.address.addr().is_ipv6()) {
        sysctl::set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    }
    Ok(())
}

pub fn configure(netlink: &mut Netlink, link: &Link, result: &CniResult) -> Result<(), Error> {
    for ip in &result.ips {
        netlink
            .add_address(link.index, ip.address)
            .map_err(refused(&format!("failed to add IP addr {} to {:?}", ip.address, link.name)))?;
    }
    netlink.set_up(link.index).map_err(refused(&format!("failed to set {:?} up", link.name)))?;
    for route in &result.routes {
        let gateway = route.gw.or_else(|| gateway_for(result, &route.dst));
        netlink
            .add_route(link.index, route, gateway)
            .map_err(refused(&format!("failed to add route '{} via {gateway:?}'", route.dst)))?;
    }
    Ok(())
}

pub fn gateway_for(result: &CniResult, destination: &IpNet) -> Option<IpAddr> {
    let same_family = |ip: &&crate::protocol::IpConfig| ip.address.addr().is_ipv4() == destination.addr().is_ipv4();
    result.ips.iter().find(same_family).and_then(|ip| ip.gateway)
}

/// The bridge holds each gateway, and the host forwards.
pub fn ensure_gateways(netlink: &mut Netlink, bridge: &Link, result: &CniResult, force: bool) -> Result<(), Error> {
    let present = netlink.addresses(bridge.index).map_err(refused("reading the bridge's addresses"))?;
    for ip in &result.ips {
        let Some(gateway) = ip.gateway else { continue };
        let wanted = IpNet::new(gateway, ip.address.prefix_len()).map_err(|error| Error::config(error.to_string()))?;
        for other in present.iter().filter(|other| stands_in_the_way(other, &wanted)) {
            if !force {
                return Err(Error::failed(format!(
                    "failed to set bridge addr: {:?} already has an IP address different from {wanted}",
                    bridge.name
                )));
            }
            netlink.delete_address(bridge.index, *other).map_err(refused("removing the bridge's old address"))?;
        }
        if !present.contains(&wanted) {
            netlink.add_address(bridge.index, wanted).map_err(refused("could not add IP address to the bridge"))?;
        }
        let forwarding = if gateway.is_ipv4() { "net/ipv4/ip_forward" } else { "net/ipv6/conf/all/forwarding" };
        sysctl::set(forwarding, "1")?;
    }
    Ok(())
}

/// One IPv4 address a bridge; IPv6 may have several, as long as their networks are apart.
fn stands_in_the_way(present: &IpNet, wanted: &IpNet) -> bool {
    match (present, wanted) {
        _ if present == wanted => false,
        (IpNet::V4(_), IpNet::V4(_)) => true,
        (IpNet::V6(_), IpNet::V6(_)) => present.contains(wanted) || wanted.contains(present),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::IpConfig;

    fn network(text: &str) -> IpNet {
        text.parse().expect("network")
    }

    #[test]
    fn gateways_and_default_routes_are_completed() {
        let mut result = CniResult {
            ips: vec![IpConfig { address: network("10.0.0.7/24"), gateway: None, interface: None }],
            ..CniResult::default()
        };
        let config = BridgeConfig { is_default_gateway: true, ..BridgeConfig::default() };
        complete_gateways(&mut result, &config);
        assert_eq!(result.ips[0].gateway, Some("10.0.0.1".parse().expect("address")));
        assert_eq!(result.routes.len(), 1);
        // A route of the configuration's own is not doubled.
        complete_gateways(&mut result, &config);
        assert_eq!(result.routes.len(), 1);
    }

    #[test]
    fn an_address_stands_in_the_way_of_another_of_its_family() {
        let table = [
            ("10.0.0.1/24", "10.0.0.1/24", false),
            ("10.0.0.1/24", "10.9.0.1/24", true),
            ("10.0.0.1/16", "10.0.0.1/24", true),
            ("fe80::1/64", "10.0.0.1/24", false),
            ("fe80::1/64", "fd00::1/64", false),
            ("fd00::2/64", "fd00::1/64", true),
        ];
        for (present, wanted, answer) in table {
            assert_eq!(stands_in_the_way(&network(present), &network(wanted)), answer, "{present} {wanted}");
        }
    }
}
