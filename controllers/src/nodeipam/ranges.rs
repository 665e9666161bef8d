//! Which part of the cluster's address range belongs to which node.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The cluster's range and how it is cut.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    #[error("node mask size /{mask} does not fit cluster CIDR {cluster}: choose one between /{least} and /{most}")]
    Mask { cluster: IpNet, mask: u8, least: u8, most: u8 },
    #[error("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")]
    Exhausted,
    #[error("{cidr} is outside of cluster CIDR {cluster}, or is no node's part of it")]
    Foreign { cidr: IpNet, cluster: IpNet },
    #[error("{cidr} of node {node} belongs to node {holder} already")]
    Taken { cidr: IpNet, node: String, holder: String },
}

/// More nodes than this are not numbered, however large the cluster's range is.
const MOST_BITS: u8 = 16;

/// The parts of one cluster CIDR, and the nodes that hold them.
#[derive(Debug)]
pub struct Ranges {
    cluster: IpNet,
    mask: u8,
    held: BTreeMap<u32, BTreeSet<String>>,
    next: u32,
}

impl Ranges {
    pub fn new(cluster: IpNet, mask: u8) -> Result<Self, Error> {
        let least = cluster.prefix_len();
        let most = cluster.max_prefix_len().min(least.saturating_add(MOST_BITS));
        if mask < least || mask > most {
            return Err(Error::Mask { cluster, mask, least, most });
        }
        Ok(Self { cluster: cluster.trunc(), mask, held: BTreeMap::new(), next: 0 })
    }

    fn capacity(&self) -> u32 {
        1 << (self.mask - self.cluster.prefix_len())
    }

    fn part(&self, index: u32) -> IpNet {
        match self.cluster {
            IpNet::V4(cluster) => {
                let offset = index << (32 - u32::from(self.mask)).min(31);
                let offset = if self.mask == 0 { 0 } else { offset };
                let address = u32::from(cluster.network()) | offset;
                IpNet::V4(Ipv4Net::new_assert(address.into(), self.mask))
            }
            IpNet::V6(cluster) => {
                let offset = u128::from(index).checked_shl(128 - u32::from(self.mask)).unwrap_or(0);
                let address = u128::from(cluster.network()) | offset;
                IpNet::V6(Ipv6Net::new_assert(address.into(), self.mask))
            }
        }
    }

    fn index(&self, cidr: IpNet) -> Result<u32, Error> {
        let foreign = Error::Foreign { cidr, cluster: self.cluster };
        if cidr.prefix_len() != self.mask || cidr.trunc() != cidr || !self.cluster.contains(&cidr) {
            return Err(foreign);
        }
        let (distance, width) = match (cidr, self.cluster) {
            (IpNet::V4(cidr), IpNet::V4(cluster)) => {
                (u128::from(u32::from(cidr.network()) - u32::from(cluster.network())), 32 - u32::from(self.mask))
            }
            (IpNet::V6(cidr), IpNet::V6(cluster)) => {
                (u128::from(cidr.network()) - u128::from(cluster.network()), 128 - u32::from(self.mask))
            }
            _ => return Err(foreign),
        };
        u32::try_from(distance.checked_shr(width).unwrap_or(0)).map_err(|_| foreign)
    }

    /// Notes that a node holds a part. Two nodes with one part are both noted, so that it is not given out before both
    /// are gone; the second is told.
    pub fn occupy(&mut self, node: &str, cidr: IpNet) -> Result<(), Error> {
        let index = self.index(cidr)?;
        let holders = self.held.entry(index).or_default();
        let other = holders.iter().find(|holder| *holder != node).cloned();
        holders.insert(node.to_owned());
        match other {
            Some(holder) => Err(Error::Taken { cidr, node: node.to_owned(), holder }),
            None => Ok(()),
        }
    }

    /// Gives a node the part that follows the one given out last, skipping what is held: a part that was given back is
    /// used again as late as possible. A node that holds a part already is given the same again.
    pub fn allocate(&mut self, node: &str) -> Result<IpNet, Error> {
        if let Some((index, _)) = self.held.iter().find(|(_, holders)| holders.len() == 1 && holders.contains(node)) {
            return Ok(self.part(*index));
        }
        let capacity = self.capacity();
        for step in 0..capacity {
            let index = (self.next + step) % capacity;
            if let Entry::Vacant(free) = self.held.entry(index) {
                free.insert(BTreeSet::from([node.to_owned()]));
                self.next = (index + 1) % capacity;
                return Ok(self.part(index));
            }
        }
        Err(Error::Exhausted)
    }

    /// Takes back whatever the node holds.
    pub fn release(&mut self, node: &str) {
        self.held.retain(|_, holders| {
            holders.remove(node);
            !holders.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a CIDR")
    }

    #[test]
    fn parts_are_given_out_once() {
        let mut ranges = Ranges::new(net("10.244.0.0/22"), 24).expect("ranges");
        ranges.occupy("old", net("10.244.1.0/24")).expect("a free part");
        let given: Vec<String> =
            ["a", "b", "c"].iter().map(|node| ranges.allocate(node).expect("a part").to_string()).collect();
        assert_eq!(given, ["10.244.0.0/24", "10.244.2.0/24", "10.244.3.0/24"]);
        assert_eq!(ranges.allocate("b"), Ok(net("10.244.2.0/24")));
        assert_eq!(ranges.allocate("d"), Err(Error::Exhausted));
        ranges.release("b");
        assert_eq!(ranges.allocate("d"), Ok(net("10.244.2.0/24")));
    }

    #[test]
    fn a_part_held_twice_stays_held_until_both_are_gone() {
        let mut ranges = Ranges::new(net("10.244.0.0/24"), 24).expect("ranges");
        ranges.occupy("a", net("10.244.0.0/24")).expect("a free part");
        assert!(ranges.occupy("a", net("10.244.0.0/24")).is_ok());
        assert!(matches!(ranges.occupy("b", net("10.244.0.0/24")), Err(Error::Taken { .. })));
        ranges.release("a");
        assert_eq!(ranges.allocate("c"), Err(Error::Exhausted));
        ranges.release("b");
        assert!(ranges.allocate("c").is_ok());
    }

    #[test]
    fn foreign_parts_are_refused() {
        let mut ranges = Ranges::new(net("10.244.0.0/16"), 24).expect("ranges");
        for cidr in ["10.245.0.0/24", "10.244.0.0/25", "fd00::/24"] {
            assert!(matches!(ranges.occupy("a", net(cidr)), Err(Error::Foreign { .. })), "{cidr}");
        }
    }

    #[test]
    fn masks_must_fit() {
        for (cluster, mask) in [("10.244.0.0/16", 8), ("10.244.0.0/16", 33), ("fd00::/48", 65)] {
            assert!(matches!(Ranges::new(net(cluster), mask), Err(Error::Mask { .. })), "{cluster} {mask}");
        }
    }

    #[test]
    fn six_works_as_four() {
        let mut ranges = Ranges::new(net("fd00:1::/56"), 64).expect("ranges");
        ranges.occupy("a", net("fd00:1::/64")).expect("a free part");
        assert_eq!(ranges.allocate("b"), Ok(net("fd00:1:0:1::/64")));
        assert!(ranges.occupy("c", net("fd00:1:0:1::/64")).is_err());
    }
}
