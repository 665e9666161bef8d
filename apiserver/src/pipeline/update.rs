//! update, and the engine behind every optimistic write: read, make the wanted object, judge it, store it if the
//! object is still what was read, otherwise begin again.

use std::sync::Arc;

use bytes::Bytes;
use keelson_objects::{meta, status::StatusError, time};
use serde_json::Value;

use super::{
    Answer, Operation, Pipeline, Request, codec,
    create::with_old_version,
    metadata, trace, validation,
    write::{Current, Written},
};
use crate::{
    cluster::Cluster,
    registry::{Action, Context, Kind, Variant},
};

/// How often a write without a resourceVersion begins again when others are faster.
const ATTEMPTS: usize = 16;

/// Which part of the object a write is about.
#[derive(Clone, Copy)]
pub(super) enum Style<'a> {
    Main,
    Status,
    Variant(&'a dyn Variant),
}

/// Makes the wanted object, with warnings about it, of the newest known state.
pub(super) type Make<'a> = dyn FnMut(&Current) -> Result<(Value, Vec<String>), StatusError> + Send + 'a;

impl Pipeline {
    pub(super) async fn update(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let kind = request.kind.clone();
        let (object, warnings) = self.decode_object(request)?;
        check_name(&object, &request.name)?;
        if meta::resource_version(&object).is_empty() && !kind.strategy.allow_unconditional_update() {
            let path = keelson_objects::field::Path::new("metadata").child("resourceVersion");
            let error = keelson_objects::field::FieldError::invalid(&path, 0, "must be specified for an update");
            return Err(StatusError::invalid(&kind.group, &kind.kind, &request.name, &[error]));
        }
        let may_create = request.subresource.is_empty() && kind.strategy.allow_create_on_update();
        if may_create
            && meta::resource_version(&object).is_empty()
            && self.current(&kind, &request.namespace, &request.name).await?.is_none()
        {
            return self.create_object(request, object, warnings).await;
        }
        let mut make = |_: &Current| Ok((object.clone(), Vec::new()));
        let (json, more) = self.rewrite(request, style_of(&kind, &request.subresource)?, &mut make).await?;
        let warnings = warnings.into_iter().chain(more).collect();
        Ok(Answer { warnings, ..Answer::bytes(200, json) })
    }

    /// The engine. `make` is called with the newest known state, again after each lost race, and answers the wanted
    /// object (whole, decoded) with warnings.
    pub(super) async fn rewrite(
        self: &Arc<Pipeline>,
        request: &Request,
        style: Style<'_>,
        make: &mut Make<'_>,
    ) -> Result<(Bytes, Vec<String>), StatusError> {
        let kind = &request.kind;
        let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
        let missing = || StatusError::not_found(&kind.as_group_resource(), name);
        let cluster = self.cluster();
        let now = time::now_seconds();
        let mut current = self.current(kind, namespace, name).await?.ok_or_else(missing)?;
        for _ in 0..ATTEMPTS {
            let (mut object, mut warnings) = match make(&current) {
                // What looks wrong on a cached object may be right on the newest.
                Err(_) if !current.exact => {
                    current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                    continue;
                }
                made => made?,
            };
            let asked = meta::resource_version(&object);
            if !matches!(asked, "" | "0") && asked != current.revision.to_string() {
                if current.exact {
                    return Err(StatusError::stale(&kind.as_group_resource(), name));
                }
                current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                continue;
            }
            let uid = meta::uid(&object);
            let uid = (!uid.is_empty()).then_some(uid);
            metadata::check_preconditions(&current.value, uid, None, &kind.as_group_resource(), name)?;
            let judged = self.judge(request, style, &cluster, &now, &current, &mut object, &mut warnings).await;
            if let Err(error) = judged {
                if current.exact {
                    return Err(error);
                }
                current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                continue;
            }
            if object == current.value {
                return Ok((current.json, warnings));
            }
            if matches!(style, Style::Main) {
                trace::stamp(request, &mut object, Some(&current.value));
            }
            if request.options.dry_run {
                return Ok((with_old_version(&object, current.revision), warnings));
            }
            let context = self.context(request, &cluster, &now);
            match self.store_changed(request, &context, style, &current, &mut object).await? {
                Written::Done { json } if json.is_empty() => {
                    // The last finalizer went, and the object with it.
                    return Ok((with_old_version(&object, current.revision), warnings));
                }
                Written::Done { json } => return Ok((json, warnings)),
                Written::Changed(Some(newer)) => current = newer,
                Written::Changed(None) => return Err(missing()),
                Written::Companion => {
                    self.cache.caught_up(&self.store).await?;
                    current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                }
            }
        }
        Err(StatusError::stale(&kind.as_group_resource(), name))
    }

