//! Which pod template is which: equality without the hash label, and the hash that names a ReplicaSet.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

pub const HASH_LABEL: &str = "pod-template-hash";

/// Letters and digits that make no words and no ambiguous names.
const SAFE_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates say the same, the hash label aside. An absent and an empty field say the same.
pub fn same(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    let (left, right) = (unhashed(left), unhashed(right));
    left == right || canonical(&left) == canonical(&right)
}

fn unhashed(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    let labels = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut());
    if let Some(labels) = labels {
        labels.remove(HASH_LABEL);
    }
    template
}

/// The template as a JSON tree without empty members: the form that is compared and hashed, whatever the order and the
/// spelling of emptiness in which it was written.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    drop_empty(&mut value);
    value
}

fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for member in members.values_mut() {
                drop_empty(member);
            }
            members.retain(|name, member| !is_hollow(name, member));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// `emptyDir: {}` and its like mean something by being there; maps and lists of a template mean nothing when empty.
fn is_hollow(name: &str, member: &Value) -> bool {
    match member {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => {
            members.is_empty()
                && matches!(
                    name,
                    "labels"
                        | "annotations"
                        | "nodeSelector"
                        | "limits"
                        | "requests"
                        | "resources"
                        | "metadata"
                        | "overhead"
                        | "securityContext"
                )
        }
        _ => false,
    }
}

/// The hash of a template, in letters that are safe in names. `collisions` is the Deployment's collision count: it makes
/// another name where the first was taken by a different template.
pub fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let text = canonical(&unhashed(template)).to_string();
    let mut state = fnv32a(FNV_OFFSET, text.as_bytes());
    if let Some(collisions) = collisions {
        state = fnv32a(state, &collisions.to_le_bytes());
    }
    encode(&state.to_string())
}

const FNV_OFFSET: u32 = 2_166_136_261;
const FNV_PRIME: u32 = 16_777_619;

fn fnv32a(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(FNV_PRIME))
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(SAFE_ALPHABET[usize::from(byte) % SAFE_ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::super::fixtures::template;
    use super::*;

    #[test]
    fn the_hash_label_does_not_count() {
        let plain = template("nginx:1");
        let mut labelled = plain.clone();
        labelled
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default()
            .insert(HASH_LABEL.to_owned(), "abc".to_owned());
        assert!(same(&plain, &labelled));
        assert_eq!(hash(&plain, None), hash(&labelled, None));
        assert!(!same(&plain, &template("nginx:2")));
    }

    #[test]
    fn emptiness_has_no_spelling() {
        let plain = template("nginx:1");
        let mut spelled = plain.clone();
        spelled.metadata =
            Some(ObjectMeta { annotations: Some(BTreeMap::new()), ..spelled.metadata.unwrap_or_default() });
        assert!(same(&plain, &spelled));
        assert_eq!(hash(&plain, None), hash(&spelled, None));
    }

    #[test]
    fn hashes_differ_by_template_and_collision_count() {
        let one = hash(&template("nginx:1"), None);
        assert_ne!(one, hash(&template("nginx:2"), None));
        assert_ne!(one, hash(&template("nginx:1"), Some(1)));
        assert_ne!(hash(&template("nginx:1"), Some(1)), hash(&template("nginx:1"), Some(2)));
        assert!(one.bytes().all(|byte| SAFE_ALPHABET.contains(&byte)));
    }

    #[test]
    fn fnv_is_fnv() {
        // The published test vectors of FNV-1a, 32 bits.
        for (text, expected) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv32a(FNV_OFFSET, text.as_bytes()), expected, "{text}");
        }
    }
}
