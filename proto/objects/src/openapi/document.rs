//! The documents themselves: made on first demand, compressed as they are written, kept compressed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{self, Read as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::definitions::{Dialect, Writer};
use super::descriptions::Descriptions;
use super::gnostic;
use super::operations;
use super::resource::Resource;

/// What clients ask for the v2 document in protobuf by.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What the answer to it is called.
pub const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

const TITLE: &str = "Kubernetes";

/// One document, compressed with gzip.
#[derive(Clone, Debug)]
pub struct Document {
    /// As it can be sent to a client that accepts gzip.
    pub gzip: Bytes,
    /// The value of the header ETag, quotes included.
    pub etag: String,
}

impl Document {
    /// The document inflated.
    pub fn body(&self) -> io::Result<Bytes> {
        let mut body = Vec::new();
        GzDecoder::new(self.gzip.as_ref()).read_to_end(&mut body)?;
        Ok(body.into())
    }
}

/// The documents of one list of served resources. Replace it when the list changes (a custom resource comes or goes).
pub struct Documents {
    resources: Vec<Resource>,
    /// `info.version`, such as `v1.36.2`.
    version: String,
    /// Group versions by base path, with the digest of what their document is made from.
    groups: BTreeMap<String, String>,
    digest: String,
    made: Mutex<HashMap<Key, Arc<Document>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    V2Json,
    V2Protobuf,
    V3(String),
}

impl fmt::Debug for Documents {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Documents").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl Documents {
    pub fn new(resources: Vec<Resource>, version: &str) -> Documents {
        let mut groups: BTreeMap<String, Sha256> = BTreeMap::new();
        let mut all = Sha256::new();
        for resource in &resources {
            let digest = groups.entry(resource.base_path()).or_default();
            for part in [format!("{resource:?}"), version.to_owned(), env!("CARGO_PKG_VERSION").to_owned()] {
                digest.update(part.as_bytes());
                all.update(part.as_bytes());
            }
        }
        let groups = groups.into_iter().map(|(path, digest)| (path, hexadecimal(digest))).collect();
        let digest = hexadecimal(all);
        Documents { resources, version: version.to_owned(), groups, digest, made: Mutex::default() }
    }

    /// The answer to `/openapi/v3`: where each group version's document is, with a hash to cache it by.
    pub fn v3_index(&self) -> Value {
        let mut paths = Map::new();
        for (path, digest) in &self.groups {
            let address = format!("/openapi/v3/{path}?hash={digest}");
            paths.insert(path.clone(), json!({"serverRelativeURL": address}));
        }
        json!({"paths": paths})
    }

    /// The document of one group version, by its path in the index: `api/v1`, `apis/apps/v1`.
    pub fn v3_group(&self, path: &str) -> Option<Arc<Document>> {
        let digest = self.groups.get(path)?;
        Some(self.make(Key::V3(path.to_owned()), digest, || self.write_v3(path)))
    }

    /// The v2 document of all resources.
    pub fn v2_json(&self) -> Arc<Document> {
        self.make(Key::V2Json, &self.digest, || self.write_v2_json())
    }

    /// The same as [`V2_PROTOBUF`].
    pub fn v2_protobuf(&self) -> Arc<Document> {
        self.make(Key::V2Protobuf, &self.digest, || self.write_v2_protobuf())
    }

    fn make(&self, key: Key, digest: &str, write: impl FnOnce() -> Vec<u8>) -> Arc<Document> {
        // Held while writing: whoever asks at the same time wants the same document.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let document = made
            .entry(key)
            .or_insert_with(|| Arc::new(Document { gzip: write().into(), etag: format!("\"{digest}\"") }));
        Arc::clone(document)
    }

    fn write_v3(&self, path: &str) -> Vec<u8> {
        let descriptions = Descriptions::inflate();
        let mut out = JsonObject::start();
        let mut paths = JsonMap::default();
        let mut wanted = BTreeSet::new();
        let resources = || self.resources.iter().filter(|resource| resource.base_path() == path);
        for resource in resources() {
            let found = operations::paths(resource, Dialect::V3);
            wanted.extend(found.definitions);
            for (name, item) in found.items {
                paths.add(&name, &item);
            }
        }
        let mut schemas = JsonMap::default();
        each_definition(Dialect::V3, resources(), wanted, &descriptions, |name, value| schemas.add(name, value));
        out.member("openapi", "\"3.0.0\"");
        out.member("info", &json!({"title": TITLE, "version": self.version}).to_string());
        out.member("paths", &paths.finish());
        out.member("components", &format!("{{\"schemas\":{}}}", schemas.finish()));
        out.finish()
    }

