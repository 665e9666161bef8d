//! From JSON to the encoding that a client asked for.

use bytes::{BufMut, Bytes, BytesMut};
use keelson_objects::{protobuf, status::StatusError};
use serde_json::Value;

use super::accept::Encoding;

/// One document from encoded JSON.
pub(super) fn document(json: &Bytes, encoding: Encoding, pretty: bool) -> Result<Bytes, StatusError> {
    if encoding == Encoding::Json && !pretty {
        return Ok(json.clone());
    }
    let value: Value = serde_json::from_slice(json).map_err(StatusError::internal)?;
    value_document(&value, encoding, pretty)
}

pub(super) fn value_document(value: &Value, encoding: Encoding, pretty: bool) -> Result<Bytes, StatusError> {
    match encoding {
        Encoding::Json if pretty => {
            let mut text = serde_json::to_vec_pretty(value).map_err(StatusError::internal)?;
            text.push(b'\n');
            Ok(text.into())
        }
        Encoding::Json => Ok(serde_json::to_vec(value).map_err(StatusError::internal)?.into()),
        Encoding::Yaml => Ok(serde_yaml_ng::to_string(value).map_err(StatusError::internal)?.into()),
        Encoding::Protobuf => protobuf::encode(value).map_err(|error| {
            tracing::debug!(%error, "an object has no protobuf form");
            StatusError::not_acceptable(&["application/json", "application/yaml"])
        }),
    }
}

/// One event of a watch stream.
pub(super) fn watch_frame(kind: &str, object: &Value, encoding: Encoding) -> Result<Bytes, StatusError> {
    match encoding {
        Encoding::Json | Encoding::Yaml => {
            let object = serde_json::to_vec(object).map_err(StatusError::internal)?;
            Ok(crate::cache::frame(kind, &object))
        }
        Encoding::Protobuf => Ok(protobuf_frame(kind, &value_document(object, encoding, false)?)),
    }
}

/// A length-delimited meta/v1 WatchEvent: `{1: type, 2: RawExtension{1: object}}`.
fn protobuf_frame(kind: &str, object: &[u8]) -> Bytes {
    let mut raw = BytesMut::with_capacity(object.len() + 8);
    field(&mut raw, 1, object);
    let mut event = BytesMut::with_capacity(raw.len() + kind.len() + 16);
    field(&mut event, 1, kind.as_bytes());
    field(&mut event, 2, &raw);
    let mut frame = BytesMut::with_capacity(event.len() + 4);
    frame.put_u32(event.len() as u32);
    frame.put_slice(&event);
    frame.freeze()
}

fn field(out: &mut BytesMut, number: u8, bytes: &[u8]) {
    out.put_u8(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_frames_carry_their_length() {
        let frame = protobuf_frame("ADDED", &[7; 200]);
        assert_eq!(u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        assert_eq!(&frame[4..11], b"\x0a\x05ADDED");
        // RawExtension of 203 bytes, in it the object of 200.
        assert_eq!(&frame[11..17], &[0x12, 0xcb, 0x01, 0x0a, 0xc8, 0x01]);
    }
}
