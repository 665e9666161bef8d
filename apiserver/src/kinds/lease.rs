//! Lease (coordination.k8s.io/v1).

use keelson_objects::field::FieldError;
use serde_json::Value;

use super::fields::Fields;
use super::validation::{Errors, Path};
use crate::registry::{Cell, Column, Context, Kind, Strategy};
use crate::tables::cells;

pub fn kind() -> Kind {
    Kind::new("coordination.k8s.io", "v1", "Lease", "leases")
        .columns(vec![
            cells::name_column(),
            Column::new(
                "Holder",
                "string",
                "Who holds the lease.",
                Cell::Read(|lease, _| lease.sub("spec").text("holderIdentity").into()),
            ),
            cells::age_column(),
        ])
        .strategy(LeaseStrategy)
}

struct LeaseStrategy;

impl Strategy for LeaseStrategy {
    fn validate(&self, _context: &Context<'_>, lease: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let (spec, path) = (lease.sub("spec"), Path::root("spec"));
        if let Some(seconds) = spec.int("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        if let Some(transitions) = spec.int("leaseTransitions").filter(|transitions| *transitions < 0) {
            errors.invalid(&path.child("leaseTransitions"), transitions, "must be greater than or equal to 0");
        }
        let strategy = spec.text("strategy");
        if spec.present("strategy") && strategy != "OldestEmulationVersion" && !strategy.contains('/') {
            errors.not_supported(&path.child("strategy"), strategy, &["OldestEmulationVersion"]);
        }
        if !spec.text("preferredHolder").is_empty() && strategy.is_empty() {
            errors.forbidden(&path.child("preferredHolder"), "may only be specified when `strategy` is defined");
        }
        errors.into_vec()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