    fn write_v2_json(&self) -> Vec<u8> {
        let mut paths = JsonMap::default();
        let mut definitions = JsonMap::default();
        self.each_v2(|name, item| paths.add(name, item), |name, value| definitions.add(name, value));
        let mut out = JsonObject::start();
        out.member("swagger", "\"2.0\"");
        out.member("info", &json!({"title": TITLE, "version": self.version}).to_string());
        out.member("paths", &paths.finish());
        out.member("definitions", &definitions.finish());
        out.finish()
    }

    fn write_v2_protobuf(&self) -> Vec<u8> {
        let document = std::cell::RefCell::new(gnostic::Document::default());
        self.each_v2(
            |name, item| document.borrow_mut().path(name, item),
            |name, value| document.borrow_mut().definition(name, value),
        );
        let body = document.into_inner().finish(TITLE, &self.version);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body).expect("a Vec takes all bytes");
        encoder.finish().expect("a Vec takes all bytes")
    }

    fn each_v2(&self, mut path: impl FnMut(&str, &Value), definition: impl FnMut(&str, &Value)) {
        let descriptions = Descriptions::inflate();
        let mut wanted = BTreeSet::new();
        for resource in &self.resources {
            let found = operations::paths(resource, Dialect::V2);
            wanted.extend(found.definitions);
            for (name, item) in &found.items {
                path(name, item);
            }
        }
        each_definition(Dialect::V2, self.resources.iter(), wanted, &descriptions, definition);
    }
}

/// Writes the wanted definitions and all that they mention, each once.
fn each_definition<'r>(
    dialect: Dialect,
    resources: impl Iterator<Item = &'r Resource>,
    wanted: BTreeSet<String>,
    descriptions: &Descriptions,
    mut emit: impl FnMut(&str, &Value),
) {
    let mut writer = Writer::new(dialect, descriptions);
    let mut done: BTreeSet<String> = BTreeSet::new();
    for resource in resources {
        let Some(schema) = &resource.custom_schema else { continue };
        let name = resource.custom_name();
        for (name, value) in custom_definitions(resource, &name, schema, dialect) {
            emit(&name, &value);
            done.insert(name);
        }
    }
    let mut pending: Vec<String> = wanted.into_iter().chain([OBJECT_META.to_owned(), LIST_META.to_owned()]).collect();
    while let Some(name) = pending.pop() {
        if done.contains(&name) {
            continue;
        }
        if let Some(value) = writer.definition(&name) {
            emit(&name, &value);
        }
        done.insert(name);
        let mentioned = std::mem::take(&mut writer.mentioned);
        pending.extend(mentioned.into_iter().filter(|name| !done.contains(*name)).map(str::to_owned));
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// A custom kind's definition and its list's. v2 cannot say all that v3 can; there only the outline is published.
fn custom_definitions(resource: &Resource, name: &str, schema: &Value, dialect: Dialect) -> [(String, Value); 2] {
    let gvk = |kind: &str| json!([{"group": resource.group, "kind": kind, "version": resource.version}]);
    let mut own = match dialect {
        Dialect::V3 => schema.clone(),
        Dialect::V2 => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
    };
    if let (Some(text), Dialect::V2) = (schema.get("description"), dialect) {
        own["description"] = text.clone();
    }
    own["x-kubernetes-group-version-kind"] = gvk(&resource.kind);
    if !own["properties"].is_object() {
        own["properties"] = json!({});
    }
    own["properties"]["apiVersion"] = json!({"type": "string"});
    own["properties"]["kind"] = json!({"type": "string"});
    own["properties"]["metadata"] = match dialect {
        Dialect::V2 => json!({"$ref": dialect.reference(OBJECT_META)}),
        Dialect::V3 => json!({"allOf": [{"$ref": dialect.reference(OBJECT_META)}]}),
    };
    let list = json!({
        "description": format!("{}List is a list of {}", resource.kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"$ref": dialect.reference(LIST_META)},
            "items": {"type": "array", "items": {"$ref": dialect.reference(name)}},
        },
        "x-kubernetes-group-version-kind": gvk(&format!("{}List", resource.kind)),
    });
    [(name.to_owned(), own), (format!("{name}List"), list)]
}

fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A JSON object written member by member, so that no document stands in memory as a tree.
#[derive(Default)]
struct JsonMap {
    text: String,
}

impl JsonMap {
    fn add(&mut self, name: &str, value: &Value) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(&Value::from(name).to_string());
        self.text.push(':');
        self.text.push_str(&value.to_string());
    }

    fn finish(mut self) -> String {
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        self.text
    }
}

/// The document around them, compressed as it comes.
struct JsonObject {
    encoder: GzEncoder<Vec<u8>>,
    is_empty: bool,
}

