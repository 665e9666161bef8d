//! The table of kinds that requests are looked up in.

use std::{collections::HashMap, sync::Arc};

use super::Kind;

/// The `includeObject` option of server-side tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

/// All kinds. The set is fixed at start-up; its index is the kind's place in the watch cache.
pub struct Registry {
    kinds: Vec<Arc<Kind>>,
    by_resource: HashMap<String, HashMap<String, HashMap<String, usize>>>,
}

impl Registry {
    pub fn new(kinds: Vec<Kind>) -> Registry {
        let number = |(index, mut kind): (usize, Kind)| {
            kind.index = index;
            Arc::new(kind)
        };
        let kinds: Vec<Arc<Kind>> = kinds.into_iter().enumerate().map(number).collect();
        let mut by_resource: HashMap<String, HashMap<String, HashMap<String, usize>>> = HashMap::new();
        for (index, kind) in kinds.iter().enumerate() {
            by_resource
                .entry(kind.group.to_string())
                .or_default()
                .entry(kind.version.to_string())
                .or_default()
                .insert(kind.resource.to_string(), index);
        }
        Registry { kinds, by_resource }
    }

    pub fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The kind served at group/version/resource.
    pub fn find(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Kind>> {
        let index = *self.by_resource.get(group)?.get(version)?.get(resource)?;
        Some(&self.kinds[index])
    }

    /// The kind of a resource in whichever version is registered first.
    pub fn find_resource(&self, group: &str, resource: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|kind| kind.group == group && kind.resource == resource)
    }

    /// The kind called `kind` in this group, in any version.
    pub fn find_kind(&self, group: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|candidate| candidate.group == group && candidate.kind == kind)
    }

    pub fn serves_group_version(&self, group: &str, version: &str) -> bool {
        self.by_resource.get(group).is_some_and(|versions| versions.contains_key(version))
    }
}
