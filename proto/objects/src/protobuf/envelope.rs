//! The envelope around every object: `k8s\0`, then `runtime.Unknown { typeMeta, raw, contentEncoding, contentType }`.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::error::Error;
use super::read::Reader;
use super::wire::{Buffer, LENGTH, MAGIC, Part, Parts};
use super::write::Writer;
use crate::schema::{self, SchemaRef, TypeId};

/// The media type of this encoding.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Objects in objects (RawExtension) nest; this deep at most.
const MOST_DEPTH: usize = 120;

/// Reads one enveloped object of a built-in kind.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let unknown = Unknown::read(bytes)?;
    unknown.decode(None, 0)
}

/// Reads one enveloped object; `default` is its kind where the envelope names none.
pub fn decode_as(bytes: &[u8], default: SchemaRef<'static>) -> Result<Value, Error> {
    let unknown = Unknown::read(bytes)?;
    unknown.decode(Some(default), 0)
}

pub(super) fn decode_nested(bytes: &[u8], depth: usize) -> Result<Value, Error> {
    if depth > MOST_DEPTH {
        return Err(Error::TooDeep);
    }
    Unknown::read(bytes)?.decode(None, depth)
}

/// Whether a kind has a protobuf form. Custom resources and Table have none.
pub fn can_encode(api_version: &str, kind: &str) -> bool {
    encodable(api_version, kind).is_ok()
}

/// Writes an object of a built-in kind with its envelope.
pub fn encode(value: &Value) -> Result<Bytes, Error> {
    let (api_version, kind) = type_meta(value);
    let id = encodable(api_version, kind)?;
    let mut out = open(api_version, kind);
    out.nested(2, |out| Writer::new(schema::builtin()).message(out, value.as_object(), id))?;
    Ok(close(out))
}

/// Writes an object's own message, without the envelope: for [`wrap`] and [`encode_list`], to be kept beside it.
pub fn encode_message(value: &Value) -> Result<Bytes, Error> {
    let (api_version, kind) = type_meta(value);
    let mut out = Buffer::default();
    Writer::new(schema::builtin()).message(&mut out, value.as_object(), encodable(api_version, kind)?)?;
    Ok(out.bytes.into())
}

/// Puts the envelope around a message of [`encode_message`].
pub fn wrap(api_version: &str, kind: &str, message: &[u8]) -> Bytes {
    let mut out = open(api_version, kind);
    out.bytes.reserve(message.len() + 16);
    out.bytes_field(2, message);
    close(out)
}

/// Writes a list (`kind` is the list's) of messages that were encoded before.
pub fn encode_list<'m>(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: impl IntoIterator<Item = &'m [u8]>,
) -> Result<Bytes, Error> {
    let id = encodable(api_version, kind)?;
    let definitions = schema::builtin();
    let mut head = Buffer::default();
    let mut only_metadata = Map::new();
    only_metadata.insert("metadata".to_owned(), metadata.clone());
    // `metadata` is field 1 of every list, `items` field 2; an empty list writes none of the latter.
    Writer::new(definitions).message(&mut head, Some(&only_metadata), id)?;
    let items: Vec<&[u8]> = items.into_iter().collect();
    let length = head.bytes.len() + items.iter().map(|item| 1 + varint_length(item.len()) + item.len()).sum::<usize>();
    let mut out = open(api_version, kind);
    out.bytes.reserve(length + 16);
    out.tag(2, LENGTH);
    out.varint(length as u64);
    out.bytes.extend_from_slice(&head.bytes);
    for item in items {
        out.bytes_field(2, item);
    }
    Ok(close(out))
}

/// One frame of a watch stream (`application/vnd.kubernetes.protobuf;stream=watch`): four bytes of length, then a
/// bare `metav1.WatchEvent` around an enveloped object.
pub fn encode_watch_event(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Buffer::default();
    out.bytes.reserve(object.len() + 32);
    out.bytes.extend_from_slice(&[0; 4]);
    out.bytes_field(1, kind.as_bytes());
    let raw_length = 1 + varint_length(object.len()) + object.len();
    out.tag(2, LENGTH);
    out.varint(raw_length as u64);
    out.bytes_field(1, object);
    let length = u32::try_from(out.bytes.len() - 4).expect("an object is smaller than 4 GiB");
    out.bytes[..4].copy_from_slice(&length.to_be_bytes());
    out.bytes.into()
}

