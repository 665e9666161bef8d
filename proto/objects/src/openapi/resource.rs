//! What the server serves, as far as OpenAPI tells of it.

use serde_json::Value;

/// One served resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    /// Plural, as in the path.
    pub resource: String,
    pub namespaced: bool,
    /// As in discovery: `create`, `get`, `list`, `watch`, `update`, `patch`, `delete`, `deletecollection`.
    pub verbs: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// The `openAPIV3Schema` of a custom kind; none for what is built in.
    pub custom_schema: Option<Value>,
}

/// One subresource: `status`, `scale`, `binding`, …
#[derive(Clone, Debug)]
pub struct Subresource {
    pub name: String,
    /// Group, version and kind of its body, which may differ from the resource's.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

impl Resource {
    /// `api/v1` or `apis/apps/v1`: the key of the v3 index and the start of every path.
    pub fn base_path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }

    /// The name of a custom kind's definition: `com.example.v1.Widget`.
    pub(super) fn custom_name(&self) -> String {
        let mut parts: Vec<&str> = self.group.split('.').collect();
        parts.reverse();
        format!("{}.{}.{}", parts.join("."), self.version, self.kind)
    }

    /// `apps_v1`: how operations are grouped.
    pub(super) fn tag(&self) -> String {
        let group = self.group.split('.').next().unwrap_or_default();
        format!("{}_{}", if group.is_empty() { "core" } else { group }, self.version)
    }

    /// `AppsV1`, `RbacAuthorizationV1`: the middle of an operation's id.
    pub(super) fn id_part(&self) -> String {
        let group = self.group.trim_end_matches(".k8s.io");
        let mut out: String =
            if group.is_empty() { "Core".to_owned() } else { group.split('.').map(capital).collect() };
        out.push_str(&capital(&self.version));
        out
    }
}

pub(super) fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}
