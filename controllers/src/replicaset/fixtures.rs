//! Pods and ReplicaSets for the table tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};

use crate::{meta, ownership};

pub fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a time within range")
}

fn ago(seconds: i64) -> Option<Time> {
    Timestamp::from_second(now().as_second() - seconds).ok().map(Time)
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "web".to_owned())])
}

/// A pod in the making.
#[derive(Clone, Debug, Default)]
pub struct Sketch(Pod);

impl Sketch {
    pub fn new(name: &str) -> Self {
        let mut pod = Pod::default();
        pod.metadata.labels = Some(labels());
        Self(pod).named(name).age(5000)
    }

    pub fn named(mut self, name: &str) -> Self {
        self.0.metadata.name = Some(name.to_owned());
        self.0.metadata.uid = Some(name.to_owned());
        self
    }

    pub fn age(mut self, seconds: i64) -> Self {
        self.0.metadata.creation_timestamp = ago(seconds);
        self
    }

    pub fn leaving(mut self) -> Self {
        self.0.metadata.deletion_timestamp = ago(0);
        self
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.metadata.labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn cost(mut self, cost: &str) -> Self {
        let annotations = self.0.metadata.annotations.get_or_insert_default();
        annotations.insert("controller.kubernetes.io/pod-deletion-cost".to_owned(), cost.to_owned());
        self
    }

    pub fn node(mut self, node: &str) -> Self {
        self.0.spec = Some(PodSpec { node_name: Some(node.to_owned()), ..Default::default() });
        self
    }

    fn status(&mut self) -> &mut PodStatus {
        self.0.status.get_or_insert_default()
    }

    pub fn phase(mut self, phase: &str) -> Self {
        self.status().phase = Some(phase.to_owned());
        self
    }

    pub fn ready_for(mut self, seconds: i64) -> Self {
        self.status().conditions = Some(vec![PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: ago(seconds),
            ..Default::default()
        }]);
        self
    }

    pub fn restarts(mut self, count: i32) -> Self {
        self.status().container_statuses = Some(vec![ContainerStatus { restart_count: count, ..Default::default() }]);
        self
    }

    pub fn pod(self) -> Arc<Pod> {
        Arc::new(self.0)
    }
}

pub fn replica_set(wanted: i32, min_ready_seconds: i32) -> ReplicaSet {
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels()), ..Default::default() }),
        spec: Some(PodSpec::default()),
    };
    let owner = ObjectMeta { name: Some("web".into()), uid: Some("web-uid".into()), ..Default::default() };
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some("web-1".into()),
            namespace: Some("default".into()),
            uid: Some("set-uid".into()),
            generation: Some(3),
            creation_timestamp: Some(meta::time(now())),
            owner_references: Some(vec![ownership::controller_reference(&owner, "apps/v1", "Deployment")]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(wanted),
            min_ready_seconds: Some(min_ready_seconds),
            selector: LabelSelector { match_labels: Some(labels()), ..Default::default() },
            template: Some(template),
        }),
        status: None,
    }
}
