//! From the bytes in the store to a cached entry.
//!
//! The store keeps an object's JSON without its resourceVersion, which is the key's modification revision; it
//! is spliced in as the first member of `metadata`. Objects that an upstream server wrote as protobuf are transcoded.
//! In the cache, every object of a kind begins with the same bytes, `apiVersion` and `kind`, which lists leave out.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use super::Entry;
use crate::registry::Kind;

const PROTOBUF_MAGIC: &[u8] = b"k8s\0";

#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("it is not a JSON object with metadata: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is not a known protobuf object: {0}")]
    Protobuf(String),
}

#[derive(Deserialize)]
struct Shell<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default, deserialize_with = "pairs")]
    labels: Pairs,
    #[serde(default)]
    resource_version: Option<IgnoredAny>,
}

type Pairs = Vec<(Box<str>, Box<str>)>;

/// A map of texts as pairs, null as none.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
    struct PairsVisitor;
    impl<'de> Visitor<'de> for PairsVisitor {
        type Value = Pairs;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a map of texts")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(2));
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }
    deserializer.deserialize_any(PairsVisitor)
}

/// The object with what every object of its kind begins with.
fn opened(kind: &Kind, mut members: Map<String, Value>) -> Vec<u8> {
    members.shift_insert(0, "apiVersion".to_owned(), kind.api_version().into());
    members.shift_insert(1, "kind".to_owned(), kind.kind.clone().into());
    serde_json::to_vec(&members).expect("a JSON value always serializes")
}

/// `key` is the key below the kind's prefix.
pub fn decode(kind: &Kind, key: &str, stored: &[u8], revision: i64) -> Result<Entry, Malformed> {
    if stored.starts_with(PROTOBUF_MAGIC) {
        let object =
            keelson_objects::protobuf::decode(stored).map_err(|error| Malformed::Protobuf(error.to_string()))?;
        return decode_json(kind, key, &without_version(object), revision);
    }
    decode_json(kind, key, stored, revision)
}

fn without_version(mut object: Value) -> Vec<u8> {
    keelson_objects::meta::set_resource_version(&mut object, "");
    serde_json::to_vec(&object).expect("a JSON value always serializes")
}

fn decode_json(kind: &Kind, key: &str, stored: &[u8], revision: i64) -> Result<Entry, Malformed> {
    let shell: Shell<'_> = serde_json::from_slice(stored)?;
    let raw = shell.metadata.get();
    let metadata: Metadata = serde_json::from_str(raw)?;
    if metadata.resource_version.is_some() {
        return decode_json(kind, key, &without_version(serde_json::from_slice(stored)?), revision);
    }
    if !stored.starts_with(kind.opening.as_bytes()) {
        return decode_json(kind, key, &opened(kind, serde_json::from_slice(stored)?), revision);
    }
    // The raw value borrows from `stored`, so its place there is where to splice, behind the brace.
    let brace = raw.as_ptr() as usize - stored.as_ptr() as usize + 1;
    let (json, version_at) = splice(stored, brace, revision);
    let fields = if kind.selectable_fields.is_empty() {
        Box::default()
    } else {
        let object: Value = serde_json::from_slice(stored)?;
        kind.selectable_fields.iter().map(|field| (field.read)(&object).into_boxed_str()).collect()
    };
    Ok(Entry { key: key.into(), revision, json, version_at, labels: metadata.labels.into(), fields })
}

/// Puts `"resourceVersion":"<revision>"` behind the brace that opens metadata.
fn splice(stored: &[u8], brace: usize, revision: i64) -> (Bytes, (u32, u32)) {
    const MEMBER: &[u8] = b"\"resourceVersion\":\"";
    let digits = revision.to_string();
    let empty = stored[brace..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let mut json = BytesMut::with_capacity(stored.len() + MEMBER.len() + digits.len() + 2);
    json.put_slice(&stored[..brace]);
    json.put_slice(MEMBER);
    let from = json.len() as u32;
    json.put_slice(digits.as_bytes());
    let to = json.len() as u32;
    json.put_slice(if empty { b"\"" } else { b"\"," });
    json.put_slice(&stored[brace..]);
    (json.freeze(), (from, to))
}

/// The bytes of an object that was just stored, as its writer answers them.
pub fn with_version(stored: &Bytes, revision: i64) -> Option<Bytes> {
    let shell: Shell<'_> = serde_json::from_slice(stored).ok()?;
    let brace = shell.metadata.get().as_ptr() as usize - stored.as_ptr() as usize + 1;
    Some(splice(stored, brace, revision).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map() -> Kind {
        let name = |object: &Value| object["data"]["k"].as_str().unwrap_or_default().to_owned();
        Kind::new("", "v1", "ConfigMap", "configmaps").selectable_field("data.k", name)
    }

    #[test]
    fn the_version_is_spliced_and_can_be_changed() {
        let table = [
            (
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#,
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7","name":"x"}}"#,
            ),
            (r#"{"metadata":{}}"#, r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7"}}"#),
            (
                r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"metadata":{"a":1}},"metadata":{ "name":"x"}}"#,
                r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"metadata":{"a":1}},"metadata":{"resourceVersion":"7", "name":"x"}}"#,
            ),
            (
                r#"{"kind":"ConfigMap","metadata":{"name":"x","resourceVersion":"3"},"apiVersion":"v1"}"#,
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"7","name":"x"}}"#,
            ),
        ];
        for (stored, expected) in table {
            let entry = decode(&config_map(), "ns/x", stored.as_bytes(), 7).unwrap();
            assert_eq!(entry.json(), expected);
            assert_eq!(entry.json_at(123), expected.replace("\"7\"", "\"123\""));
        }
    }

    #[test]
    fn labels_and_fields_are_read() {
        let stored = br#"{"metadata":{"name":"x","labels":{"a":"b","c":""}},"data":{"k":"v"}}"#;
        let entry = decode(&config_map(), "ns/x", stored, 7).unwrap();
        assert_eq!(&*entry.labels, &[("a".into(), "b".into()), ("c".into(), "".into())]);
        assert_eq!(&*entry.fields, &["v".into()]);
        assert_eq!(entry.field(&config_map(), "data.k"), Some("v"));
        assert_eq!(entry.field(&config_map(), "data.other"), None);
        assert_eq!((entry.namespace(), entry.name()), ("ns", "x"));
        assert!(decode(&config_map(), "ns/x", br#"{"metadata":{"labels":null}}"#, 7).unwrap().labels.is_empty());
        assert!(decode(&config_map(), "ns/x", b"{}", 7).is_err());
    }
}
