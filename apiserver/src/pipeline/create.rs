//! create: decode, fill in, admit, default, validate, store if absent.

use std::sync::Arc;

use keelson_objects::{meta, status::StatusError, time};
use serde_json::Value;

use super::{
    Answer, Attributes, Operation, Pipeline, Request, codec, metadata, trace, validation,
    write::{self, Written},
};
use crate::{cache::with_version, cluster::Cluster, registry::Context, storage::Companion};

/// How many names generateName tries before it gives up (upstream's number).
const NAME_ATTEMPTS: usize = 8;
/// How often an allocation that somebody else took first is made anew.
const COMPANION_ATTEMPTS: usize = 8;

impl Pipeline {
    pub(super) async fn create(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let (object, warnings) = self.decode_object(request)?;
        self.create_object(request, object, warnings).await
    }

    /// Creates a decoded object; also what an update of an absent object may come to.
    pub(super) async fn create_object(
        self: &Arc<Pipeline>,
        request: &Request,
        mut object: Value,
        mut warnings: Vec<String>,
    ) -> Result<Answer, StatusError> {
        let kind = &request.kind;
        let now = time::now_seconds();
        let cluster = self.cluster();
        metadata::fill_new(&mut object, request, &now)?;
        let generated = metadata::generate_name(&mut object);
        let name = meta::name(&object).to_owned();
        if !request.name.is_empty() && name != request.name {
            return Err(StatusError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                request.name
            )));
        }
        codec::default(kind, &mut object);
        self.admit(request, Operation::Create, &cluster, &name, &mut object, None, &mut warnings, &now).await?;
        if kind.has_status()
            && !kind.strategy.keeps_status_on_create()
            && let Some(members) = object.as_object_mut()
        {
            members.shift_remove("status");
        }
        let context = self.context(request, &cluster, &now);
        kind.strategy.prepare_for_create(&context, &mut object);
        validation::of_new(&context, &object)?;
        self.admit_final(request, Operation::Create, &cluster, &name, &mut object, None, &mut warnings, &now).await?;
        warnings.extend(kind.strategy.warnings(&context, &object, None));
        trace::stamp(request, &mut object, None);
        let json = self.store_new(request, &context, object, generated).await?;
        Ok(Answer { warnings, ..Answer::bytes(201, json) })
    }

    async fn store_new(
        &self,
        request: &Request,
        context: &Context<'_>,
        mut object: Value,
        generated: bool,
    ) -> Result<bytes::Bytes, StatusError> {
        let kind = &request.kind;
        let resource = kind.as_group_resource();
        let mut names = if generated { NAME_ATTEMPTS } else { 1 };
        let mut validated = kind.strategy.allocates().then(|| object.clone());
        for _ in 0..COMPANION_ATTEMPTS {
            if let Some(validated) = &validated {
                object = validated.clone();
            }
            let companions = self.companions(context, &mut object, None).await?;
            let name = meta::name(&object).to_owned();
            if request.options.dry_run {
                if self.current(kind, &request.namespace, &name).await?.is_some() {
                    return Err(StatusError::already_exists(&resource, &name));
                }
                return Ok(write::encode(&object));
            }
            let place = (request.namespace.as_str(), name.as_str());
            match self.commit(request, kind, place, 0, Some(&object), companions).await? {
                Written::Done { json } => return Ok(json),
                Written::Changed(Some(_)) => {
                    names -= 1;
                    if names == 0 {
                        return Err(match generated {
                            true => StatusError::generate_name_conflict(&resource, &name, 1),
                            false => StatusError::already_exists(&resource, &name),
                        });
                    }
                    meta::set_text(&mut object, "name", "");
                    metadata::generate_name(&mut object);
                    if let Some(validated) = &mut validated {
                        meta::set_text(validated, "name", meta::name(&object));
                    }
                }
                // The allocator chose from a cache that did not know of another's choice: let it catch up.
                Written::Changed(None) | Written::Companion => self.cache.caught_up(&self.store).await?,
            }
        }
        Err(StatusError::server_timeout(&resource, "create", 1))
    }

    /// The companions of a write. A refusal may come from a cache that does not know yet what was released a moment ago,
    /// so it only counts once the cache has caught up.
    pub(super) async fn companions(
        &self,
        context: &Context<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<Companion>, StatusError> {
        if !context.kind.strategy.allocates() {
            return Ok(Vec::new());
        }
        let asked = object.clone();
        match context.kind.strategy.companions(context, object, old) {
            Ok(companions) => Ok(companions),
            Err(_) => {
                self.cache.caught_up(&self.store).await?;
                *object = asked;
                context.kind.strategy.companions(context, object, old)
            }
        }
    }

    pub(super) fn context<'a>(&self, request: &'a Request, cluster: &'a Cluster, now: &'a str) -> Context<'a> {
        Context {
            kind: &request.kind,
            subresource: &request.subresource,
            namespace: &request.namespace,
            user: &request.user,
            dry_run: request.options.dry_run,
            cluster,
            now,
        }
    }

    /// The mutating plugins; what they touched is defaulted again.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn admit(
        &self,
        request: &Request,
        operation: Operation,
        cluster: &Cluster,
        name: &str,
        object: &mut Value,
        old_object: Option<&Value>,
        warnings: &mut Vec<String>,
        now: &str,
    ) -> Result<(), StatusError> {
        let mut attributes = attributes(request, operation, cluster, name, object, old_object, warnings, now);
        let touched = self.admission.admit(&mut attributes).await?;
        if touched && !object.is_null() {
            codec::default(&request.kind, object);
        }
        Ok(())
    }

    /// The validating plugins.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn admit_final(
        &self,
        request: &Request,
        operation: Operation,
        cluster: &Cluster,
        name: &str,
        object: &mut Value,
        old_object: Option<&Value>,
        warnings: &mut Vec<String>,
        now: &str,
    ) -> Result<(), StatusError> {
        let attributes = attributes(request, operation, cluster, name, object, old_object, warnings, now);
        self.admission.validate(&attributes).await
    }
}

#[allow(clippy::too_many_arguments)]
fn attributes<'a>(
    request: &'a Request,
    operation: Operation,
    cluster: &'a Cluster,
    name: &'a str,
    object: &'a mut Value,
    old_object: Option<&'a Value>,
    warnings: &'a mut Vec<String>,
    now: &'a str,
) -> Attributes<'a> {
    Attributes {
        operation,
        kind: &request.kind,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name,
        object,
        old_object,
        user: &request.user,
        dry_run: request.options.dry_run,
        warnings,
        cluster,
        now,
    }
}

/// What a dry run of an update answers: the object under the version that it would replace.
pub(super) fn with_old_version(object: &Value, revision: i64) -> bytes::Bytes {
    let stored = write::encode(object);
    with_version(&stored, revision).unwrap_or(stored)
}