    /// Makes the wanted object what may be stored, or refuses it.
    #[allow(clippy::too_many_arguments)]
    async fn judge(
        &self,
        request: &Request,
        style: Style<'_>,
        cluster: &Cluster,
        now: &str,
        current: &Current,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), StatusError> {
        let kind = &request.kind;
        let old = &current.value;
        metadata::fill_namespace(object, request)?;
        metadata::keep_from_old(object, old);
        meta::set_resource_version(object, meta::resource_version(old));
        let context = self.context(request, cluster, now);
        match style {
            Style::Main if kind.has_status() => keep_member(object, old, "status"),
            Style::Main => {}
            Style::Status => keep_all_but_status(object, old),
            Style::Variant(variant) => variant.prepare(&context, object, old),
        }
        codec::default(kind, object);
        self.admit(request, Operation::Update, cluster, &request.name, object, Some(old), warnings, now).await?;
        match style {
            Style::Main => kind.strategy.prepare_for_update(&context, object, old),
            Style::Status => kind.strategy.prepare_for_status_update(&context, object, old),
            Style::Variant(_) => {}
        }
        if kind.generation && !matches!(style, Style::Status) {
            metadata::count_generation(object, old);
        }
        match style {
            Style::Main => validation::of_update(&context, object, old)?,
            Style::Status => validation::of_status(&context, object, old)?,
            Style::Variant(variant) => validation::of_variant(&context, variant, object, old)?,
        }
        self.admit_final(request, Operation::Update, cluster, &request.name, object, Some(old), warnings, now).await?;
        if matches!(style, Style::Main) {
            warnings.extend(kind.strategy.warnings(&context, object, Some(old)));
        }
        Ok(())
    }

    async fn store_changed(
        &self,
        request: &Request,
        context: &Context<'_>,
        style: Style<'_>,
        current: &Current,
        object: &mut Value,
    ) -> Result<Written, StatusError> {
        let kind = &request.kind;
        let place = (request.namespace.as_str(), request.name.as_str());
        if is_released(kind, object, &current.value) {
            let companions = kind.strategy.companions_of_delete(&current.value);
            return self.commit(request, kind, place, current.revision, None, companions).await;
        }
        let companions = match style {
            Style::Main => self.companions(context, object, Some(&current.value)).await?,
            _ => Vec::new(),
        };
        self.commit(request, kind, place, current.revision, Some(object), companions).await
    }
}

/// The style of a write to the main resource or one of its update-like subresources.
pub(super) fn style_of<'a>(kind: &'a Kind, subresource: &str) -> Result<Style<'a>, StatusError> {
    if subresource.is_empty() {
        return Ok(Style::Main);
    }
    match kind.find_subresource(subresource).map(|subresource| &subresource.action) {
        Some(Action::Status) => Ok(Style::Status),
        Some(Action::Variant(variant)) => Ok(Style::Variant(variant.as_ref())),
        _ => Err(StatusError::no_such_resource()),
    }
}

/// A deleted object whose last finalizer this update removes (upstream's ShouldDeleteDuringUpdate).
fn is_released(kind: &Kind, object: &Value, old: &Value) -> bool {
    meta::deletion_timestamp(old).is_some()
        && meta::finalizers(object).next().is_none()
        && !kind.strategy.held_by_own_finalizers(object)
        && meta::deletion_grace_period_seconds(old).unwrap_or_default() == 0
}

fn check_name(object: &Value, name: &str) -> Result<(), StatusError> {
    match meta::name(object) {
        "" => Err(StatusError::bad_request("name must be provided")),
        given if given != name => Err(StatusError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

fn keep_member(object: &mut Value, old: &Value, member: &str) {
    let Some(members) = object.as_object_mut() else { return };
    match old.get(member) {
        Some(value) => drop(members.insert(member.to_owned(), value.clone())),
        None => drop(members.shift_remove(member)),
    }
}

fn keep_all_but_status(object: &mut Value, old: &Value) {
    let mut kept = old.clone();
    for member in ["metadata", "status"] {
        keep_member(&mut kept, object, member);
    }
    *object = kept;
}
