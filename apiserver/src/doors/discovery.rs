//! What is served: `/api`, `/apis`, group versions, and the aggregated form. All documents are made once, at start-up.

use std::collections::HashMap;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::registry::{Kind, Registry, Subresource, Verb};

struct Document {
    body: Bytes,
    etag: HeaderValue,
}

pub(super) struct Discovery {
    plain: HashMap<String, Document>,
    /// Path and version of the aggregated form to its document.
    aggregated: HashMap<(&'static str, &'static str), Document>,
}

const AGGREGATED_VERSIONS: &[&str] = &["v2", "v2beta1"];

impl Discovery {
    pub fn new(registry: &Registry, server_address: &str) -> Discovery {
        let groups = groups(registry);
        let mut plain = HashMap::new();
        let mut add = |path: String, value: Value| drop(plain.insert(path, document(&value)));
        add("/api".to_owned(), core_versions(server_address));
        let listed: Vec<Value> =
            groups.iter().filter(|group| !group.name.is_empty()).map(|group| group.as_api_group(false)).collect();
        add("/apis".to_owned(), json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": listed }));
        for group in &groups {
            if !group.name.is_empty() {
                add(format!("/apis/{}", group.name), group.as_api_group(true));
            }
            for version in &group.versions {
                add(group.path(version), resource_list(registry, group, version));
            }
        }
        let mut aggregated = HashMap::new();
        for version in AGGREGATED_VERSIONS {
            for (path, core) in [("/api", true), ("/apis", false)] {
                let items: Vec<Value> = groups
                    .iter()
                    .filter(|group| group.name.is_empty() == core)
                    .map(|group| aggregated_group(registry, group))
                    .collect();
                let list = json!({
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                    "metadata": {},
                    "items": items,
                });
                aggregated.insert((path, *version), document(&list));
            }
        }
        Discovery { plain, aggregated }
    }

    /// None: the path is no discovery document.
    pub fn respond(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let path = match request.path() {
            "/" => "/",
            path => path.trim_end_matches('/'),
        };
        let accept = header_text(request, header::ACCEPT);
        let wanted = aggregated_version(accept);
        let (document, content_type) = match (path, wanted) {
            ("/api" | "/apis", Some(version)) => {
                let path = if path == "/api" { "/api" } else { "/apis" };
                let content_type =
                    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
                (self.aggregated.get(&(path, version))?, content_type)
            }
            _ => (self.plain.get(path)?, "application/json".to_owned()),
        };
        Some(conditional(request, &document.body, &document.etag, &content_type))
    }
}

/// Every group of the cluster in one aggregated document, the core group too: what components ask the gRPC door for.
pub(super) fn everything(registry: &Registry) -> Bytes {
    let items: Vec<Value> = groups(registry).iter().map(|group| aggregated_group(registry, group)).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    Bytes::from(list.to_string())
}

/// 304 if the client has this very document.
pub(super) fn conditional(request: &HttpRequest, body: &Bytes, etag: &HeaderValue, content_type: &str) -> HttpResponse {
    let known = header_text(request, header::IF_NONE_MATCH);
    let mut builder = if !known.is_empty() && known.as_bytes() == etag.as_bytes() {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    builder
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::ETAG, etag.clone()))
        .insert_header((header::VARY, "Accept"))
        .insert_header((header::CACHE_CONTROL, "public"));
    if known.as_bytes() == etag.as_bytes() { builder.finish() } else { builder.body(body.clone()) }
}

pub(super) fn etag_of(body: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", hex::encode_upper(Sha512::digest(body)));
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

pub(super) fn header_text(request: &HttpRequest, name: header::HeaderName) -> &str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The first aggregated form in the Accept header that is known, unless plain JSON is preferred.
fn aggregated_version(accept: &str) -> Option<&'static str> {
    for clause in accept.split(',') {
        let mut parts = clause.split(';').map(str::trim);
        if parts.next() != Some("application/json") {
            continue;
        }
        let parameters: Vec<&str> = parts.filter(|parameter| !parameter.starts_with("q=")).collect();
        if parameters.is_empty() {
            return None;
        }
        if !parameters.contains(&"g=apidiscovery.k8s.io") || !parameters.contains(&"as=APIGroupDiscoveryList") {
            continue;
        }
        let version = parameters.iter().find_map(|parameter| parameter.strip_prefix("v="));
        if let Some(known) = AGGREGATED_VERSIONS.iter().find(|known| Some(**known) == version) {
            return Some(known);
        }
    }
    None
}

struct Group {
    name: String,
    /// In the order of preference.
    versions: Vec<String>,
}

impl Group {
    fn path(&self, version: &str) -> String {
        if self.name.is_empty() { format!("/api/{version}") } else { format!("/apis/{}/{version}", self.name) }
    }

