//! Judging an object: the generic metadata rules and the kind's own, gathered into one Invalid answer.

use keelson_objects::{field::FieldError, meta, status::StatusError};
use serde_json::Value;

use crate::{
    kinds::validation::{self as rules, Errors},
    registry::{Context, Variant},
};

pub(super) fn of_new(context: &Context<'_>, object: &Value) -> Result<(), StatusError> {
    let kind = context.kind;
    let mut errors = Errors::new();
    rules::meta::validate(
        object,
        kind.namespaced(),
        |name, prefix| kind.strategy.validate_name(name, prefix),
        &mut errors,
    );
    let mut errors = errors.into_vec();
    errors.extend(kind.strategy.validate(context, object));
    refuse(context, object, errors)
}

pub(super) fn of_update(context: &Context<'_>, object: &Value, old: &Value) -> Result<(), StatusError> {
    let mut errors = metadata(object, old);
    errors.extend(context.kind.strategy.validate(context, object));
    errors.extend(context.kind.strategy.validate_update(context, object, old));
    refuse(context, object, errors)
}

pub(super) fn of_status(context: &Context<'_>, object: &Value, old: &Value) -> Result<(), StatusError> {
    let mut errors = metadata(object, old);
    errors.extend(context.kind.strategy.validate_status_update(context, object, old));
    refuse(context, object, errors)
}

pub(super) fn of_variant(
    context: &Context<'_>,
    variant: &dyn Variant,
    object: &Value,
    old: &Value,
) -> Result<(), StatusError> {
    let mut errors = metadata(object, old);
    errors.extend(variant.validate(context, object, old));
    refuse(context, object, errors)
}

fn metadata(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::new();
    rules::meta::validate_update(object, old, &mut errors);
    errors.into_vec()
}

fn refuse(context: &Context<'_>, object: &Value, errors: Vec<FieldError>) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    let name = match meta::name(object) {
        "" => meta::generate_name(object),
        name => name,
    };
    Err(StatusError::invalid(&context.kind.group, &context.kind.kind, name, &errors))
}
