//! What the host remembers of who has which address.

use std::net::IpAddr;

use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Failure, Netlink};

impl Netlink {
    /// No error where nothing is remembered.
    pub fn forget_neighbour(&mut self, index: u32, address: IpAddr) -> Result<(), Failure> {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = index;
        let destination = match address {
            IpAddr::V4(address) => {
                message.header.family = AddressFamily::Inet;
                NeighbourAddress::Inet(address)
            }
            IpAddr::V6(address) => {
                message.header.family = AddressFamily::Inet6;
                NeighbourAddress::Inet6(address)
            }
        };
        message.attributes.push(NeighbourAttribute::Destination(destination));
        match self.change(RouteNetlinkMessage::DelNeighbour(message), 0) {
            Err(failure) if failure.is_missing() => Ok(()),
            outcome => outcome,
        }
    }
}
