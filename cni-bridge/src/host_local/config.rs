//! The `ipam` section of host-local, completed and checked.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::range::RangeSet;
use crate::protocol::{Error, Request, Route};

const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

#[derive(Debug)]
pub struct IpamConfig {
    /// One address is taken from each.
    pub sets: Vec<RangeSet>,
    pub routes: Vec<Route>,
    pub data_dir: PathBuf,
    pub resolv_conf: Option<PathBuf>,
    /// Addresses asked for by the caller.
    pub requested: Vec<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Section {
    ranges: Vec<Vec<crate::protocol::RangeConfig>>,
    /// The older form of one range, in the section itself.
    subnet: Option<ipnet::IpNet>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
    routes: Vec<Route>,
    data_dir: String,
    resolv_conf: String,
}

fn section(request: &Request) -> Result<Section, Error> {
    if request.config.ipam.is_null() {
        return Err(Error::config("IPAM config missing 'ipam' key"));
    }
    Section::deserialize(&request.config.ipam).map_err(|error| Error::config(format!("ipam: {error}")))
}

impl IpamConfig {
    pub fn from_request(request: &Request) -> Result<Self, Error> {
        let section = section(request)?;
        let mut ranges = Vec::new();
        if let Some(subnet) = section.subnet {
            ranges.push(vec![crate::protocol::RangeConfig {
                subnet,
                range_start: section.range_start,
                range_end: section.range_end,
                gateway: section.gateway,
            }]);
        }
        // Ranges of the runtime's come first: upstream takes from them before those of the file.
        ranges.extend(request.config.runtime_config.ip_ranges.iter().cloned());
        ranges.extend(section.ranges);
        if ranges.is_empty() {
            return Err(Error::config("no IP ranges specified"));
        }
        let sets = ranges.iter().map(|set| RangeSet::new(set)).collect::<Result<Vec<_>, _>>()?;
        for (index, set) in sets.iter().enumerate() {
            if let Some(other) = sets[..index].iter().find(|other| other.overlaps(set)) {
                return Err(Error::config(format!("range set {index} overlaps with {other}")));
            }
        }

        let requested = requested_addresses(request)?;
        for address in &requested {
            if !sets.iter().any(|set| set.contains(*address)) {
                return Err(Error::config(format!("requested IP {address} is not in any of the ranges")));
            }
        }
        Ok(IpamConfig {
            sets,
            routes: section.routes,
            data_dir: data_dir(&section.data_dir),
            resolv_conf: (!section.resolv_conf.is_empty()).then(|| section.resolv_conf.into()),
            requested,
        })
    }

    /// What is given back does not depend on ranges that may have changed since.
    pub fn data_dir_only(request: &Request) -> Result<PathBuf, Error> {
        section(request).map(|section| data_dir(&section.data_dir))
    }
}

fn data_dir(configured: &str) -> PathBuf {
    if configured.is_empty() { DEFAULT_DATA_DIR.into() } else { configured.into() }
}

fn requested_addresses(request: &Request) -> Result<Vec<IpAddr>, Error> {
    let from_args = request.arg("IP").into_iter().filter(|value| !value.is_empty());
    let from_config = request.config.args.cni.ips.iter().map(String::as_str);
    let from_runtime = request.config.runtime_config.ips.iter().map(String::as_str);
    from_args
        .chain(from_config)
        .chain(from_runtime)
        .map(|text| {
            // Both `10.0.0.9` and `10.0.0.9/24` are in use.
            let address = text.split_once('/').map_or(text, |(address, _)| address);
            address.parse().map_err(|_| Error::config(format!("requested IP {text:?} is not an address")))
        })
        .collect()
}
