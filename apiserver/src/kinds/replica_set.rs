//! ReplicaSet (apps/v1).

use keelson_objects::field::FieldError;
use serde_json::{Value, json};

use super::fields::{Fields, FieldsMut};
use super::pod::{defaults, warnings};
use super::replicas;
use super::validation::{Errors, Path};
use crate::registry::{Cell, Column, Context, Kind, Strategy, Subresource};
use crate::tables::cells;

pub fn kind() -> Kind {
    let mut columns = vec![
        cells::name_column(),
        Column::new(
            "Desired",
            "integer",
            "How many pods are wanted.",
            Cell::Read(|set, _| cells::count(set, &["spec", "replicas"])),
        ),
        Column::new(
            "Current",
            "integer",
            "How many pods there are.",
            Cell::Read(|set, _| cells::count(set, &["status", "replicas"])),
        ),
        Column::new(
            "Ready",
            "integer",
            "How many of them are ready.",
            Cell::Read(|set, _| cells::count(set, &["status", "readyReplicas"])),
        ),
        cells::age_column(),
    ];
    columns.extend(cells::workload_columns());
    Kind::new("apps", "v1", "ReplicaSet", "replicasets")
        .short_names(&["rs"])
        .categories(&["all"])
        .traced()
        .with_generation()
        .columns(columns)
        .selectable_field("status.replicas", |set| set.sub("status").int("replicas").unwrap_or(0).to_string())
        .subresource(replicas::scale())
        .subresource(Subresource::status())
        .strategy(ReplicaSetStrategy)
}

struct ReplicaSetStrategy;

impl Strategy for ReplicaSetStrategy {
    fn default(&self, set: &mut Value) {
        let spec = set.object("spec");
        spec.put_if_absent("replicas", 1);
        defaults::of_spec(spec.object("template").object("spec"));
    }

    fn prepare_for_create(&self, _context: &Context<'_>, set: &mut Value) {
        set.put("status", json!({ "replicas": 0 }));
    }

    fn validate(&self, _context: &Context<'_>, set: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        replicas::validate_spec(set.sub("spec"), &Path::root("spec"), &mut errors);
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, set: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let selector = |object: &Value| object.at(&["spec", "selector"]).clone();
        errors.immutable(&Path::root("spec").child("selector"), &selector(set), &selector(old));
        errors.into_vec()
    }

    fn validate_status_update(&self, _context: &Context<'_>, set: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        replicas::validate_status(
            set.sub("status"),
            &[
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
                "terminatingReplicas",
                "observedGeneration",
            ],
            &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
            &mut errors,
        );
        errors.into_vec()
    }

    fn warnings(&self, _context: &Context<'_>, set: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = Path::root("spec");
        let template = spec.child("template");
        warnings::of_spec(set.at(&["spec", "template", "spec"]), &template.child("spec"))
    }
}
