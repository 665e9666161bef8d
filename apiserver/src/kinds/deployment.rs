//! Deployment (apps/v1).

use keelson_objects::field::FieldError;
use serde_json::{Value, json};

use super::fields::{Fields, FieldsMut, same};
use super::pod::{defaults, warnings};
use super::replicas;
use super::validation::{Errors, Path, names};
use crate::registry::{Cell, Column, Context, Kind, Strategy, Subresource};
use crate::tables::cells;

pub fn kind() -> Kind {
    let mut columns = vec![
        cells::name_column(),
        Column::new(
            "Ready",
            "string",
            "Number of the pod with ready state",
            Cell::Read(|deployment, _| {
                let ready = deployment.sub("status").int("readyReplicas").unwrap_or(0);
                format!("{ready}/{}", deployment.sub("spec").int("replicas").unwrap_or(0)).into()
            }),
        ),
        Column::new(
            "Up-to-date",
            "integer",
            "Pods that run the present template.",
            Cell::Read(|deployment, _| cells::count(deployment, &["status", "updatedReplicas"])),
        ),
        Column::new(
            "Available",
            "integer",
            "Pods that have been ready for at least minReadySeconds.",
            Cell::Read(|deployment, _| cells::count(deployment, &["status", "availableReplicas"])),
        ),
        cells::age_column(),
    ];
    columns.extend(cells::workload_columns());
    Kind::new("apps", "v1", "Deployment", "deployments")
        .short_names(&["deploy"])
        .categories(&["all"])
        .traced()
        .with_generation()
        .columns(columns)
        .subresource(replicas::scale())
        .subresource(Subresource::status())
        .strategy(DeploymentStrategy)
}

struct DeploymentStrategy;

impl Strategy for DeploymentStrategy {
    fn default(&self, deployment: &mut Value) {
        let spec = deployment.object("spec");
        spec.put_if_absent("replicas", 1);
        spec.put_if_absent("revisionHistoryLimit", 10);
        spec.put_if_absent("progressDeadlineSeconds", 600);
        let strategy = spec.object("strategy");
        if strategy.text("type").is_empty() {
            strategy.put("type", "RollingUpdate");
        }
        if strategy.text("type") == "RollingUpdate" {
            let rolling = strategy.object("rollingUpdate");
            rolling.put_if_absent("maxUnavailable", "25%");
            rolling.put_if_absent("maxSurge", "25%");
        }
        defaults::of_spec(spec.object("template").object("spec"));
    }

    fn prepare_for_create(&self, _context: &Context<'_>, deployment: &mut Value) {
        deployment.put("status", json!({}));
    }

    /// Annotations count as a change too: a controller copies them to its ReplicaSets.
    fn prepare_for_update(&self, _context: &Context<'_>, deployment: &mut Value, old: &Value) {
        let (now, before) = (deployment.sub("metadata"), old.sub("metadata"));
        let generation = before.int("generation").unwrap_or(0);
        let counted = now.int("generation").unwrap_or(0) > generation;
        if !counted && !same(now.sub("annotations"), before.sub("annotations")) {
            deployment.object("metadata").put("generation", generation + 1);
        }
    }

    fn prepare_for_status_update(&self, _context: &Context<'_>, deployment: &mut Value, old: &Value) {
        let labels = old.sub("metadata").sub("labels").clone();
        deployment.object("metadata").put("labels", labels);
    }

    fn validate(&self, _context: &Context<'_>, deployment: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (spec, path) = (deployment.sub("spec"), Path::root("spec"));
        replicas::validate_spec(spec, &path, &mut errors);
        validate_strategy(spec.sub("strategy"), &path.child("strategy"), &mut errors);
        errors.non_negative(&path.child("revisionHistoryLimit"), spec.int("revisionHistoryLimit"));
        if let Some(deadline) = spec.int("progressDeadlineSeconds") {
            let path = path.child("progressDeadlineSeconds");
            errors.non_negative(&path, Some(deadline));
            if deadline <= spec.int("minReadySeconds").unwrap_or(0) {
                errors.invalid(&path, deadline, "must be greater than minReadySeconds");
            }
        }
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, deployment: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let selector = |object: &Value| object.at(&["spec", "selector"]).clone();
        errors.immutable(&Path::root("spec").child("selector"), &selector(deployment), &selector(old));
        errors.into_vec()
    }

    fn validate_status_update(&self, _context: &Context<'_>, deployment: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let status = deployment.sub("status");
        replicas::validate_status(
            status,
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            &["updatedReplicas", "readyReplicas", "availableReplicas"],
            &mut errors,
        );
        let collisions = status.int("collisionCount");
        if let Some(before) = old.sub("status").int("collisionCount")
            && collisions.is_none_or(|now| now < before)
        {
            let path = Path::root("status");
            errors.invalid(&path.child("collisionCount"), collisions.unwrap_or(0), "cannot be decremented");
        }
        errors.into_vec()
    }

    fn warnings(&self, _context: &Context<'_>, deployment: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = Path::root("spec");
        let template = spec.child("template");
        warnings::of_spec(deployment.at(&["spec", "template", "spec"]), &template.child("spec"))
    }
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    let rolling = strategy.sub("rollingUpdate");
    let rolling_path = path.child("rollingUpdate");
    match strategy.text("type") {
        "Recreate" => {
            if !rolling.is_null() {
                errors.forbidden(&rolling_path, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" if rolling.is_null() => {
            errors.required(&rolling_path, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.sub("maxUnavailable"), rolling.sub("maxSurge"));
            int_or_percent(unavailable, &rolling_path.child("maxUnavailable"), errors);
            int_or_percent(surge, &rolling_path.child("maxSurge"), errors);
            if amount(unavailable) == 0 && amount(surge) == 0 {
                errors.invalid(
                    &rolling_path.child("maxUnavailable"),
                    unavailable.clone(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            if unavailable.is_string() && amount(unavailable) > 100 {
                errors.invalid(
                    &rolling_path.child("maxUnavailable"),
                    unavailable.clone(),
                    "must not be greater than 100%",
                );
            }
        }
        _ => errors.not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"]),
    }
}

fn int_or_percent(value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::String(text) => errors.messages(path, text, names::percent(text)),
        number => errors.non_negative(path, number.as_i64()),
    }
}

/// The number in front of a percent sign, or the number itself.
fn amount(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.trim_end_matches('%').parse().unwrap_or(0),
        number => number.as_i64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strategy_errors(strategy: Value) -> Vec<String> {
        let mut errors = Errors::new();
        let spec = Path::root("spec");
        validate_strategy(&strategy, &spec.child("strategy"), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_deployment_rolls_by_quarters_by_default() {
        let mut deployment = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        DeploymentStrategy.default(&mut deployment);
        let spec = deployment.sub("spec");
        assert_eq!(
            spec.sub("strategy"),
            &json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(spec.int("replicas"), Some(1));
        assert_eq!(spec.at(&["template", "spec"]).text("restartPolicy"), "Always");
        let mut recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
        DeploymentStrategy.default(&mut recreate);
        assert_eq!(recreate.at(&["spec", "strategy"]), &json!({"type": "Recreate"}));
    }

    #[test]
    fn strategies_are_judged() {
        assert_eq!(
            strategy_errors(json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}})),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"]
        );
        assert_eq!(
            strategy_errors(json!({"type": "Recreate", "rollingUpdate": {}})),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
        );
        assert_eq!(
            strategy_errors(
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "101%", "maxSurge": 1}})
            ),
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
    }
}
