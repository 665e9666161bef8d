//! What is special about writing a Pod.

use keelson_objects::field::FieldError;
use serde_json::{Value, json};

use super::spec::{self, Place};
use super::{annotations, containers, defaults, label_keys, qos, update};
use crate::kinds::fields::{Fields, FieldsMut};
use crate::kinds::validation::{Errors, Path};
use crate::registry::{Context, DeleteOptions, Strategy, Termination};

pub struct PodStrategy;

impl Strategy for PodStrategy {
    fn default(&self, pod: &mut Value) {
        defaults::of_pod(pod);
    }

    fn prepare_for_create(&self, context: &Context<'_>, pod: &mut Value) {
        label_keys::resolve(pod);
        let class = qos::class(pod.sub("spec"));
        let mut status = json!({ "phase": "Pending", "qosClass": class });
        if !pod.sub("spec").items("schedulingGates").is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastTransitionTime": context.now,
                "lastProbeTime": null,
            }]);
        }
        pod.put("status", status);
    }

    fn prepare_for_update(&self, _context: &Context<'_>, pod: &mut Value, old: &Value) {
        pod.put("status", old.sub("status").clone());
    }

    fn prepare_for_status_update(&self, _context: &Context<'_>, pod: &mut Value, old: &Value) {
        pod.put("spec", old.sub("spec").clone());
        // a node agent must not change who owns the pod
        match old.sub("metadata").sub("ownerReferences") {
            Value::Null => {
                pod.object("metadata").remove_field("ownerReferences");
            }
            owners => pod.object("metadata").put("ownerReferences", owners.clone()),
        }
        let class = old.sub("status").text("qosClass").to_owned();
        let status = pod.object("status");
        if status.text("qosClass").is_empty() && !class.is_empty() {
            status.put("qosClass", class);
        }
        // the single address and the first of the list are one fact in two fields
        for (single, list) in [("podIP", "podIPs"), ("hostIP", "hostIPs")] {
            let address = status.text(single).to_owned();
            if !address.is_empty() && status.items(list).is_empty() {
                status.put(list, json!([{ "ip": address }]));
            }
        }
    }

    fn validate(&self, _context: &Context<'_>, pod: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_pod(pod, &mut errors);
        // an update with ephemeral containers carries the stored ones, which validate_update compares
        if pod.sub("metadata").text("resourceVersion").is_empty() {
            validate_new(pod, &mut errors);
        }
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, pod: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        update::validate_spec(pod, old, &mut errors);
        errors.into_vec()
    }

    fn validate_status_update(&self, _context: &Context<'_>, pod: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        update::validate_status(pod, old, &mut errors);
        errors.into_vec()
    }

    fn warnings(&self, _context: &Context<'_>, pod: &Value, _old: Option<&Value>) -> Vec<String> {
        super::warnings::of_spec(pod.sub("spec"), &Path::root("spec"))
    }

    /// The caller's grace, else the pod's own; none for a pod that runs nowhere or has ended.
    fn termination(&self, pod: &Value, options: &DeleteOptions) -> Termination {
        let asked = options.grace_period_seconds;
        let mut seconds = asked.or(pod.sub("spec").int("terminationGracePeriodSeconds")).unwrap_or(0);
        let ended = matches!(pod.sub("status").text("phase"), "Failed" | "Succeeded");
        if pod.sub("spec").text("nodeName").is_empty() || ended {
            seconds = 0;
        }
        // a negative grace means the shortest that still tells the node
        if seconds < 0 {
            seconds = 1;
        }
        Termination::Graceful { seconds }
    }
}

/// What holds for every stored pod.
pub fn validate_pod(pod: &Value, errors: &mut Errors) {
    let metadata = Path::root("metadata");
    annotations::validate(pod.sub("metadata"), pod.sub("spec"), &metadata.child("annotations"), errors);
    let path = Path::root("spec");
    let pod_spec = pod.sub("spec");
    spec::validate(pod_spec, Place::Pod, &path, errors);

    if pod_spec.text("serviceAccountName").is_empty() {
        let volumes = path.child("volumes");
        for (index, volume) in pod_spec.items("volumes").iter().enumerate() {
            let volume_path = volumes.index(index);
            let projected = volume_path.child("projected");
            let sources = projected.child("sources");
            for (index, source) in volume.sub("projected").items("sources").iter().enumerate() {
                if source.present("serviceAccountToken") {
                    errors.forbidden(
                        &sources.index(index).child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    );
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let list_path = path.child(list);
        for (index, container) in pod_spec.items(list).iter().enumerate() {
            containers::validate_for_pod(container, &list_path.index(index), errors);
        }
    }
}

fn validate_new(pod: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    let pod_spec = pod.sub("spec");
    if !pod_spec.items("ephemeralContainers").is_empty() {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !pod_spec.text("nodeName").is_empty() && !pod_spec.items("schedulingGates").is_empty() {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}
