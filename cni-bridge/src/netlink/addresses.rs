//! Addresses of links.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Failure, Netlink};

impl Netlink {
    pub fn addresses(&mut self, index: u32) -> Result<Vec<IpNet>, Failure> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(address) if address.header.index == index => network(address),
                _ => None,
            })
            .collect())
    }

    /// No error where it is there already.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), Failure> {
        self.change(RouteNetlinkMessage::NewAddress(request(index, address)), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub fn delete_address(&mut self, index: u32, address: IpNet) -> Result<(), Failure> {
        self.change(RouteNetlinkMessage::DelAddress(request(index, address)), 0)
    }
}

fn request(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message.attributes.push(AddressAttribute::Local(address.addr()));
    match address {
        IpNet::V4(network) => {
            message.header.family = AddressFamily::Inet;
            if network.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(network.broadcast()));
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // IPAM vouches that the address is ours alone; waiting for duplicate detection would cost a second.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message
}

fn network(message: &AddressMessage) -> Option<IpNet> {
    let mut found: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) if found.is_none() => found = Some(*address),
            _ => {}
        }
    }
    IpNet::new(found?, message.header.prefix_len).ok()
}
