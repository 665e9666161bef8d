//! What a kind does differently: small functions over JSON objects.
//!
//! The pipeline has done the generic part before it calls a strategy, so a strategy holds only what is special:
//! - decode, schema types, pruning, static defaults and metadata validation are generic;
//! - with a status subresource, `status` is dropped on create and kept from the stored object on update, and the
//!   status endpoint keeps everything but `status` (and metadata's labels/annotations/finalizers as upstream does);
//! - `metadata.generation` is kept for kinds that ask for it.
//!
//! Order on create: mutating admission, schema defaults, `default`, generic metadata, `prepare_for_create`,
//! `validate`, validating admission, store. On update: `default`, generic metadata, `prepare_for_update`, `validate`
//! and `validate_update`. (Upstream defaults while it decodes, that is before admission; the pipeline does so as well,
//! and once more after admission plugins have changed the object.)

use keelson_objects::{field::FieldError, names, status::StatusError};
use serde_json::Value;

use super::Kind;
use crate::{authentication::User, cluster::Cluster, storage::Companion};

/// What a strategy may know about the request beside the objects.
pub struct Context<'a> {
    pub kind: &'a Kind,
    /// Empty for the main resource.
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub user: &'a User,
    pub dry_run: bool,
    pub cluster: &'a Cluster,
    /// RFC 3339 in whole seconds, the request's one idea of the present.
    pub now: &'a str,
}

/// meta/v1 DeleteOptions after decoding and defaulting.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// Background, Foreground or Orphan.
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub dry_run: bool,
}

/// What a graceful-delete rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Termination {
    /// The kind knows no grace: delete now (finalizers permitting).
    Immediate,
    /// Set deletionTimestamp (now + seconds) and wait for a delete with grace 0. Zero seconds means now.
    Graceful { seconds: i64 },
}

pub trait Strategy: Send + Sync + 'static {
    /// Conditional defaults, after the schema's static ones. Must give the same answer when called twice.
    fn default(&self, _object: &mut Value) {}

    /// Before validation of a create. Where the object may not set a field, clear it here.
    fn prepare_for_create(&self, _context: &Context<'_>, _object: &mut Value) {}

    /// A Node registers with the status that its agent knows; of other kinds a create carries no status.
    fn keeps_status_on_create(&self) -> bool {
        false
    }

    /// Before validation of an update of the main resource.
    fn prepare_for_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    /// Before validation of an update of `status`; spec and metadata are already the old ones where they must be.
    fn prepare_for_status_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    /// Judges an object on create and on update.
    fn validate(&self, _context: &Context<'_>, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// What an update may change; called in addition to `validate`.
    fn validate_update(&self, _context: &Context<'_>, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Called alone for the status endpoint.
    fn validate_status_update(&self, _context: &Context<'_>, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Judges `metadata.name` (and `generateName` with `prefix`): the messages of what is wrong, upstream's texts.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if prefix { names::generated(names::dns1123_subdomain, name) } else { names::dns1123_subdomain(name) }
    }

    /// Texts for the Warning header on create and update.
    fn warnings(&self, _context: &Context<'_>, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Upstream's AllowCreateOnUpdate: PUT to an absent name creates it (Lease, Event, EndpointSlice are not all alike).
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// Upstream's AllowUnconditionalUpdate: a PUT without resourceVersion replaces whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Upstream's CheckGracefulDelete.
    fn termination(&self, _object: &Value, _options: &DeleteOptions) -> Termination {
        Termination::Immediate
    }

    /// Finalizers that are not in `metadata.finalizers` (a Namespace's `spec.finalizers`) hold the object too.
    fn held_by_own_finalizers(&self, _object: &Value) -> bool {
        false
    }

    /// Further changes when the object is marked as deleting (a Namespace's phase becomes Terminating).
    fn on_mark_deleting(&self, _object: &mut Value) {}

    /// The kind has companions. `companions` may change the object, so each attempt begins with what was validated.
    fn allocates(&self) -> bool {
        false
    }

    /// Writes and conditions that go into the same store transaction as the create or update (a Service's claim on
    /// its cluster IP). Answering `Err` refuses the request. Called again when a companion's condition failed, at
    /// most a few times, so an allocator may choose anew; it may change the object.
    fn companions(
        &self,
        _context: &Context<'_>,
        _object: &mut Value,
        _old: Option<&Value>,
    ) -> Result<Vec<Companion>, StatusError> {
        Ok(Vec::new())
    }

    /// The same for the transaction that removes the object.
    fn companions_of_delete(&self, _object: &Value) -> Vec<Companion> {
        Vec::new()
    }
}

/// A kind without anything special.
pub struct Plain;

impl Strategy for Plain {}
