//! `type: host-local`: addresses out of ranges of this host, remembered in files.
//!
//! The store has upstream's layout (`<dataDir>/<network>/<ip>` holding container id and interface), so both can follow
//! each other on a node. An address is taken and given back under one lock, and appears in one step: a crash leaves
//! it either free or with an owner that DEL and GC find.

mod allocator;
mod config;
mod range;
mod resolv;
mod store;

use std::collections::HashSet;

use config::IpamConfig;
use store::Store;

use crate::protocol::{Attachment, CniResult, Error, Request};

pub fn add(request: &Request) -> Result<CniResult, Error> {
    let config = IpamConfig::from_request(request)?;
    let dns = match &config.resolv_conf {
        Some(path) => resolv::read(path)?,
        None => Default::default(),
    };
    let store = Store::open(&config.data_dir, &request.config.name)?;
    let ips = allocator::allocate(&store, &config, &owner(request))?;
    Ok(CniResult { interfaces: Vec::new(), ips, routes: config.routes, dns })
}

/// Gives back everything that this attachment has; nothing to give back is no error.
pub fn del(request: &Request) -> Result<(), Error> {
    let config = IpamConfig::data_dir_only(request)?;
    let store = Store::open(&config, &request.config.name)?;
    store.release(&owner(request)).map(|_| ())
}

pub fn check(request: &Request) -> Result<(), Error> {
    let store = Store::open(&IpamConfig::data_dir_only(request)?, &request.config.name)?;
    if store.owned_by(&owner(request))?.is_empty() {
        return Err(Error::check(format!(
            "host-local: failed to find address added by container {}",
            request.container_id
        )));
    }
    Ok(())
}

/// Gives back the addresses of all attachments that the runtime does not name.
pub fn gc(request: &Request) -> Result<(), Error> {
    let Some(valid) = &request.config.valid_attachments else {
        return Err(Error::config("GC needs cni.dev/valid-attachments"));
    };
    let valid: HashSet<&Attachment> = valid.iter().collect();
    let store = Store::open(&IpamConfig::data_dir_only(request)?, &request.config.name)?;
    store.release_where(|attachment| !valid.contains(attachment)).map(|_| ())
}

/// A full range is not our node's failure, a missing or wrong range is.
pub fn status(request: &Request) -> Result<(), Error> {
    let config = IpamConfig::from_request(request).map_err(|error| Error::not_available(error.message))?;
    Store::open(&config.data_dir, &request.config.name).map(|_| ()).map_err(|error| Error::not_available(error.message))
}

fn owner(request: &Request) -> Attachment {
    Attachment { container_id: request.container_id.clone(), ifname: request.interface.clone() }
}
