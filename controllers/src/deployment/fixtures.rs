//! Deployments, ReplicaSets and templates for the table tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetSpec, ReplicaSetStatus,
    RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{annotations, template};
use crate::{meta, ownership};

pub fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).expect("a time within range")
}

pub fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), "web".to_owned())])
}

pub fn template(image: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels()), ..Default::default() }),
        spec: Some(PodSpec {
            containers: vec![Container { name: "web".into(), image: Some(image.into()), ..Default::default() }],
            ..Default::default()
        }),
    }
}

pub fn deployment(replicas: i32, surge: IntOrString, unavailable: IntOrString) -> Deployment {
    Deployment {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("default".into()),
            uid: Some("web-uid".into()),
            generation: Some(1),
            resource_version: Some("1".into()),
            ..Default::default()
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            progress_deadline_seconds: Some(600),
            revision_history_limit: Some(10),
            selector: LabelSelector { match_labels: Some(labels()), ..Default::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(surge),
                    max_unavailable: Some(unavailable),
                }),
            }),
            template: template("nginx:2"),
            ..Default::default()
        }),
        status: None,
    }
}

pub fn recreate(replicas: i32) -> Deployment {
    let mut deployment = deployment(replicas, IntOrString::Int(0), IntOrString::Int(0));
    if let Some(spec) = deployment.spec.as_mut() {
        spec.strategy = Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    }
    deployment
}

/// A ReplicaSet of the Deployment: `age` seconds old, with `wanted` replicas of which all exist and `available` are
/// ready and available.
pub fn set(
    deployment: &Deployment,
    image: &str,
    revision: i64,
    age: i64,
    wanted: i32,
    available: i32,
) -> Arc<ReplicaSet> {
    let template = template(image);
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("web-{}", template::hash(&template, None))),
            namespace: Some("default".into()),
            uid: Some(format!("set-{revision}")),
            generation: Some(1),
            resource_version: Some("1".into()),
            creation_timestamp: Some(meta::time(
                Timestamp::from_second(now().as_second() - age).expect("a time within range"),
            )),
            owner_references: Some(vec![ownership::controller_reference(
                &deployment.metadata,
                "apps/v1",
                "Deployment",
            )]),
            ..Default::default()
        },
        spec: Some(ReplicaSetSpec { replicas: Some(wanted), template: Some(template), ..Default::default() }),
        status: Some(ReplicaSetStatus {
            replicas: wanted,
            ready_replicas: Some(available),
            available_replicas: Some(available),
            observed_generation: Some(1),
            ..Default::default()
        }),
    };
    annotations::sync(deployment, &mut set, revision);
    annotations::record_sizes(deployment, &mut set);
    Arc::new(set)
}
