//! Event (core/v1): what happened to an object, as its component tells it.

use keelson_objects::field::FieldError;
use serde_json::Value;

use super::fields::Fields;
use super::validation::{Errors, Path, names};
use crate::registry::{Cell, Column, Context, Kind, Strategy};
use crate::tables::cells;

pub fn kind() -> Kind {
    let mut kind = Kind::new("", "v1", "Event", "events").short_names(&["ev"]).columns(columns());
    for (name, read) in FIELDS {
        kind = kind.selectable_field(name, *read);
    }
    // upstream's --event-ttl
    kind.strategy(EventStrategy).time_to_live(std::time::Duration::from_secs(3600))
}

type Read = fn(&Value) -> String;

const FIELDS: &[(&str, Read)] = &[
    ("involvedObject.kind", |event| event.sub("involvedObject").text("kind").to_owned()),
    ("involvedObject.namespace", |event| event.sub("involvedObject").text("namespace").to_owned()),
    ("involvedObject.name", |event| event.sub("involvedObject").text("name").to_owned()),
    ("involvedObject.uid", |event| event.sub("involvedObject").text("uid").to_owned()),
    ("involvedObject.apiVersion", |event| event.sub("involvedObject").text("apiVersion").to_owned()),
    ("involvedObject.resourceVersion", |event| event.sub("involvedObject").text("resourceVersion").to_owned()),
    ("involvedObject.fieldPath", |event| event.sub("involvedObject").text("fieldPath").to_owned()),
    ("reason", |event| event.text("reason").to_owned()),
    ("reportingComponent", |event| event.text("reportingComponent").to_owned()),
    ("source", |event| {
        let source = event.sub("source").text("component");
        if source.is_empty() { event.text("reportingComponent") } else { source }.to_owned()
    }),
    ("type", |event| event.text("type").to_owned()),
];

fn columns() -> Vec<Column> {
    let column =
        |name, description, read: fn(&Value, i64) -> Value| Column::new(name, "string", description, Cell::Read(read));
    vec![
        column("Last Seen", "When this was seen last.", |event, now| seen(event, now).1.into()),
        column("Type", "Normal or Warning.", |event, _| event.text("type").into()),
        column("Reason", "Why, in one word for machines.", |event, _| event.text("reason").into()),
        column("Object", "The object that the event is about.", |event, _| target(event).into()),
        column("Subobject", "The part of the object.", |event, _| event.sub("involvedObject").text("fieldPath").into())
            .wide(),
        column("Source", "Who reports it.", |event, _| source(event).into()).wide(),
        column("Message", "What happened, for people.", |event, _| event.text("message").trim().into()),
        column("First Seen", "When this was seen first.", |event, now| seen(event, now).0.into()).wide(),
        column("Count", "How often this was seen.", |event, _| count(event).to_string().into()).wide(),
        cells::name_column().wide(),
    ]
}

/// First and last time, as ages.
fn seen(event: &Value, now: i64) -> (String, String) {
    let time = |field: &str| event.present(field).then(|| cells::since(event.sub(field), now));
    let first = time("firstTimestamp").unwrap_or_else(|| cells::since(event.sub("eventTime"), now));
    let mut last = time("lastTimestamp").unwrap_or_else(|| first.clone());
    if event.present("series") {
        last = cells::since(event.sub("series").sub("lastObservedTime"), now);
    }
    (first, last)
}

fn count(event: &Value) -> i64 {
    match event.sub("series").int("count") {
        Some(count) => count,
        None => event.int("count").filter(|count| *count > 0).unwrap_or(1),
    }
}

fn target(event: &Value) -> String {
    let object = event.sub("involvedObject");
    let kind = object.text("kind").to_lowercase();
    match object.text("name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let source = event.sub("source");
    let (mut component, mut host) = (source.text("component"), source.text("host"));
    if component.is_empty() {
        component = event.text("reportingComponent");
    }
    if host.is_empty() {
        host = event.text("reportingInstance");
    }
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

struct EventStrategy;

impl Strategy for EventStrategy {
    fn validate(&self, _context: &Context<'_>, event: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate(event, &mut errors);
        errors.into_vec()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// An event lies in the namespace of its object; one about an object without namespace lies in `default` or
/// `kube-system`. An event of the newer kind, with eventTime, also says who reports what.
fn validate(event: &Value, errors: &mut Errors) {
    const LONGEST: usize = 128;
    let own = event.sub("metadata").text("namespace");
    let object = Path::root("involvedObject");
    let of_object = event.sub("involvedObject").text("namespace");
    let newer = event.present("eventTime");
    let agrees = match of_object {
        "" if newer => own == "default" || own == "kube-system",
        "" => own == "default" || own.is_empty(),
        of_object => own == of_object,
    };
    if !agrees {
        errors.invalid(&object.child("namespace"), of_object, "does not match event.namespace");
    }
    if !newer {
        return;
    }
    let controller = event.text("reportingComponent");
    let path = Path::root("reportingController");
    if controller.is_empty() {
        errors.required(&path, "");
    }
    errors.messages(&path, controller, names::qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let path = Path::root(field);
        let text = event.text(field);
        if text.is_empty() {
            errors.required(&path, "");
        }
        if text.len() > LONGEST {
            errors.invalid(&path, "", format!("can have at most {LONGEST} characters"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_lies_where_its_object_lies() {
        let check = |event: Value| {
            let mut errors = Errors::new();
            validate(&event, &mut errors);
            errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(check(json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "a"}})).is_empty());
        assert!(check(json!({"metadata": {"namespace": "default"}, "involvedObject": {"kind": "Node"}})).is_empty());
        assert_eq!(
            check(json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}})),
            ["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"]
        );
        assert_eq!(
            check(json!({"metadata": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z"})).len(),
            6
        );
    }

    #[test]
    fn a_series_counts() {
        let event = json!({
            "involvedObject": {"kind": "Pod", "name": "web"},
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "1970-01-01T00:00:00Z",
            "lastTimestamp": "1970-01-01T00:01:00Z",
            "count": 4,
        });
        assert_eq!(seen(&event, 90), ("90s".to_owned(), "30s".to_owned()));
        assert_eq!(count(&event), 4);
        assert_eq!(target(&event), "pod/web");
        assert_eq!(source(&event), "kubelet, n1");
        let newer = json!({"eventTime": "1970-01-01T00:00:10.5Z", "series": {"count": 7, "lastObservedTime": "1970-01-01T00:01:00.0Z"}});
        assert_eq!(seen(&newer, 70), ("60s".to_owned(), "10s".to_owned()));
        assert_eq!(count(&newer), 7);
    }
}
