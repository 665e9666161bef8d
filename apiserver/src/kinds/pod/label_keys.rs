//! `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633, KEP-3243): keys whose values the pod's own labels give. They are
//! resolved once, at creation, into the label selector beside them, so that the scheduler sees plain selectors.

use serde_json::{Value, json};

use crate::kinds::fields::{Fields, FieldsMut};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn resolve(pod: &mut Value) {
    let labels = pod.sub("metadata").sub("labels").clone();
    let spec = pod.object("spec");
    for constraint in spec.items_mut("topologySpreadConstraints") {
        extend(constraint, "matchLabelKeys", "In", &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        if !spec.sub("affinity").present(kind) {
            continue;
        }
        let affinity = spec.object("affinity").object(kind);
        for term in affinity.items_mut(REQUIRED) {
            of_term(term, &labels);
        }
        for term in affinity.items_mut(PREFERRED) {
            if term.present("podAffinityTerm") {
                of_term(term.object("podAffinityTerm"), &labels);
            }
        }
    }
}

fn of_term(term: &mut Value, labels: &Value) {
    extend(term, "matchLabelKeys", "In", labels);
    extend(term, "mismatchLabelKeys", "NotIn", labels);
}

/// A key that the pod has no label for is left out; without a selector there is nothing to add to.
fn extend(holder: &mut Value, field: &str, operator: &str, labels: &Value) {
    if holder.items(field).is_empty() || !holder.present("labelSelector") {
        return;
    }
    let known = holder.strings(field).filter_map(|key| labels.get(key).map(|value| (key, value)));
    let added: Vec<Value> =
        known.map(|(key, value)| json!({ "key": key, "operator": operator, "values": [value] })).collect();
    if added.is_empty() {
        return;
    }
    let selector = holder.object("labelSelector");
    let mut expressions = selector.items("matchExpressions").to_vec();
    expressions.extend(added);
    selector.put("matchExpressions", expressions);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_expressions() {
        let mut pod = json!({
            "metadata": {"labels": {"hash": "7"}},
            "spec": {"affinity": {"podAntiAffinity": {REQUIRED: [{
                "labelSelector": {"matchLabels": {"app": "web"}},
                "matchLabelKeys": ["hash", "missing"], "mismatchLabelKeys": ["hash"]}]}}},
        });
        resolve(&mut pod);
        let term = &pod.at(&["spec", "affinity", "podAntiAffinity"]).items(REQUIRED)[0];
        assert_eq!(
            term.at(&["labelSelector", "matchExpressions"]),
            &json!([
                {"key": "hash", "operator": "In", "values": ["7"]},
                {"key": "hash", "operator": "NotIn", "values": ["7"]},
            ])
        );
        let plain = json!({"metadata": {}, "spec": {}});
        let mut untouched = plain.clone();
        resolve(&mut untouched);
        assert_eq!(untouched, plain);
    }
}
