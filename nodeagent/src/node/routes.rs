//! Routes to the pods of other nodes: each node's pod CIDR by way of its address, while both are on one link.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Node;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

/// Marks our routes in the kernel's table, so that those of a dead agent are found again (`proto 75`).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(75);

/// A destination and the address that it is reached by.
pub type Routes = BTreeMap<Cidr, IpAddr>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    pub address: IpAddr,
    pub length: u8,
}

impl Cidr {
    fn parse(text: &str) -> Option<Cidr> {
        let (address, length) = text.split_once('/')?;
        let cidr = Cidr { address: address.parse().ok()?, length: length.parse().ok()? };
        let longest = if cidr.address.is_ipv4() { 32 } else { 128 };
        (cidr.length <= longest).then_some(cidr)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error("cannot {action}: {source}")]
    Netlink { action: String, source: rtnetlink::Error },
}

/// The routes that this node needs: pure.
pub fn wanted<'a>(own_name: &str, own_ips: &[IpAddr], nodes: impl Iterator<Item = &'a Node>) -> Routes {
    let mut routes = Routes::new();
    for node in nodes.filter(|node| node.metadata.name.as_deref() != Some(own_name)) {
        let cidrs = node.spec.iter().flat_map(|spec| match &spec.pod_cidrs {
            Some(all) if !all.is_empty() => all.clone(),
            _ => spec.pod_cidr.clone().into_iter().collect(),
        });
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let internal: Vec<IpAddr> = addresses
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect();
        for cidr in cidrs.filter_map(|text| Cidr::parse(&text)) {
            let gateway = internal.iter().find(|ip| ip.is_ipv4() == cidr.address.is_ipv4());
            // A node at our own address is this machine under another name: there is no way to route to it.
            if let Some(gateway) = gateway.filter(|ip| !own_ips.contains(ip)) {
                routes.insert(cidr, *gateway);
            }
        }
    }
    routes
}

/// Programs routes in the network namespace of the process.
pub struct Programmer {
    handle: Handle,
    current: Routes,
}

impl Programmer {
    /// Opens the socket and reads the routes that an earlier agent left.
    pub async fn start() -> Result<Programmer, Error> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let mut current = Routes::new();
        for filter in [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ] {
            let mut routes = Box::pin(handle.route().get(filter).execute());
            let read = |source| Error::Netlink { action: "read the routes".to_owned(), source };
            while let Some(route) = routes.try_next().await.map_err(read)? {
                current.extend(ours(&route));
            }
        }
        Ok(Programmer { handle, current })
    }

    /// Makes the kernel's table show exactly `wanted` among our routes. What fails is tried again at the next call.
    pub async fn apply(&mut self, wanted: &Routes) -> Result<(), Error> {
        let gone: Vec<(Cidr, IpAddr)> =
            self.current.iter().filter(|(cidr, _)| !wanted.contains_key(cidr)).map(|(c, g)| (*c, *g)).collect();
        let mut first_error = None;
        for (cidr, gateway) in gone {
            match self.handle.route().del(message(cidr, gateway)).execute().await {
                // ESRCH: somebody else removed it.
                Err(source) if !is_missing(&source) => {
                    first_error.get_or_insert(failed("remove the route to", cidr, gateway, source));
                }
                _ => {
                    self.current.remove(&cidr);
                }
            }
        }
        for (cidr, gateway) in wanted {
            if self.current.get(cidr) == Some(gateway) {
                continue;
            }
            match self.handle.route().add(message(*cidr, *gateway)).replace().execute().await {
                Ok(()) => {
                    self.current.insert(*cidr, *gateway);
                }
                Err(source) => {
                    first_error.get_or_insert(failed("set the route to", *cidr, *gateway, source));
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

fn failed(action: &str, cidr: Cidr, gateway: IpAddr, source: rtnetlink::Error) -> Error {
    Error::Netlink { action: format!("{action} {}/{} via {gateway}", cidr.address, cidr.length), source }
}

fn is_missing(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -libc::ESRCH)
}

fn message(cidr: Cidr, gateway: IpAddr) -> RouteMessage {
    match (cidr.address, gateway) {
        (IpAddr::V4(address), IpAddr::V4(gateway)) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(address, cidr.length)
            .gateway(gateway)
            .protocol(PROTOCOL)
            .build(),
        (IpAddr::V6(address), IpAddr::V6(gateway)) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(address, cidr.length)
            .gateway(gateway)
            .protocol(PROTOCOL)
            .build(),
        // `wanted` pairs addresses of one family only; a message without a gateway is refused by the kernel.
        _ => RouteMessageBuilder::<std::net::Ipv4Addr>::new().protocol(PROTOCOL).build(),
    }
}

/// A route of the kernel's table, if it is one of ours.
fn ours(route: &RouteMessage) -> Option<(Cidr, IpAddr)> {
    if route.header.protocol != PROTOCOL {
        return None;
    }
    let mut destination = None;
    let mut gateway = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            _ => {}
        }
    }
    Some((Cidr { address: destination?, length: route.header.destination_prefix_length }, gateway?))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, cidr: &str, ip: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podCIDR": cidr},
            "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": ip}]}}))
        .expect("a node")
    }

    #[test]
    fn every_other_node_on_the_link_is_routed_to() {
        let nodes = [
            node("a", "10.244.0.0/24", "192.0.2.1"),
            node("b", "10.244.1.0/24", "192.0.2.2"),
            node("c", "10.244.2.0/24", "192.0.2.1"),
            node("d", "nonsense", "192.0.2.4"),
            node("e", "10.244.4.0/24", "fd00::5"),
        ];
        let own = ["192.0.2.1".parse().expect("an address")];
        let routes = wanted("a", &own, nodes.iter());
        let shown: Vec<String> =
            routes.iter().map(|(cidr, gateway)| format!("{}/{} via {gateway}", cidr.address, cidr.length)).collect();
        assert_eq!(shown, ["10.244.1.0/24 via 192.0.2.2"]);
    }
}
