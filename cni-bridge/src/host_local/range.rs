//! Ranges of addresses, and the order in which they are tried.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::protocol::{Error, RangeConfig};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub subnet: IpNet,
    pub start: IpAddr,
    pub end: IpAddr,
    pub gateway: IpAddr,
}

/// Ranges of one family that one address is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// `like` says which family; the value comes from an address of it.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

impl Range {
    pub fn new(config: &RangeConfig) -> Result<Self, Error> {
        let subnet = config.subnet;
        if subnet.addr() != subnet.network() {
            return Err(Error::config(format!("network has host bits set: {subnet}, use {}", subnet.trunc())));
        }
        if subnet.max_prefix_len() - subnet.prefix_len() < 2 {
            return Err(Error::config(format!("network {subnet} is too small to allocate from")));
        }
        let first = address(number(subnet.network()) + 1, subnet.addr());
        // The last address of an IPv4 network is its broadcast address.
        let last = match subnet {
            IpNet::V4(network) => address(number(IpAddr::V4(network.broadcast())) - 1, subnet.addr()),
            IpNet::V6(network) => IpAddr::V6(network.broadcast()),
        };
        let range = Range {
            subnet,
            start: config.range_start.unwrap_or(first),
            end: config.range_end.unwrap_or(last),
            gateway: config.gateway.unwrap_or(first),
        };
        for (what, value) in [("rangeStart", range.start), ("rangeEnd", range.end)] {
            if !subnet.contains(&value) {
                return Err(Error::config(format!("{what} {value} not in network {subnet}")));
            }
        }
        if range.gateway.is_ipv4() != subnet.addr().is_ipv4() {
            return Err(Error::config(format!("gateway {} is not of the family of {subnet}", range.gateway)));
        }
        if number(range.start) > number(range.end) {
            return Err(Error::config(format!("rangeStart {} is after rangeEnd {}", range.start, range.end)));
        }
        Ok(range)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.start.is_ipv4() && (number(self.start)..=number(self.end)).contains(&number(address))
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let like = self.start;
        (number(self.start)..=number(self.end)).map(move |value| address(value, like))
    }
}

impl RangeSet {
    pub fn new(configs: &[RangeConfig]) -> Result<Self, Error> {
        let ranges = configs.iter().map(Range::new).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = ranges.first() else { return Err(Error::config("empty range set")) };
        if ranges.iter().any(|range| range.start.is_ipv4() != first.start.is_ipv4()) {
            return Err(Error::config("mixed address families in one range set"));
        }
        Ok(RangeSet(ranges))
    }

    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.range_of(address).is_some()
    }

    pub fn overlaps(&self, other: &RangeSet) -> bool {
        self.0.iter().any(|mine| {
            other
                .0
                .iter()
                .any(|theirs| mine.contains(theirs.start) || mine.contains(theirs.end) || theirs.contains(mine.start))
        })
    }

    /// All addresses, beginning after `last` and ending with it: a freed address rests as long as others are free.
    pub fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let position = last.and_then(|last| self.0.iter().position(|range| range.contains(last)).map(|at| (at, last)));
        let (at, last) = match position {
            Some((at, last)) => (at, Some(last)),
            None => (0, None),
        };
        let count = self.0.len();
        let after = move |candidate: &IpAddr| last.is_none_or(|last| number(*candidate) > number(last));
        let up_to = move |candidate: &IpAddr| last.is_some_and(|last| number(*candidate) <= number(last));
        let first = self.0[at].addresses().filter(after).map(move |address| (address, &self.0[at]));
        let others = (1..count).flat_map(move |step| {
            let range = &self.0[(at + step) % count];
            range.addresses().map(move |address| (address, range))
        });
        let wrapped = self.0[at].addresses().take_while(up_to).map(move |address| (address, &self.0[at]));
        first.chain(others).chain(wrapped).filter(|(address, range)| *address != range.gateway)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|range| format!("{}-{}", range.start, range.end)).collect();
        formatter.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(subnet: &str, start: Option<&str>, end: Option<&str>) -> RangeConfig {
        RangeConfig {
            subnet: subnet.parse().expect("subnet"),
            range_start: start.map(|text| text.parse().expect("address")),
            range_end: end.map(|text| text.parse().expect("address")),
            gateway: None,
        }
    }

    fn order(set: &RangeSet, last: Option<&str>) -> Vec<String> {
        set.candidates(last.map(|text| text.parse().expect("address")))
            .map(|(address, _)| address.to_string())
            .collect()
    }

    #[test]
    fn the_gateway_and_the_edges_are_not_given_out() {
        let set = RangeSet::new(&[config("10.1.0.0/29", None, None)]).expect("set");
        assert_eq!(order(&set, None), ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
    }

    #[test]
    fn it_goes_on_after_the_last_address_and_wraps() {
        let set = RangeSet::new(&[config("10.1.0.0/29", None, None)]).expect("set");
        assert_eq!(order(&set, Some("10.1.0.4")), ["10.1.0.5", "10.1.0.6", "10.1.0.2", "10.1.0.3", "10.1.0.4"]);
        assert_eq!(order(&set, Some("10.1.0.6"))[0], "10.1.0.2");
        // A last address out of a range that is no longer configured.
        assert_eq!(order(&set, Some("192.168.0.1"))[0], "10.1.0.2");
    }

    #[test]
    fn ranges_of_a_set_follow_each_other() {
        let set = RangeSet::new(&[
            config("10.1.0.0/24", Some("10.1.0.10"), Some("10.1.0.11")),
            config("10.2.0.0/24", Some("10.2.0.10"), Some("10.2.0.11")),
        ])
        .expect("set");
        assert_eq!(order(&set, Some("10.1.0.11")), ["10.2.0.10", "10.2.0.11", "10.1.0.10", "10.1.0.11"]);
        assert_eq!(order(&set, Some("10.2.0.10")), ["10.2.0.11", "10.1.0.10", "10.1.0.11", "10.2.0.10"]);
    }

    #[test]
    fn six_works_as_four_does() {
        let set = RangeSet::new(&[config("fd00::/126", None, None)]).expect("set");
        assert_eq!(order(&set, None), ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let table = [
            config("10.1.0.0/31", None, None),
            config("10.1.0.1/24", None, None),
            config("10.1.0.0/24", Some("10.2.0.1"), None),
            config("10.1.0.0/24", Some("10.1.0.9"), Some("10.1.0.8")),
        ];
        for bad in table {
            assert_eq!(RangeSet::new(std::slice::from_ref(&bad)).expect_err("bad").code, 7, "{bad:?}");
        }
        assert!(RangeSet::new(&[]).is_err());
        assert!(RangeSet::new(&[config("10.0.0.0/24", None, None), config("fd00::/64", None, None)]).is_err());
    }
}
