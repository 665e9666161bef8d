//! Pod templates: what every workload kind has in its spec.

use serde_json::Value;

use super::annotations;
use super::spec::{self, Place};
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, meta, selectors};

fn validate(template: &Value, path: &Path, errors: &mut Errors) {
    let metadata = template.sub("metadata");
    meta::labels(metadata.sub("labels"), &path.child("labels"), errors);
    meta::annotations(metadata.sub("annotations"), &path.child("annotations"), errors);
    let pod_spec = template.sub("spec");
    annotations::validate(metadata, pod_spec, &path.child("annotations"), errors);
    spec::validate(pod_spec, Place::Template, &path.child("spec"), errors);
    if !pod_spec.items("ephemeralContainers").is_empty() {
        errors.forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// The template of a ReplicaSet or a Deployment: its labels satisfy the selector and its pods restart always.
pub fn validate_for_replicas(template: &Value, selector: &Value, path: &Path, errors: &mut Errors) {
    let labels = template.sub("metadata").sub("labels");
    if !selectors::is_empty(selector) && !selectors::matches(selector, labels) {
        let path = path.child("metadata");
        let shown = if labels.is_null() { serde_json::json!({}) } else { labels.clone() };
        errors.invalid(&path.child("labels"), shown, "`selector` does not match template `labels`");
    }
    validate(template, path, errors);
    let policy = template.sub("spec").text("restartPolicy");
    let spec_path = path.child("spec");
    if policy != "Always" {
        errors.not_supported(&spec_path.child("restartPolicy"), policy, &["Always"]);
    }
    if template.sub("spec").present("activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&spec_path.child("activeDeadlineSeconds"), detail);
    }
}