    fn group_version(&self, version: &str) -> String {
        keelson_objects::meta::join_api_version(&self.name, version)
    }

    fn as_api_group(&self, alone: bool) -> Value {
        let entry = |version: &String| json!({ "groupVersion": self.group_version(version), "version": version });
        let versions: Vec<Value> = self.versions.iter().map(entry).collect();
        let mut group = json!({ "name": self.name, "versions": versions, "preferredVersion": versions[0] });
        if alone {
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
        }
        group
    }
}

/// Groups in the registry's order, each with its versions.
fn groups(registry: &Registry) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for kind in registry.kinds() {
        let index = match groups.iter().position(|group| group.name == kind.group) {
            Some(index) => index,
            None => {
                groups.push(Group { name: kind.group.to_string(), versions: Vec::new() });
                groups.len() - 1
            }
        };
        if !groups[index].versions.iter().any(|version| *version == kind.version) {
            groups[index].versions.push(kind.version.to_string());
        }
    }
    groups
}

fn core_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": server_address }],
    })
}

fn kinds_of<'a>(registry: &'a Registry, group: &'a Group, version: &'a str) -> impl Iterator<Item = &'a Kind> {
    let kinds = registry.kinds().iter().map(|kind| kind.as_ref());
    kinds.filter(move |kind| kind.group == group.name && kind.version == version)
}

fn verb_names(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|verb| verb.name()).collect()
}

fn resource_list(registry: &Registry, group: &Group, version: &str) -> Value {
    let mut resources = Vec::new();
    for kind in kinds_of(registry, group, version) {
        let mut resource = json!({
            "name": kind.resource,
            "singularName": kind.singular,
            "namespaced": kind.namespaced(),
            "kind": kind.kind,
            "verbs": verb_names(kind.verbs),
        });
        add_names(&mut resource, kind);
        resources.push(resource);
        for subresource in &kind.subresources {
            let (own_group, own_version, own_kind) = response_kind(kind, subresource);
            let mut resource = json!({
                "name": format!("{}/{}", kind.resource, subresource.name),
                "singularName": "",
                "namespaced": kind.namespaced(),
                "kind": own_kind,
                "verbs": verb_names(subresource.verbs),
            });
            if own_group != kind.group || own_version != kind.version {
                resource["group"] = own_group.into();
                resource["version"] = own_version.into();
            }
            resources.push(resource);
        }
    }
    resources.sort_by(|left, right| left["name"].as_str().cmp(&right["name"].as_str()));
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group.group_version(version),
        "resources": resources,
    })
}

fn add_names(resource: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

fn response_kind<'a>(kind: &'a Kind, subresource: &Subresource) -> (&'a str, &'a str, &'a str) {
    subresource.kind.unwrap_or((&kind.group, &kind.version, &kind.kind))
}

fn aggregated_group(registry: &Registry, group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let mut resources: Vec<Value> = kinds_of(registry, group, version).map(aggregated_resource).collect();
            resources.sort_by(|left, right| left["resource"].as_str().cmp(&right["resource"].as_str()));
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        })
        .collect();
    let mut metadata = json!({ "creationTimestamp": null });
    if !group.name.is_empty() {
        metadata["name"] = group.name.as_str().into();
    }
    json!({ "metadata": metadata, "versions": versions })
}

fn aggregated_resource(kind: &Kind) -> Value {
    let scope = if kind.namespaced() { "Namespaced" } else { "Cluster" };
    let mut resource = json!({
        "resource": kind.resource,
        "responseKind": { "group": kind.group, "version": kind.version, "kind": kind.kind },
        "scope": scope,
        "singularResource": kind.singular,
        "verbs": verb_names(kind.verbs),
    });
    add_names(&mut resource, kind);
    let mut subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|subresource| {
            let (group, version, name) = response_kind(kind, subresource);
            json!({
                "subresource": subresource.name,
                "responseKind": { "group": group, "version": version, "kind": name },
                "verbs": verb_names(subresource.verbs),
            })
        })
        .collect();
    if !subresources.is_empty() {
        subresources.sort_by(|left, right| left["subresource"].as_str().cmp(&right["subresource"].as_str()));
        resource["subresources"] = subresources.into();
    }
    resource
}

fn document(value: &Value) -> Document {
    let body = Bytes::from(serde_json::to_vec(value).expect("a JSON value always serializes"));
    Document { etag: etag_of(&body), body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregated_form_is_chosen_by_the_accept_header() {
        let table = [
            (
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
                Some("v2"),
            ),
            ("application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io", Some("v2beta1")),
            ("application/json", None),
            ("application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", None),
            ("*/*", None),
        ];
        for (accept, expected) in table {
            assert_eq!(aggregated_version(accept), expected, "{accept}");
        }
    }
}
