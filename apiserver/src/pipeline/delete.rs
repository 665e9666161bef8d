//! delete: preconditions, grace, finalizers, and the removal itself.

use std::sync::Arc;

use keelson_objects::{
    meta,
    status::{Status, StatusError},
    time,
};
use serde_json::{Value, json};

use super::{
    Answer, Operation, Pipeline, Request,
    codec::{self, Expected},
    create::with_old_version,
    metadata,
    write::{Current, Written},
};
use crate::registry::{DeleteOptions, Kind, Termination};

const ATTEMPTS: usize = 16;
const OPTIONS: Expected<'static> = Expected { group: "", version: "v1", kind: "DeleteOptions" };

/// What a delete comes to.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Take it out of the store.
    Remove,
    /// Store this: it is terminating, and goes when its grace or its finalizers are over.
    Mark(Value),
    /// It is terminating already and nothing changes.
    Leave,
}

impl Pipeline {
    pub(super) async fn delete(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let options = delete_options(request)?;
        self.delete_one(request, &request.name, &options).await
    }

    pub(super) async fn delete_one(
        self: &Arc<Pipeline>,
        request: &Request,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Answer, StatusError> {
        let kind = &request.kind;
        let namespace = request.namespace.as_str();
        let resource = kind.as_group_resource();
        let missing = || StatusError::not_found(&resource, name);
        let cluster = self.cluster();
        let now = time::now_seconds();
        let mut warnings = Vec::new();
        let mut current = self.current(kind, namespace, name).await?.ok_or_else(missing)?;
        let mut nothing = Value::Null;
        let old = current.value.clone();
        let (old, operation) = (Some(&old), Operation::Delete);
        self.admit(request, operation, &cluster, name, &mut nothing, old, &mut warnings, &now).await?;
        self.admit_final(request, operation, &cluster, name, &mut nothing, old, &mut warnings, &now).await?;
        for _ in 0..ATTEMPTS {
            let (uid, version) = (options.uid.as_deref(), options.resource_version.as_deref());
            if let Err(error) = metadata::check_preconditions(&current.value, uid, version, &resource, name) {
                if current.exact {
                    return Err(error);
                }
                current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                continue;
            }
            let planned = plan(kind, &current.value, options, &now);
            if options.dry_run {
                return Ok(Answer { warnings, ..Answer::bytes(200, current.json) });
            }
            let (value, companions) = match &planned {
                Plan::Leave if current.exact => return Ok(Answer { warnings, ..Answer::bytes(200, current.json) }),
                Plan::Leave => {
                    current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                    continue;
                }
                Plan::Mark(object) => (Some(object), Vec::new()),
                Plan::Remove => (None, kind.strategy.companions_of_delete(&current.value)),
            };
            match self.commit(request, kind, (namespace, name), current.revision, value, companions).await? {
                Written::Done { json } if value.is_some() => {
                    return Ok(Answer { warnings, ..Answer::bytes(200, json) });
                }
                Written::Done { .. } => return Ok(Answer { warnings, ..removed(kind, name, &current) }),
                Written::Changed(Some(newer)) => current = newer,
                Written::Changed(None) => return Err(missing()),
                Written::Companion => {}
            }
        }
        Err(StatusError::stale(&resource, name))
    }
}

fn removed(kind: &Kind, name: &str, current: &Current) -> Answer {
    // Upstream answers the last state of pods and services, and a Status for the rest.
    if kind.group.is_empty() && matches!(&*kind.resource, "pods" | "services" | "serviceaccounts") {
        return Answer::bytes(200, with_old_version(&current.value, current.revision));
    }
    let status = Status::deleted(&kind.as_group_resource(), name, meta::uid(&current.value));
    Answer::value(200, &status.to_value())
}

/// Decides what a delete does to the object. Pure.
fn plan(kind: &Kind, object: &Value, options: &DeleteOptions, now: &str) -> Plan {
    let terminating = meta::deletion_timestamp(object);
    let grace = meta::deletion_grace_period_seconds(object);
    let mut wanted = object.clone();
    apply_propagation(&mut wanted, options);
    if let Termination::Graceful { seconds } = kind.strategy.termination(object, options) {
        match (terminating, grace) {
            (Some(since), Some(left)) if left > 0 => {
                let shorter = options.grace_period_seconds.map(|_| seconds).filter(|seconds| *seconds < left);
                match shorter {
                    None => return Plan::Leave,
                    // Zero falls through to the removal.
                    Some(0) => {}
                    Some(shorter) => {
                        let metadata = meta::metadata_mut(&mut wanted);
                        metadata.insert("deletionTimestamp".to_owned(), moved(since, shorter - left).into());
                        metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(shorter));
                        return Plan::Mark(wanted);
                    }
                }
            }
            (None, _) if seconds > 0 => {
                metadata::mark_deleting(&mut wanted, &moved(now, seconds), seconds);
                kind.strategy.on_mark_deleting(&mut wanted);
                return Plan::Mark(wanted);
            }
            _ => {}
        }
    }
    let held = meta::finalizers(&wanted).next().is_some() || kind.strategy.held_by_own_finalizers(&wanted);
    if !held {
        return Plan::Remove;
    }
    if terminating.is_none() {
        metadata::mark_deleting(&mut wanted, now, 0);
        kind.strategy.on_mark_deleting(&mut wanted);
    } else if grace != Some(0) {
        meta::metadata_mut(&mut wanted).insert("deletionGracePeriodSeconds".to_owned(), json!(0));
    }
    if wanted == *object { Plan::Leave } else { Plan::Mark(wanted) }
}

