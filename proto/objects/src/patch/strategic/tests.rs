use serde_json::json;

use super::*;

/// The pod's rules that matter here.
#[derive(Clone, Copy)]
enum Rules {
    Spec,
    Container,
    Metadata,
    Opaque,
}

impl PatchRules for Rules {
    fn field(&self, name: &str) -> Option<FieldRule<Rules>> {
        let rule = |strategy, key: &str, inner| {
            let merge_key = Some(key.to_owned()).filter(|key| !key.is_empty());
            Some(FieldRule { strategy, merge_key, inner: Some(inner) })
        };
        match (self, name) {
            (Rules::Spec, "containers") => rule(ListStrategy::Merge, "name", Rules::Container),
            (Rules::Spec, "tolerations") => rule(ListStrategy::Atomic, "", Rules::Opaque),
            (Rules::Spec, "metadata") => rule(ListStrategy::Atomic, "", Rules::Metadata),
            (Rules::Spec, "strategy") => rule(ListStrategy::Atomic, "", Rules::Opaque),
            (Rules::Container, "ports") => rule(ListStrategy::Merge, "containerPort", Rules::Opaque),
            (Rules::Container, "env") => rule(ListStrategy::Merge, "name", Rules::Opaque),
            (Rules::Metadata, "finalizers") => rule(ListStrategy::Merge, "", Rules::Opaque),
            _ => None,
        }
    }
}

fn merged(mut object: Value, patch: Value) -> Result<Value, Error> {
    strategic_merge(&mut object, &patch, &Rules::Spec)?;
    Ok(object)
}

#[test]
fn patches_apply_by_the_rules() {
    let table = [
        (
            "a list by key merges its items, and new ones follow those that the patch names",
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}]}),
            json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "b"}]}),
        ),
        (
            "an item is deleted by its key",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            "a list is replaced on demand",
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            "an atomic list is replaced",
            json!({"tolerations": [{"key": "a"}]}),
            json!({"tolerations": [{"key": "b"}]}),
            json!({"tolerations": [{"key": "b"}]}),
        ),
        ("null removes", json!({"a": 1, "b": 2}), json!({"a": null, "c": null}), json!({"b": 2})),
        (
            "a set of texts unites",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        ),
        (
            "texts are deleted from a set, whose order is stated",
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
        ),
        (
            "the order of a list is set, and what only the server has keeps its place",
            json!({"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "x"}, {"name": "b", "image": "1"}, {"name": "a"}]}),
        ),
        (
            "a map keeps only the retained keys",
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        (
            "a map is replaced on demand",
            json!({"strategy": {"a": 1}}),
            json!({"strategy": {"$patch": "replace", "b": 2}}),
            json!({"strategy": {"b": 2}}),
        ),
        (
            "a map is deleted on demand",
            json!({"strategy": {"a": 1}}),
            json!({"strategy": {"$patch": "delete"}}),
            json!({"strategy": {}}),
        ),
        (
            "lists merge within items",
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}], "ports": [{"containerPort": 80}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y", "value": null}], "ports": [{"containerPort": 81}]}]}),
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "2"}, {"name": "Y"}], "ports": [{"containerPort": 81}, {"containerPort": 80}]}]}),
        ),
        (
            "a new map comes without nulls and directives",
            json!({}),
            json!({"strategy": {"a": null, "b": {"$patch": "delete"}, "c": 1}}),
            json!({"strategy": {"c": 1}}),
        ),
    ];
    for (rule, object, patch, expected) in table {
        assert_eq!(merged(object, patch).unwrap(), expected, "{rule}");
    }
}

#[test]
fn bad_patches_are_refused_in_upstreams_words() {
    let containers = json!({"containers": [{"name": "a"}]});
    let table = [
        (json!({"containers": [{"image": "1"}]}), "map: {\"image\":\"1\"} does not contain declared merge key: name"),
        (json!({"$patch": "brew"}), "unknown patch type: \"brew\" in map: {}"),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"$retainKeys": ["a"], "b": 1}), "invalid patch format of retainKeys"),
        (json!({"$setElementOrder/containers": "x"}), "invalid patch format of setElementOrder list"),
        (json!({"containers": ["a"]}), "list element types are not identical"),
    ];
    for (patch, text) in table {
        assert_eq!(merged(containers.clone(), patch).unwrap_err().to_string(), text);
    }
}