fn varint_length(value: usize) -> usize {
    (value.max(1).ilog2() / 7 + 1) as usize
}

fn type_meta(value: &Value) -> (&str, &str) {
    let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
    (text("apiVersion"), text("kind"))
}

fn find(api_version: &str, kind: &str) -> Result<SchemaRef<'static>, Error> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let found = schema::builtin().kind(group, version, kind);
    found.ok_or_else(|| Error::NoKind { version: api_version.to_owned(), kind: kind.to_owned() })
}

fn encodable(api_version: &str, kind: &str) -> Result<TypeId, Error> {
    let schema = find(api_version, kind)?;
    let id = schema.type_id().filter(|id| schema.definitions().type_of(*id).has_protobuf);
    id.ok_or_else(|| Error::NotEncodable { version: api_version.to_owned(), kind: kind.to_owned() })
}

fn open(api_version: &str, kind: &str) -> Buffer {
    let mut out = Buffer { bytes: Vec::with_capacity(512) };
    out.bytes.extend_from_slice(MAGIC);
    let mut type_meta = Buffer::default();
    type_meta.bytes_field(1, api_version.as_bytes());
    type_meta.bytes_field(2, kind.as_bytes());
    out.bytes_field(1, &type_meta.bytes);
    out
}

fn close(mut out: Buffer) -> Bytes {
    out.bytes_field(3, b"");
    out.bytes_field(4, b"");
    out.bytes.into()
}

/// `runtime.Unknown`, borrowed.
struct Unknown<'b> {
    api_version: &'b str,
    kind: &'b str,
    raw: &'b [u8],
    content_type: &'b [u8],
}

impl<'b> Unknown<'b> {
    fn read(bytes: &'b [u8]) -> Result<Unknown<'b>, Error> {
        let message = bytes.strip_prefix(MAGIC).ok_or(Error::NoMagic)?;
        let mut unknown = Unknown { api_version: "", kind: "", raw: &[], content_type: &[] };
        let mut parts = Parts::new(message);
        while let Some((number, part)) = parts.next()? {
            let Part::Length(bytes) = part else { continue };
            match number {
                1 => {
                    let mut parts = Parts::new(bytes);
                    while let Some((number, part)) = parts.next()? {
                        let Part::Length(bytes) = part else { continue };
                        let text = std::str::from_utf8(bytes).unwrap_or_default();
                        match number {
                            1 => unknown.api_version = text,
                            2 => unknown.kind = text,
                            _ => {}
                        }
                    }
                }
                2 => unknown.raw = bytes,
                3 if !bytes.is_empty() => {
                    return Err(Error::ContentEncoding(String::from_utf8_lossy(bytes).into_owned()));
                }
                4 => unknown.content_type = bytes,
                _ => {}
            }
        }
        Ok(unknown)
    }

    fn decode(self, default: Option<SchemaRef<'static>>, depth: usize) -> Result<Value, Error> {
        let (api_version, kind, schema) = match (self.kind, default) {
            ("", Some(schema)) => {
                let (group, version, kind) = schema.group_version_kind().unwrap_or_default();
                let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                (api_version, kind.to_owned(), schema)
            }
            (kind, _) => (self.api_version.to_owned(), kind.to_owned(), find(self.api_version, kind)?),
        };
        if self.content_type.starts_with(b"application/json") {
            let parsed = schema::parse_json(self.raw, &schema::Limits::default());
            return parsed
                .map(|parsed| parsed.value)
                .map_err(|error| Error::Field { field: "raw".to_owned(), problem: error.to_string() });
        }
        let definitions = schema.definitions();
        let id = schema.type_id().filter(|id| definitions.type_of(*id).has_protobuf);
        let Some(id) = id else {
            return Err(Error::NotEncodable { version: api_version, kind });
        };
        let mut map = Map::new();
        map.insert("apiVersion".to_owned(), Value::String(api_version));
        map.insert("kind".to_owned(), Value::String(kind));
        Reader::new(definitions).message(self.raw, id, &mut map, depth)?;
        Ok(Value::Object(map))
    }
}
