//! Indexes of a cache: functions from an object to the values under which it is found.

use k8s_openapi::api::core::v1::Pod;

use crate::Object;

pub type IndexFunction<K> = fn(&K) -> Vec<String>;

/// A named index.
pub struct Index<K> {
    pub name: &'static str,
    pub function: IndexFunction<K>,
}

/// The name for an index by [`owner_uids`].
pub const OWNER: &str = "owner";
/// The name for an index by [`node_name`].
pub const NODE: &str = "node";

/// The uids of all owners.
pub fn owner_uids<K: Object>(object: &K) -> Vec<String> {
    object.metadata().owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
}

/// The uid of the owner that manages the object.
pub fn controller_uid<K: Object>(object: &K) -> Vec<String> {
    let owners = object.metadata().owner_references.iter().flatten();
    owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone()).collect()
}

/// The node that a pod is bound to.
pub fn node_name(pod: &Pod) -> Vec<String> {
    pod.spec.iter().filter_map(|spec| spec.node_name.clone()).filter(|node| !node.is_empty()).collect()
}
