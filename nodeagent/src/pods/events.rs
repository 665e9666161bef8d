//! Events about a pod, addressed to the pod or to one of its containers.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use keelson_client::events::{EventRecorder, EventType};

use super::spec::{self, Role};

/// Records events of one pod. Cheap to clone.
#[derive(Clone)]
pub struct PodEvents {
    recorder: EventRecorder,
    reference: Arc<ObjectReference>,
    init: Arc<[String]>,
}

impl PodEvents {
    pub fn new(recorder: &EventRecorder, pod: &Pod) -> PodEvents {
        let init = spec::init_containers(pod).iter().map(|container| container.name.clone()).collect();
        PodEvents { recorder: recorder.clone(), reference: Arc::new(keelson_client::reference(pod)), init }
    }

    pub fn normal(&self, container: &str, reason: &str, message: &str) {
        self.recorder.event(&self.of_container(container), EventType::Normal, reason, message);
    }

    pub fn warning(&self, container: &str, reason: &str, message: &str) {
        self.recorder.event(&self.of_container(container), EventType::Warning, reason, message);
    }

    pub fn pod_normal(&self, reason: &str, message: &str) {
        self.recorder.event(&self.reference, EventType::Normal, reason, message);
    }

    pub fn pod_warning(&self, reason: &str, message: &str) {
        self.recorder.event(&self.reference, EventType::Warning, reason, message);
    }

    fn of_container(&self, name: &str) -> ObjectReference {
        let role = if self.init.iter().any(|known| known == name) { Role::Init } else { Role::App };
        let list = if role == Role::App { "containers" } else { "initContainers" };
        ObjectReference { field_path: Some(format!("spec.{list}{{{name}}}")), ..(*self.reference).clone() }
    }
}
