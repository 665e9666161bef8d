//! Bridges, veth pairs, and what a link is like.

use std::fs::File;
use std::os::fd::AsRawFd;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};

use super::{Failure, Netlink};

/// A link as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mac: Vec<u8>,
    pub mtu: u32,
    pub up: bool,
    pub promiscuous: bool,
    /// Index of the bridge that it is a port of.
    pub controller: Option<u32>,
    pub is_bridge: bool,
}

impl Link {
    /// `0a:58:0a:f4:00:02`
    pub fn mac_text(&self) -> String {
        mac_text(&self.mac)
    }

    fn from_message(message: &LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            mac: Vec::new(),
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            promiscuous: message.header.flags.contains(LinkFlags::Promisc),
            controller: None,
            is_bridge: false,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name.clone(),
                LinkAttribute::Address(mac) => link.mac = mac.clone(),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::LinkInfo(infos) => {
                    link.is_bridge = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)));
                }
                _ => {}
            }
        }
        link
    }
}

pub fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// A veth pair to be: one end here as a port of a bridge and up, the other in the container's namespace, still down.
pub struct VethPair<'a> {
    pub host_name: &'a str,
    pub container_name: &'a str,
    pub container_mac: Option<[u8; 6]>,
    pub container_netns: &'a File,
    /// 0: the kernel's default.
    pub mtu: u32,
    pub bridge: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortOptions {
    pub hairpin: bool,
    pub isolated: bool,
}

impl Netlink {
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Failure> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        match self.get(RouteNetlinkMessage::GetLink(message)) {
            Ok(answers) => Ok(answers.iter().find_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(link) => Some(Link::from_message(link)),
                _ => None,
            })),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// With an address of its own: a bridge without one takes its lowest port's, which changes as pods come and go.
    pub fn create_bridge(&mut self, name: &str, mac: [u8; 6], mtu: u32) -> Result<(), Failure> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_string()));
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
        if mtu != 0 {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        }
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub fn create_veth(&mut self, pair: &VethPair<'_>) -> Result<(), Failure> {
        let mut peer = LinkMessage::default();
        peer.attributes.push(LinkAttribute::IfName(pair.container_name.to_string()));
        peer.attributes.push(LinkAttribute::NetNsFd(pair.container_netns.as_raw_fd()));
        if let Some(mac) = pair.container_mac {
            peer.attributes.push(LinkAttribute::Address(mac.to_vec()));
        }
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes.push(LinkAttribute::IfName(pair.host_name.to_string()));
        message.attributes.push(LinkAttribute::Controller(pair.bridge));
        if pair.mtu != 0 {
            message.attributes.push(LinkAttribute::Mtu(pair.mtu));
            peer.attributes.push(LinkAttribute::Mtu(pair.mtu));
        }
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub fn set_up(&mut self, index: u32) -> Result<(), Failure> {
        self.set_flags(index, LinkFlags::Up, LinkFlags::Up)
    }

    pub fn set_promiscuous(&mut self, index: u32) -> Result<(), Failure> {
        self.set_flags(index, LinkFlags::Promisc, LinkFlags::Promisc)
    }

    pub fn set_down(&mut self, index: u32) -> Result<(), Failure> {
        self.set_flags(index, LinkFlags::empty(), LinkFlags::Up)
    }

    fn set_flags(&mut self, index: u32, flags: LinkFlags, mask: LinkFlags) -> Result<(), Failure> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.header.change_mask = mask;
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    pub fn set_port(&mut self, index: u32, options: PortOptions) -> Result<(), Failure> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![
                InfoBridgePort::HairpinMode(options.hairpin),
                InfoBridgePort::Isolated(options.isolated),
            ])),
        ]));
        self.change(RouteNetlinkMessage::NewLink(message), 0)
    }

    pub fn delete_link(&mut self, index: u32) -> Result<(), Failure> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.change(RouteNetlinkMessage::DelLink(message), 0) {
            Err(failure) if failure.is_missing() => Ok(()),
            outcome => outcome,
        }
    }
}
