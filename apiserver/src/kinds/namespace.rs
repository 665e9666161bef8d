//! Namespace (core/v1): deleting one is a process, which its own finalizer holds open.

use keelson_objects::field::FieldError;
use serde_json::{Value, json};

use super::fields::{Fields, FieldsMut};
use super::validation::{Errors, Path, names};
use crate::registry::{Cell, Column, Context, Kind, Strategy, Subresource, Variant, Verb};
use crate::tables::cells;

const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub fn kind() -> Kind {
    Kind::new("", "v1", "Namespace", "namespaces")
        .cluster_scoped()
        .short_names(&["ns"])
        .verbs(Verb::NO_COLLECTION_DELETE)
        .columns(vec![
            cells::name_column(),
            Column::new(
                "Status",
                "string",
                "The status of the namespace",
                Cell::Read(|namespace, _| namespace.sub("status").text("phase").into()),
            ),
            cells::age_column(),
        ])
        .selectable_field("status.phase", |namespace| namespace.sub("status").text("phase").to_owned())
        .subresource(Subresource::variant("finalize", Verb::UPDATE, Finalize))
        .subresource(Subresource::status())
        .strategy(NamespaceStrategy)
}

struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    /// Namespaces can be selected by name.
    fn default(&self, namespace: &mut Value) {
        let name = namespace.sub("metadata").text("name").to_owned();
        if !name.is_empty() {
            namespace.object("metadata").object("labels").put(NAME_LABEL, name);
        }
    }

    fn prepare_for_create(&self, _context: &Context<'_>, namespace: &mut Value) {
        namespace.put("status", json!({ "phase": "Active" }));
        let spec = namespace.object("spec");
        let mut finalizers: Vec<Value> = spec.items("finalizers").to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        spec.put("finalizers", finalizers);
    }

    fn prepare_for_update(&self, _context: &Context<'_>, namespace: &mut Value, old: &Value) {
        let finalizers = old.at(&["spec", "finalizers"]).clone();
        namespace.object("spec").put("finalizers", finalizers);
        namespace.put("status", old.sub("status").clone());
    }

    fn validate(&self, _context: &Context<'_>, namespace: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("spec");
        for finalizer in namespace.sub("spec").strings("finalizers") {
            validate_finalizer(finalizer, &path.child("finalizers"), &mut errors);
        }
        errors.into_vec()
    }

    fn validate_status_update(&self, _context: &Context<'_>, namespace: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("status");
        let phase = namespace.sub("status").text("phase");
        let (expected, state) = match namespace.sub("metadata").present("deletionTimestamp") {
            true => ("Terminating", "is not empty"),
            false => ("Active", "is empty"),
        };
        if phase != expected {
            let detail = format!("may only be '{expected}' if `deletionTimestamp` {state}");
            errors.invalid(&path.child("Phase"), phase, detail);
        }
        errors.into_vec()
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::label(name, prefix)
    }

    fn held_by_own_finalizers(&self, namespace: &Value) -> bool {
        !namespace.sub("spec").items("finalizers").is_empty()
    }

    fn on_mark_deleting(&self, namespace: &mut Value) {
        namespace.object("status").put("phase", "Terminating");
    }
}

fn validate_finalizer(finalizer: &str, path: &Path, errors: &mut Errors) {
    errors.messages(path, finalizer, names::qualified_name(finalizer));
    let standard = [FINALIZER, "orphan", "foregroundDeletion"];
    if !finalizer.contains('/') && !standard.contains(&finalizer) {
        errors.invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

/// The endpoint through which the namespace's own finalizers are given up; it changes nothing else.
struct Finalize;

impl Variant for Finalize {
    fn prepare(&self, _context: &Context<'_>, namespace: &mut Value, old: &Value) {
        namespace.put("status", old.sub("status").clone());
        let metadata = old.sub("metadata").clone();
        let version = namespace.sub("metadata").sub("resourceVersion").clone();
        namespace.put("metadata", metadata);
        if !version.is_null() {
            namespace.object("metadata").put("resourceVersion", version);
        }
    }

    fn validate(&self, _context: &Context<'_>, namespace: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let spec = Path::root("spec");
        let path = spec.child("finalizers");
        for (index, finalizer) in namespace.sub("spec").strings("finalizers").enumerate() {
            validate_finalizer(finalizer, &path.index(index), &mut errors);
        }
        errors.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_namespace_waits_in_terminating() {
        let mut namespace = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
        NamespaceStrategy.default(&mut namespace);
        assert_eq!(namespace.at(&["metadata", "labels", NAME_LABEL]), "a");
        assert!(NamespaceStrategy.held_by_own_finalizers(&namespace));
        NamespaceStrategy.on_mark_deleting(&mut namespace);
        assert_eq!(namespace.sub("status").text("phase"), "Terminating");
        namespace.object("spec").put("finalizers", json!([]));
        assert!(!NamespaceStrategy.held_by_own_finalizers(&namespace));
    }

    #[test]
    fn finalizers_are_standard_or_qualified() {
        let path = Path::root("spec");
        for (finalizer, good) in [("kubernetes", true), ("example.com/x", true), ("mine", false), ("", false)] {
            let mut errors = Errors::new();
            validate_finalizer(finalizer, &path, &mut errors);
            assert_eq!(errors.is_empty(), good, "{finalizer}");
        }
    }
}