impl JsonObject {
    fn start() -> JsonObject {
        JsonObject { encoder: GzEncoder::new(Vec::new(), Compression::default()), is_empty: true }
    }

    fn member(&mut self, name: &str, json: &str) {
        let separator = if self.is_empty { '{' } else { ',' };
        self.is_empty = false;
        write!(self.encoder, "{separator}\"{name}\":{json}").expect("a Vec takes all bytes");
    }

    fn finish(mut self) -> Vec<u8> {
        write!(self.encoder, "}}").expect("a Vec takes all bytes");
        self.encoder.finish().expect("a Vec takes all bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::Subresource;

    fn resources() -> Vec<Resource> {
        let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        let subresource = |name: &str, group: &str, version: &str, kind: &str| Subresource {
            name: name.to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            verbs: vec!["get".to_owned(), "update".to_owned(), "patch".to_owned()],
        };
        let resource = |group: &str, kind: &str, resource: &str, namespaced| Resource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
            resource: resource.to_owned(),
            namespaced,
            verbs: all.iter().map(|verb| (*verb).to_owned()).collect(),
            subresources: Vec::new(),
            custom_schema: None,
        };
        let mut deployments = resource("apps", "Deployment", "deployments", true);
        deployments.subresources =
            vec![subresource("status", "apps", "v1", "Deployment"), subresource("scale", "autoscaling", "v1", "Scale")];
        let mut widgets = resource("example.com", "Widget", "widgets", true);
        widgets.custom_schema = Some(json!({"type": "object", "properties": {"spec": {"type": "object"}}}));
        vec![
            deployments,
            resource("", "Pod", "pods", true),
            resource("", "Node", "nodes", false),
            resource("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
            widgets,
        ]
    }

    fn documents() -> Documents {
        Documents::new(resources(), "v1.36.2")
    }

    fn read(document: &Document) -> Value {
        serde_json::from_slice(&document.body().unwrap()).unwrap()
    }

    /// Every `$ref` in the document leads somewhere.
    fn check_references(document: &Value, value: &Value) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(target)) = map.get("$ref") {
                    let pointer = target.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                map.values().for_each(|value| check_references(document, value));
            }
            Value::Array(items) => items.iter().for_each(|value| check_references(document, value)),
            _ => {}
        }
    }

    #[test]
    fn a_group_document_is_complete_and_says_what_kubectl_asks() {
        let documents = documents();
        let apps = read(&documents.v3_group("apis/apps/v1").unwrap());
        check_references(&apps, &apps);
        let item = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        let names: Vec<_> = item["patch"]["parameters"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
        assert_eq!(item["patch"]["operationId"], "patchAppsV1NamespacedDeployment");
        assert_eq!(item["patch"]["x-kubernetes-action"], "patch");
        assert_eq!(
            item["patch"]["x-kubernetes-group-version-kind"],
            json!({"group": "apps", "kind": "Deployment", "version": "v1"})
        );
        let scale = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
        assert_eq!(scale["get"]["operationId"], "readAppsV1NamespacedDeploymentScale");
        assert!(apps["paths"]["/apis/apps/v1/deployments"]["get"].is_object());
        let schemas = &apps["components"]["schemas"];
        assert_eq!(
            schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
            json!([{"group": "apps", "kind": "Deployment", "version": "v1"}])
        );
        let spec = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(spec["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(spec["x-kubernetes-list-type"], "map");
        assert_eq!(spec["items"]["default"], json!({}));
        assert!(spec["description"].as_str().is_some_and(|text| !text.is_empty()));
    }

    #[test]
    fn every_group_is_in_the_index_and_stable() {
        let documents = documents();
        let index = documents.v3_index();
        let paths = index["paths"].as_object().unwrap();
        assert_eq!(
            paths.keys().collect::<Vec<_>>(),
            ["api/v1", "apis/apiextensions.k8s.io/v1", "apis/apps/v1", "apis/example.com/v1"]
        );
        assert_eq!(index, self::documents().v3_index());
        for path in paths.keys() {
            let document = read(&documents.v3_group(path).unwrap());
            check_references(&document, &document);
        }
        assert!(documents.v3_group("apis/none/v1").is_none());
    }

    #[test]
    fn v2_is_complete_in_both_forms() {
        let documents = documents();
        let document = read(&documents.v2_json());
        check_references(&document, &document);
        assert!(document["definitions"]["com.example.v1.Widget"].is_object());
        let time = &document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.Time"];
        assert_eq!((&time["type"], &time["format"]), (&json!("string"), &json!("date-time")));
        let protobuf = documents.v2_protobuf().body().unwrap();
        assert!(protobuf.starts_with(b"\x0a\x032.0"));
    }
}
