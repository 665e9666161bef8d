//! One kind as data: its names, scope, verbs, storage place, subresources, columns and strategy.

use std::{borrow::Cow, sync::Arc, time::Duration};

use keelson_objects::status::GroupResource;
use serde_json::Value;

use super::{Column, Plain, Strategy, Subresource, Verb};

/// Text that is static for built-in kinds and owned for custom ones.
pub type Text = Cow<'static, str>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// A field that field selectors may name beside `metadata.name` and `metadata.namespace`, and how to read it.
/// An absent value reads as the empty string, as upstream does.
#[derive(Clone)]
pub struct SelectableField {
    pub name: Text,
    pub read: fn(&Value) -> String,
}

/// Built with [`Kind::new`] and the `with_*`/setter methods below; see `kinds/` for every built-in one.
pub struct Kind {
    /// Empty for the core group.
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub list_kind: Text,
    /// Plural and lower case, as in the path.
    pub resource: Text,
    pub singular: Text,
    pub short_names: Vec<Text>,
    pub categories: Vec<Text>,
    pub scope: Scope,
    pub verbs: &'static [Verb],
    /// What every object of it begins with in JSON, as it is stored and cached: the brace, `apiVersion` and `kind`. Items
    /// of a list go without these two, as upstream's do.
    pub opening: Text,
    /// Ends in a slash: `/registry/pods/`. Keys below it are `<namespace>/<name>` or `<name>`.
    pub storage_prefix: Text,
    /// Carries the annotation `keelson.dev/traceparent`, and its requests are sampled.
    pub traced: bool,
    /// `metadata.generation` starts at 1 and counts changes outside metadata and status.
    pub generation: bool,
    /// Objects that are not written again for so long go by themselves.
    pub time_to_live: Option<Duration>,
    pub subresources: Vec<Subresource>,
    /// After Name (always first) come these, with Age where the list says so. Empty: Name and Age.
    pub columns: Vec<Column>,
    pub selectable_fields: Vec<SelectableField>,
    pub strategy: Arc<dyn Strategy>,
    /// The kind's place in the registry and in the watch cache; set by the registry.
    pub index: usize,
}

impl Kind {
    /// A namespaced kind with all verbs, plain strategy, no subresources, and upstream's usual storage prefix
    /// (`/registry/<resource>/`).
    pub fn new(group: &'static str, version: &'static str, kind: &'static str, resource: &'static str) -> Kind {
        let api_version = keelson_objects::meta::join_api_version(group, version);
        Kind {
            opening: format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","#).into(),
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            list_kind: format!("{kind}List").into(),
            resource: resource.into(),
            singular: kind.to_ascii_lowercase().into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            scope: Scope::Namespaced,
            verbs: Verb::ALL,
            storage_prefix: format!("/registry/{resource}/").into(),
            traced: false,
            generation: false,
            time_to_live: None,
            subresources: Vec::new(),
            columns: Vec::new(),
            selectable_fields: Vec::new(),
            strategy: Arc::new(Plain),
            index: usize::MAX,
        }
    }

    pub fn cluster_scoped(mut self) -> Kind {
        self.scope = Scope::Cluster;
        self
    }

    pub fn short_names(mut self, names: &[&'static str]) -> Kind {
        self.short_names = names.iter().map(|name| Text::from(*name)).collect();
        self
    }

    pub fn categories(mut self, names: &[&'static str]) -> Kind {
        self.categories = names.iter().map(|name| Text::from(*name)).collect();
        self
    }

    pub fn verbs(mut self, verbs: &'static [Verb]) -> Kind {
        self.verbs = verbs;
        self
    }

    /// With the slash at its end.
    pub fn storage_prefix(mut self, prefix: &'static str) -> Kind {
        self.storage_prefix = prefix.into();
        self
    }

    pub fn traced(mut self) -> Kind {
        self.traced = true;
        self
    }

    pub fn with_generation(mut self) -> Kind {
        self.generation = true;
        self
    }

    pub fn time_to_live(mut self, time: Duration) -> Kind {
        self.time_to_live = Some(time);
        self
    }

    pub fn subresource(mut self, subresource: Subresource) -> Kind {
        self.subresources.push(subresource);
        self
    }

    pub fn columns(mut self, columns: Vec<Column>) -> Kind {
        self.columns = columns;
        self
    }

    pub fn selectable_field(mut self, name: &'static str, read: fn(&Value) -> String) -> Kind {
        self.selectable_fields.push(SelectableField { name: name.into(), read });
        self
    }

    pub fn strategy(mut self, strategy: impl Strategy) -> Kind {
        self.strategy = Arc::new(strategy);
        self
    }

    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `deployments.apps`, as messages name a resource.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.resource.to_string() } else { format!("{}.{}", self.resource, self.group) }
    }

    /// The same as a value, for errors.
    pub fn as_group_resource(&self) -> GroupResource<'_> {
        GroupResource::new(&self.group, &self.resource)
    }

    pub fn find_subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// With a status subresource, writes to the main resource do not touch `status`.
    pub fn has_status(&self) -> bool {
        self.find_subresource("status").is_some()
    }

    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    /// The key below [`Kind::storage_prefix`].
    pub fn relative_key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced() { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    pub fn storage_key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced() {
            format!("{}{namespace}/{name}", self.storage_prefix)
        } else {
            format!("{}{name}", self.storage_prefix)
        }
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.api_version(), self.kind)
    }
}
