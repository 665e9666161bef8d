//! Strategic merge by a kind's structural schema.

use super::{FieldRule, ListStrategy, PatchRules};
use crate::schema::SchemaRef;

impl PatchRules for SchemaRef<'_> {
    fn field(&self, name: &str) -> Option<FieldRule<Self>> {
        let field = self.property(name).or_else(|| self.additional_properties())?;
        let strategy = match field.patch_strategy().merge {
            true => ListStrategy::Merge,
            false => ListStrategy::Atomic,
        };
        let merge_key = field.patch_merge_key().map(str::to_owned);
        Some(FieldRule { strategy, merge_key, inner: Some(field.items().unwrap_or(field)) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::patch::strategic_merge;
    use crate::schema;

    #[test]
    fn a_deployments_containers_merge_by_name() {
        let kind = schema::builtin().kind("apps", "v1", "Deployment").expect("a built-in kind");
        let mut deployment = json!({"spec": {"template": {"spec": {
            "containers": [
                {"name": "web", "image": "a:1", "env": [{"name": "X", "value": "1"}], "args": ["x"]},
                {"name": "side", "image": "b:1"},
            ],
            "tolerations": [{"key": "a"}],
        }}}});
        let patch = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {
            "containers": [{"name": "web", "image": "a:2", "env": [{"name": "Y", "value": "2"}], "args": ["y"]}],
            "tolerations": [{"key": "b"}],
        }}}});
        strategic_merge(&mut deployment, &patch, &kind).expect("a good patch");
        let expected = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {
            "containers": [
                {"name": "web", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}], "args": ["y"]},
                {"name": "side", "image": "b:1"},
            ],
            "tolerations": [{"key": "b"}],
        }}}});
        assert_eq!(deployment, expected);
    }
}
