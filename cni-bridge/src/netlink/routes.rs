//! Routes of a link.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Failure, Netlink};
use crate::protocol::Route;

impl Netlink {
    /// No error where the same route is there already.
    pub fn add_route(&mut self, index: u32, route: &Route, gateway: Option<IpAddr>) -> Result<(), Failure> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(&route.dst);
        message.header.destination_prefix_length = route.dst.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Boot;
        message.header.kind = RouteType::Unicast;
        message.header.scope = if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(route.dst.network())));
        message.attributes.push(RouteAttribute::Oif(index));
        if let Some(gateway) = gateway {
            message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
        }
        if let Some(priority) = route.priority {
            message.attributes.push(RouteAttribute::Priority(priority));
        }
        let mut metrics = Vec::new();
        metrics.extend(route.mtu.map(RouteMetric::Mtu));
        metrics.extend(route.advmss.map(RouteMetric::Advmss));
        if !metrics.is_empty() {
            message.attributes.push(RouteAttribute::Metrics(metrics));
        }
        match self.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_EXCL) {
            Err(failure) if failure.is(libc::EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    /// Destinations of the main table's routes over this link.
    pub fn route_destinations(&mut self, index: u32, network: &IpNet) -> Result<Vec<(u8, Option<IpAddr>)>, Failure> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(network);
        let answers = self.dump(RouteNetlinkMessage::GetRoute(message))?;
        let mut found = Vec::new();
        for answer in &answers {
            let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
            if !route.attributes.contains(&RouteAttribute::Oif(index)) {
                continue;
            }
            let destination = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
                RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
                _ => None,
            });
            found.push((route.header.destination_prefix_length, destination));
        }
        Ok(found)
    }
}

fn family(network: &IpNet) -> AddressFamily {
    match network {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}
