//! ipMasq: what leaves a pod network for elsewhere goes out under the node's address.
//!
//! One base chain for each pod network in table `keelson-cni`, with one rule that depends on the network alone. It is
//! made by the first pod and serves all that follow, so nothing is written for a pod and nothing can leak; removing
//! the table removes it all (`nft delete table ip keelson-cni`). The rule carries what it was made of as its comment:
//! an ADD that finds it so is done after one read.

use std::net::IpAddr;

use ipnet::IpNet;

use super::message::{
    Attributes, Batch, DELETE_RULE, FLAG_APPEND, FLAG_CREATE, NEW_CHAIN, NEW_RULE, NEW_TABLE, rule_user_data,
};
use crate::protocol::Error;

const TABLE: &str = "keelson-cni";
const HOOK_POSTROUTING: u32 = 4;
const PRIORITY_SOURCE_NAT: u32 = 100;
const REGISTER: u32 = 1;

/// Packets from `network` to anywhere but `network`, multicast and `except` are masqueraded.
pub fn ensure(network: IpNet, except: &[IpNet]) -> Result<(), Error> {
    let network = network.trunc();
    let family = match network {
        IpNet::V4(_) => libc::NFPROTO_IPV4 as u8,
        IpNet::V6(_) => libc::NFPROTO_IPV6 as u8,
    };
    let multicast: IpNet =
        if network.addr().is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" }.parse().expect("a network");
    let mut inside = vec![network, multicast];
    inside.extend(except.iter().filter(|other| other.addr().is_ipv4() == network.addr().is_ipv4()).map(IpNet::trunc));

    let chain = chain_name(&network);
    let comment = comment(&inside);
    let refused = |error| Error::netlink(format!("setting up masquerade for {network}: {error}"));
    if rule_user_data(family, TABLE, &chain).map_err(refused)? == [comment.as_slice()] {
        return Ok(());
    }

    let mut batch = Batch::default();
    batch.push(NEW_TABLE, family, FLAG_CREATE, Attributes::default().text(1, TABLE));
    let hook = Attributes::default().number(1, HOOK_POSTROUTING).number(2, PRIORITY_SOURCE_NAT);
    let base_chain = Attributes::default().text(1, TABLE).text(3, &chain).nested(4, hook).text(7, "nat");
    batch.push(NEW_CHAIN, family, FLAG_CREATE, base_chain);
    let place = Attributes::default().text(1, TABLE).text(2, &chain);
    batch.push(DELETE_RULE, family, 0, place.clone());
    let rule = place.nested(4, expressions(&network, &inside)).bytes(7, &comment);
    batch.push(NEW_RULE, family, FLAG_CREATE | FLAG_APPEND, rule);
    batch.commit().map_err(refused)
}

/// nft's own grammar for names knows no colon.
fn chain_name(network: &IpNet) -> String {
    format!("masquerade-{network}").replace(':', "_")
}

/// In the format in which `nft` keeps comments: type 0, length, text.
fn comment(inside: &[IpNet]) -> Vec<u8> {
    let texts: Vec<String> = inside.iter().map(IpNet::to_string).collect();
    let mut text = format!("not to {}", texts.join(" "));
    // nft shows at most 128 bytes; past that a digest still tells one rule from another.
    if text.len() > 120 {
        use sha2::Digest;
        text = format!("not to {}", hex::encode(sha2::Sha256::digest(text.as_bytes())));
    }
    let mut data = vec![0, (text.len() + 1) as u8];
    data.extend(text.as_bytes());
    data.push(0);
    data
}

/// `ip saddr <network> ip daddr != <inside…> masquerade`
fn expressions(network: &IpNet, inside: &[IpNet]) -> Attributes {
    let (source, destination) = match network {
        IpNet::V4(_) => (12, 16),
        IpNet::V6(_) => (8, 24),
    };
    let mut list = match_network(Attributes::default(), source, network, true);
    for other in inside {
        list = match_network(list, destination, other, false);
    }
    list.nested(1, Attributes::default().text(1, "masq"))
}

fn match_network(list: Attributes, offset: u32, network: &IpNet, equal: bool) -> Attributes {
    const NETWORK_HEADER: u32 = 1;
    let address = octets(network.network());
    let length = address.len() as u32;
    let load = Attributes::default().number(1, REGISTER).number(2, NETWORK_HEADER).number(3, offset).number(4, length);
    let mask = Attributes::default()
        .number(1, REGISTER)
        .number(2, REGISTER)
        .number(3, length)
        .nested(4, Attributes::default().bytes(1, &octets(network.netmask())))
        .nested(5, Attributes::default().bytes(1, &vec![0; address.len()]));
    let compare = Attributes::default()
        .number(1, REGISTER)
        .number(2, if equal { 0 } else { 1 })
        .nested(3, Attributes::default().bytes(1, &address));
    [("payload", load), ("bitwise", mask), ("cmp", compare)]
        .into_iter()
        .fold(list, |list, (name, data)| list.nested(1, Attributes::default().text(1, name).nested(2, data)))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
