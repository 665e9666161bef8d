//! Which objects a list, a watch or a deletecollection is about.

use keelson_objects::{
    selector::{field, label},
    status::StatusError,
};

use super::Entry;
use crate::registry::Kind;

#[derive(Debug, Clone)]
pub struct Selection {
    /// Empty: all namespaces.
    pub namespace: String,
    labels: label::Selector,
    fields: Vec<FieldTerm>,
}

#[derive(Debug, Clone)]
struct FieldTerm {
    source: Source,
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Name,
    Namespace,
    /// The place in the kind's list.
    Field(usize),
}

impl Selection {
    /// Parses the selectors; an unknown field is a bad request in upstream's words.
    pub fn parse(kind: &Kind, namespace: &str, labels: &str, fields: &str) -> Result<Selection, StatusError> {
        let labels = if labels.is_empty() {
            label::Selector::everything()
        } else {
            label::parse(labels)
                .map_err(|error| StatusError::bad_request(format!("unable to parse requirement: {error}")))?
        };
        let mut terms = Vec::new();
        if !fields.is_empty() {
            let selector = field::parse(fields).map_err(|error| StatusError::bad_request(error.to_string()))?;
            for term in selector.terms() {
                let source = match term.field.as_str() {
                    "metadata.name" => Source::Name,
                    "metadata.namespace" => Source::Namespace,
                    name => {
                        let place = kind.selectable_fields.iter().position(|field| field.name == name);
                        Source::Field(place.ok_or_else(|| unknown_field(kind, name))?)
                    }
                };
                terms.push(FieldTerm { source, equal: term.equal, value: term.value.clone() });
            }
        }
        Ok(Selection { namespace: namespace.to_owned(), labels, fields: terms })
    }

    /// Narrows to one object, as a watch on a named path does.
    pub fn named(mut self, name: &str) -> Selection {
        self.fields.push(FieldTerm { source: Source::Name, equal: true, value: name.to_owned() });
        self
    }

    /// Nothing but a namespace: the number of what remains of a list is known without looking.
    pub fn is_everything(&self) -> bool {
        self.fields.is_empty() && self.labels.is_everything()
    }

    /// The one object that it can be, for a list that names it.
    pub fn single_key(&self, kind: &Kind) -> Option<String> {
        let name = self.fields.iter().find(|term| term.equal && matches!(term.source, Source::Name))?;
        if kind.namespaced() && self.namespace.is_empty() {
            return None;
        }
        Some(kind.relative_key(&self.namespace, &name.value))
    }

    /// All but the namespace.
    pub fn matches(&self, entry: &Entry) -> bool {
        let field_holds = |term: &FieldTerm| {
            let value = match term.source {
                Source::Name => entry.name(),
                Source::Namespace => entry.namespace(),
                Source::Field(place) => entry.fields.get(place).map_or("", |value| &**value),
            };
            (value == term.value) == term.equal
        };
        self.fields.iter().all(field_holds) && (self.labels.is_everything() || self.labels.matches(entry))
    }

    /// Everything: what a watcher asks of each event.
    pub fn covers(&self, entry: &Entry) -> bool {
        let in_namespace = self.namespace.is_empty()
            || (entry.key.len() > self.namespace.len()
                && entry.key.as_bytes()[self.namespace.len()] == b'/'
                && entry.key.starts_with(&self.namespace));
        in_namespace && self.matches(entry)
    }
}

fn unknown_field(kind: &Kind, name: &str) -> StatusError {
    let message = if kind.selectable_fields.is_empty() {
        format!("{name:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {name}")
    };
    StatusError::bad_request(message)
}

#[cfg(test)]
mod tests {
    use super::{super::decode::decode, *};

    #[test]
    fn selections_choose() {
        let node = |object: &serde_json::Value| object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let kind = Kind::new("", "v1", "Pod", "pods").selectable_field("spec.nodeName", node);
        let stored = br#"{"metadata":{"name":"a","labels":{"app":"web"}},"spec":{"nodeName":"n1"}}"#;
        let entry = decode(&kind, "ns/a", stored, 1).unwrap();
        let table = [
            ("", "", "", true),
            ("ns", "", "", true),
            ("n", "", "", false),
            ("ns2", "", "", false),
            ("ns", "app=web", "", true),
            ("ns", "app!=web", "", false),
            ("ns", "", "spec.nodeName=n1", true),
            ("ns", "", "spec.nodeName!=n1", false),
            ("ns", "", "metadata.name=a,metadata.namespace=ns", true),
            ("ns", "", "metadata.name=b", false),
        ];
        for (namespace, labels, fields, expected) in table {
            let selection = Selection::parse(&kind, namespace, labels, fields).unwrap();
            assert_eq!(selection.covers(&entry), expected, "{namespace} {labels} {fields}");
        }
        let error = Selection::parse(&kind, "", "", "spec.foo=1").unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (400, "field label not supported: spec.foo"));
    }
}
