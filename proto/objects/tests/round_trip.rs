//! Properties of decoding and of the transcoder, over objects of every built-in kind made at random by schema.

use keelson_objects::protobuf;
use keelson_objects::schema::{FieldValidation, SchemaRef, Shape, builtin, decode, default, parse_json};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// A value that fits the schema; deeper places are left out more often, so that it stays small.
fn any_value(schema: SchemaRef<'_>, random: &mut StdRng, depth: u32) -> Value {
    match schema.shape() {
        Shape::Object => {
            let mut map = Map::new();
            for (name, property) in schema.properties() {
                if !matches!(name, "apiVersion" | "kind") && random.random_ratio(1, depth + 1) {
                    map.insert(name.to_owned(), any_value(property, random, depth + 1));
                }
            }
            Value::Object(map)
        }
        Shape::Map => {
            let Some(values) = schema.additional_properties() else { return json!({}) };
            (0..random.random_range(0..3))
                .map(|index| (format!("k{index}"), any_value(values, random, depth + 1)))
                .collect()
        }
        Shape::List => {
            let Some(items) = schema.items() else { return json!([]) };
            (0..random.random_range(0..3)).map(|_| any_value(items, random, depth + 1)).collect()
        }
        Shape::String => {
            json!((0..random.random_range(0..4)).map(|_| random.random_range('a'..='ü')).collect::<String>())
        }
        Shape::Bytes => json!(["", "AA==", "aGVsbG8="][random.random_range(0..3)]),
        Shape::Boolean => json!(random.random::<bool>()),
        Shape::Integer32 => json!(random.random::<i32>() >> random.random_range(0..31)),
        Shape::Integer64 => json!(random.random::<i64>() >> random.random_range(0..63)),
        Shape::Number => json!(random.random::<f64>()),
        Shape::IntOrString => {
            [json!(random.random::<i32>()), json!("25%"), json!("")][random.random_range(0..3)].clone()
        }
        Shape::Quantity => json!(["1", "100m", "2500Mi", "0", "1.5", "-3k"][random.random_range(0..6)]),
        Shape::Time => json!("2026-01-02T03:04:05Z"),
        Shape::MicroTime => json!("2026-01-02T03:04:05.000006Z"),
        Shape::RawObject | Shape::FieldsV1 => json!({"f:metadata": {"f:labels": {}}}),
        Shape::Json => [json!(1.5), json!("x"), json!({"a": [1]})][random.random_range(0..3)].clone(),
        Shape::PropsOrBool => json!(random.random::<bool>()),
        Shape::PropsOrArray => json!([{"type": "string"}]),
        Shape::PropsOrStringArray => json!(["a"]),
    }
}

fn any_object(seed: u64) -> (SchemaRef<'static>, Value) {
    let mut random = StdRng::seed_from_u64(seed);
    // A watch event is no object: it has a kind, but does not carry it.
    let kinds: Vec<_> = builtin().kinds().filter(|kind| kind.property("kind").is_some()).collect();
    let schema = kinds[random.random_range(0..kinds.len())];
    let (group, version, kind) = schema.group_version_kind().expect("a kind");
    let mut value = any_value(schema, &mut random, 0);
    // apimachinery's own kinds live in every group; core stands for them.
    let api_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    value["apiVersion"] = json!(api_version);
    value["kind"] = json!(kind);
    (schema, value)
}

fn api_version_and_kind(value: &Value) -> (&str, &str) {
    (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str().unwrap_or_default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn decoding_is_settled_after_once(seed: u64) {
        let (schema, mut value) = any_object(seed);
        decode(&mut value, schema, FieldValidation::Strict).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let once = value.clone();
        decode(&mut value, schema, FieldValidation::Strict).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&value, &once);
        default(&mut value, schema);
        let defaulted = value.clone();
        default(&mut value, schema);
        prop_assert_eq!(&value, &defaulted);
    }

    #[test]
    fn protobuf_carries_all_that_json_does(seed: u64) {
        let (schema, mut value) = any_object(seed);
        decode(&mut value, schema, FieldValidation::Strict).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (api_version, kind) = api_version_and_kind(&value);
        if protobuf::can_encode(api_version, kind) {
            let bytes = protobuf::encode(&value).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let back = protobuf::decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(back, value);
        }
    }

    #[test]
    fn damaged_messages_are_refused_or_read_but_never_break(seed: u64, at: prop::sample::Index, byte: u8, cut: bool) {
        let (schema, mut value) = any_object(seed);
        decode(&mut value, schema, FieldValidation::Ignore).map_err(|error| TestCaseError::fail(error.to_string()))?;
        if let Ok(bytes) = protobuf::encode(&value) {
            let mut bytes = bytes.to_vec();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            if cut {
                bytes.truncate(place);
            }
            let _ = protobuf::decode(&bytes);
        }
    }

    #[test]
    fn any_json_is_decoded_or_refused_as_any_kind(seed: u64, other: u64) {
        let (_, mut value) = any_object(seed);
        let (schema, _) = any_object(other);
        if decode(&mut value, schema, FieldValidation::Ignore).is_ok() {
            default(&mut value, schema);
            prop_assert!(parse_json(value.to_string().as_bytes(), &Default::default()).is_ok());
        }
    }
}

#[test]
fn lists_and_watch_frames_are_assembled_from_parts() {
    let pod = |name: &str| {
        let mut value =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": []}});
        let schema = builtin().kind("", "v1", "Pod").expect("a built-in kind");
        decode(&mut value, schema, FieldValidation::Strict).expect("a valid pod");
        value
    };
    let parts: Vec<_> = ["a", "b"].map(|name| protobuf::encode_message(&pod(name)).expect("a pod")).into();
    let metadata = json!({"resourceVersion": "7", "continue": "x"});
    let list = protobuf::encode_list("v1", "PodList", &metadata, parts.iter().map(AsRef::as_ref)).expect("a list");
    let read = protobuf::decode(&list).expect("a list");
    assert_eq!(read["metadata"], metadata);
    assert_eq!(read["items"][1]["metadata"]["name"], "b");
    let whole = json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": [pod("a"), pod("b")],
    });
    assert_eq!(protobuf::encode(&whole).expect("a list"), list);

    let object = protobuf::wrap("v1", "Pod", &parts[0]);
    assert_eq!(protobuf::encode(&pod("a")).expect("a pod"), object);
    let frame = protobuf::encode_watch_event("ADDED", &object);
    assert_eq!(u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize, frame.len() - 4);
    let event = protobuf::wrap("v1", "WatchEvent", &frame[4..]);
    let event = protobuf::decode(&event).expect("a watch event");
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["metadata"]["name"], "a");
}
