//! Which address a service gets.
//!
//! A range has two parts: a lower one that people choose from by hand and an upper one that the server draws from, so
//! that the two seldom meet (KEP-3070). Only when the upper part is full is the lower one used.

use std::net::IpAddr;

use ipnet::IpNet;
use rand::Rng;

/// Offsets into the range that services can have: neither the network's own address nor, for IPv4, its broadcast.
fn usable(range: IpNet) -> u128 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len()).min(20);
    let size = 1u128 << bits;
    match range {
        IpNet::V4(_) => size.saturating_sub(2),
        IpNet::V6(_) => size - 1,
    }
}

/// How many addresses are kept for choosing by hand: a sixteenth of the range, between 16 and 256.
fn static_part(size: u128) -> u128 {
    if size < 16 { 0 } else { (size / 16).clamp(16, 256).min(size) }
}

/// The address at an offset, counted from the first that a service can have.
fn at(range: IpNet, offset: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(network) => IpAddr::V4((u32::from(network).wrapping_add(1 + offset as u32)).into()),
        IpAddr::V6(network) => IpAddr::V6((u128::from(network).wrapping_add(1 + offset)).into()),
    }
}

/// A free address, drawn at random. `is_taken` may be wrong for a moment: the claim in the store decides.
pub fn draw(range: IpNet, random: &mut impl Rng, is_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let size = usable(range);
    let reserved = static_part(size);
    for (from, to) in [(reserved, size), (0, reserved)] {
        if from == to {
            continue;
        }
        let start = random.random_range(from..to);
        let found = (start..to).chain(from..start).map(|offset| at(range, offset)).find(|address| !is_taken(*address));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Whether a service can have this address.
pub fn belongs(range: IpNet, address: IpAddr) -> bool {
    let is_edge = address == range.network() || (range.addr().is_ipv4() && address == range.broadcast());
    range.contains(&address) && !is_edge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_part_is_drawn_from_first() {
        let range: IpNet = "10.96.0.0/24".parse().unwrap();
        let mut random = rand::rng();
        for _ in 0..200 {
            let IpAddr::V4(address) = draw(range, &mut random, |_| false).unwrap() else { panic!("an IPv4 range") };
            assert!((17..255).contains(&address.octets()[3]), "{address}");
        }
        let upper_is_full = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets()[3] > 16,
            IpAddr::V6(_) => true,
        };
        let IpAddr::V4(lower) = draw(range, &mut random, upper_is_full).unwrap() else { panic!("an IPv4 range") };
        assert!((1..=16).contains(&lower.octets()[3]));
        assert_eq!(draw(range, &mut random, |_| true), None);
    }

    #[test]
    fn every_address_of_a_small_range_is_found() {
        let range: IpNet = "10.0.0.0/29".parse().unwrap();
        let mut taken: Vec<IpAddr> = Vec::new();
        while let Some(address) = draw(range, &mut rand::rng(), |address| taken.contains(&address)) {
            assert!(belongs(range, address));
            taken.push(address);
        }
        assert_eq!(taken.len(), 6);
        assert!(!belongs(range, "10.0.0.0".parse().unwrap()));
        assert!(!belongs(range, "10.0.0.7".parse().unwrap()));
        assert!(!belongs(range, "10.0.1.1".parse().unwrap()));
    }
}
