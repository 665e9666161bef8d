//! Takes one address from each set of ranges, or none at all.

use std::net::IpAddr;

use ipnet::IpNet;

use super::config::IpamConfig;
use super::range::{Range, RangeSet};
use super::store::Store;
use crate::protocol::{Attachment, Error, IpConfig};

pub fn allocate(store: &Store, config: &IpamConfig, owner: &Attachment) -> Result<Vec<IpConfig>, Error> {
    let already = store.owned_by(owner)?;
    if !already.is_empty() {
        return Err(Error::failed(format!(
            "{} {} has been allocated to {}, duplicate allocation is not allowed",
            owner.ifname, already[0], owner.container_id
        )));
    }
    let mut taken: Vec<(IpAddr, IpConfig)> = Vec::new();
    for (index, set) in config.sets.iter().enumerate() {
        match take(store, set, index, &config.requested, owner) {
            Ok((address, ip)) => taken.push((address, ip)),
            Err(error) => {
                for (address, _) in taken {
                    store.free(address)?;
                }
                return Err(error);
            }
        }
    }
    Ok(taken.into_iter().map(|(_, ip)| ip).collect())
}

fn take(
    store: &Store,
    set: &RangeSet,
    index: usize,
    requested: &[IpAddr],
    owner: &Attachment,
) -> Result<(IpAddr, IpConfig), Error> {
    if let Some(address) = requested.iter().copied().find(|address| set.contains(*address)) {
        let range = set.range_of(address).expect("the set contains the address");
        if address == range.gateway {
            return Err(Error::failed(format!("requested ip {address} is subnet's gateway")));
        }
        return if store.reserve(address, owner, index)? {
            Ok((address, ip_config(address, range)?))
        } else {
            Err(Error::failed(format!("requested IP address {address} is not available in range set {set}")))
        };
    }
    for (address, range) in set.candidates(store.last_reserved(index)) {
        // Looking is cheaper than writing the file that would not be linked.
        if !store.is_reserved(address) && store.reserve(address, owner, index)? {
            return Ok((address, ip_config(address, range)?));
        }
    }
    Err(Error::no_addresses(format!("no IP addresses available in range set: {set}")))
}

fn ip_config(address: IpAddr, range: &Range) -> Result<IpConfig, Error> {
    let network = IpNet::new(address, range.subnet.prefix_len()).map_err(|error| Error::failed(error.to_string()))?;
    Ok(IpConfig { address: network, gateway: Some(range.gateway), interface: None })
}
