//! The built-in kinds, one module each, as entries of the registry.
//!
//! A module says what is special about its kind: names as upstream's discovery shows them, columns, selectable fields,
//! and a strategy with defaults, preparation and rules. Error texts are upstream's.

mod config_map;
mod deployment;
mod endpoint_slice;
pub mod endpoints;
mod event;
pub mod fields;
mod lease;
mod namespace;
mod node;
pub mod pod;
mod replica_set;
mod replicas;
mod secret;
mod service;
mod service_account;
pub mod validation;

use crate::registry::Kind;

pub fn all() -> Vec<Kind> {
    vec![
        config_map::kind(),
        endpoints::kind(),
        event::kind(),
        namespace::kind(),
        node::kind(),
        pod::kind(),
        secret::kind(),
        service::kind(),
        service_account::kind(),
        deployment::kind(),
        replica_set::kind(),
        lease::kind(),
        endpoint_slice::kind(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_a_place_of_its_own() {
        let kinds = super::all();
        let mut places = HashSet::new();
        let mut keys = HashSet::new();
        for kind in &kinds {
            assert!(places.insert((kind.group.clone(), kind.resource.clone())), "{kind:?} is there twice");
            assert!(keys.insert(kind.storage_prefix.clone()), "{kind:?} shares its place in the store");
            assert!(kind.storage_prefix.starts_with("/registry/") && kind.storage_prefix.ends_with('/'));
        }
    }
}
