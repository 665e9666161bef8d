//! Which kinds the API server serves, read from its aggregated discovery document.
//!
//! The garbage collector and the deletion of namespaces act on every kind, also on those that nobody knew when this was
//! compiled.

use std::collections::BTreeMap;

use keelson_client::{Client, Error, Resource};
use serde::Deserialize;

/// A kind as it is served.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ResourceType {
    pub group: String,
    pub version: String,
    pub resource: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl ResourceType {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn supports(&self, verb: &str) -> bool {
        self.verbs.iter().any(|supported| supported == verb)
    }

    pub fn to_client(&self) -> Resource {
        Resource::new(&self.group, &self.version, &self.resource)
    }

    /// `pods` or `deployments.apps`.
    pub fn qualified_name(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }
}

/// Asks for every kind that is served now, each once, in its preferred version.
pub async fn discover(client: &Client) -> Result<Vec<ResourceType>, Error> {
    let everything = Resource::new("", "", "");
    let document = client.dynamic(&everything, "").get("").await?;
    serde_json::from_value::<Document>(document)
        .map(resource_types)
        .map_err(|error| Error::Decode { what: "the discovery document", message: error.to_string() })
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: GroupMetadata,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct GroupMetadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Served>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Served {
    resource: String,
    #[serde(default)]
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    kind: String,
}

fn resource_types(document: Document) -> Vec<ResourceType> {
    let mut found = BTreeMap::new();
    for group in document.items {
        for version in group.versions {
            for served in version.resources {
                let name = (group.metadata.name.clone(), served.resource.clone());
                // Versions come in order of preference: the first that serves a resource is the one to use.
                found.entry(name).or_insert_with(|| ResourceType {
                    group: group.metadata.name.clone(),
                    version: version.version.clone(),
                    resource: served.resource,
                    kind: served.response_kind.map(|kind| kind.kind).unwrap_or_default(),
                    namespaced: served.scope == "Namespaced",
                    verbs: served.verbs,
                });
            }
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_is_found_once_in_its_preferred_version() {
        let resource = |name: &str, kind: &str, scope: &str| {
            json!({"resource": name, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": scope,
                "verbs": ["delete", "list"], "subresources": [{"subresource": "status"}]})
        };
        let document = json!({"kind": "APIGroupDiscoveryList", "items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [resource("pods", "Pod", "Namespaced")]}]},
            {"metadata": {"name": "example.com"}, "versions": [
                {"version": "v2", "resources": [resource("things", "Thing", "Cluster")]},
                {"version": "v1", "resources": [resource("things", "Thing", "Cluster"), resource("olds", "Old", "Cluster")]},
            ]},
        ]});
        let types = resource_types(serde_json::from_value(document).expect("a document"));
        let names: Vec<_> = types.iter().map(|one| (one.qualified_name(), one.api_version(), one.namespaced)).collect();
        let expected = [
            ("pods", "v1", true),
            ("olds.example.com", "example.com/v1", false),
            ("things.example.com", "example.com/v2", false),
        ];
        let expected = expected.map(|(name, version, namespaced)| (name.to_owned(), version.to_owned(), namespaced));
        assert_eq!(names, expected);
        assert!(types[0].supports("list") && !types[0].supports("watch"));
    }
}