/// A time in whole seconds, moved. An unreadable one is left alone.
fn moved(time: &str, seconds: i64) -> String {
    match time::parse(time) {
        Some(parsed) => time::seconds(parsed + jiff::SignedDuration::from_secs(seconds)),
        None => time.to_owned(),
    }
}

/// propagationPolicy becomes the finalizer that the garbage collector acts on. Without a policy, what the object has stays.
fn apply_propagation(object: &mut Value, options: &DeleteOptions) {
    let wanted = match (options.propagation_policy.as_deref(), options.orphan_dependents) {
        (Some("Orphan"), _) | (None, Some(true)) => Some(meta::ORPHAN_DEPENDENTS),
        (Some("Foreground"), _) => Some(meta::FOREGROUND_DELETION),
        (Some(_), _) | (None, Some(false)) => None,
        (None, None) => return,
    };
    let mut finalizers: Vec<&str> = meta::finalizers(object)
        .filter(|finalizer| ![meta::ORPHAN_DEPENDENTS, meta::FOREGROUND_DELETION].contains(finalizer))
        .collect();
    finalizers.extend(wanted);
    let finalizers = json!(finalizers);
    let metadata = meta::metadata_mut(object);
    if finalizers == json!([]) {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers);
    }
}

/// DeleteOptions from the body, with the query's values where the body has none.
pub(super) fn delete_options(request: &Request) -> Result<DeleteOptions, StatusError> {
    let query = &request.options;
    let body = if request.body.bytes.is_empty() { Value::Null } else { decode_body(request)? };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let options = DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"].as_i64().or(query.grace_period_seconds),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        propagation_policy: text(&body["propagationPolicy"]).or_else(|| query.propagation_policy.clone()),
        orphan_dependents: body["orphanDependents"].as_bool().or(query.orphan_dependents),
        dry_run: query.dry_run || body["dryRun"].as_array().is_some_and(|values| !values.is_empty()),
    };
    let invalid = |message: String| {
        let mut status = StatusError::invalid("meta.k8s.io", "DeleteOptions", "", &[]).into_status();
        status.message = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {message}");
        Err(StatusError::from(status))
    };
    if let Some(policy) = &options.propagation_policy {
        if options.orphan_dependents.is_some() {
            return invalid(format!(
                "propagationPolicy: Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"
            ));
        }
        if !matches!(policy.as_str(), "Background" | "Foreground" | "Orphan") {
            return invalid(format!(
                "propagationPolicy: Unsupported value: {policy:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
            ));
        }
    }
    Ok(options)
}

fn decode_body(request: &Request) -> Result<Value, StatusError> {
    let codec::Syntax { mut value, duplicates } = codec::syntax(&request.body, OPTIONS.kind)?;
    // DeleteOptions is known in every group version; which one a client names does not matter.
    if let Some(members) = value.as_object_mut() {
        members.insert("apiVersion".to_owned(), "v1".into());
    }
    codec::check(&mut value, duplicates, OPTIONS, "Ignore")?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Strategy;

    struct Graceful;
    impl Strategy for Graceful {
        fn termination(&self, _object: &Value, options: &DeleteOptions) -> Termination {
            Termination::Graceful { seconds: options.grace_period_seconds.unwrap_or(30) }
        }
    }

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn options(grace: Option<i64>, policy: Option<&str>) -> DeleteOptions {
        DeleteOptions {
            grace_period_seconds: grace,
            propagation_policy: policy.map(str::to_owned),
            ..Default::default()
        }
    }

    #[test]
    fn deletes_are_planned() {
        let plain = Kind::new("", "v1", "ConfigMap", "configmaps");
        let graceful = Kind::new("", "v1", "Pod", "pods").strategy(Graceful);
        let fresh = json!({"metadata": {"name": "x"}});
        let held = json!({"metadata": {"name": "x", "finalizers": ["f"]}});
        let going = json!({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}});
        let marked = |finalizers: Value, time: &str, grace: i64| {
            let mut object = json!({"metadata": {"name": "x"}});
            if finalizers != json!([]) {
                object["metadata"]["finalizers"] = finalizers;
            }
            object["metadata"]["deletionTimestamp"] = time.into();
            object["metadata"]["deletionGracePeriodSeconds"] = grace.into();
            Plan::Mark(object)
        };
        let table = [
            (&plain, &fresh, options(None, None), Plan::Remove),
            (&plain, &fresh, options(None, Some("Foreground")), marked(json!(["foregroundDeletion"]), NOW, 0)),
            (&plain, &fresh, options(None, Some("Orphan")), marked(json!(["orphan"]), NOW, 0)),
            (&plain, &held, options(None, Some("Background")), marked(json!(["f"]), NOW, 0)),
            (&graceful, &fresh, options(None, None), marked(json!([]), "2026-01-01T00:00:30Z", 30)),
            (&graceful, &fresh, options(Some(0), None), Plan::Remove),
            (&graceful, &going, options(None, None), Plan::Leave),
            (&graceful, &going, options(Some(10), None), marked(json!([]), "2026-01-01T00:00:10Z", 10)),
            (&graceful, &going, options(Some(0), None), Plan::Remove),
        ];
        for (index, (kind, object, options, expected)) in table.into_iter().enumerate() {
            assert_eq!(plan(kind, object, &options, NOW), expected, "case {index}");
        }
    }
}
