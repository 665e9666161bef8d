//! From the pipeline's answer to an HTTP response.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use bytes::Bytes;
use futures::StreamExt;
use keelson_objects::status::StatusError;
use serde_json::Value;

use super::{
    accept::{Accepted, Encoding, View},
    body, encode, views, watching,
};
use crate::{
    pipeline::{Answer, Content},
    registry::{IncludeObject, Kind},
};

/// Upstream compresses answers from this size on.
const GZIP_FROM: usize = 128 * 1024;
/// Lists up to this size go out in one piece.
const ONE_PIECE: usize = 256 * 1024;

/// What the client asked of the answer's form.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub accepted: Accepted,
    pub include: IncludeObject,
    pub pretty: bool,
    pub gzip: bool,
}

impl Form {
    /// JSON as it is.
    pub const PLAIN: Form = Form {
        accepted: Accepted { encoding: Encoding::Json, view: View::Plain },
        include: IncludeObject::Metadata,
        pretty: false,
        gzip: false,
    };
}

pub(super) fn answer(kind: &Kind, answer: Answer, form: Form) -> HttpResponse {
    let code = StatusCode::from_u16(answer.code).unwrap_or(StatusCode::OK);
    let mut builder = HttpResponse::build(code);
    builder.insert_header((header::CACHE_CONTROL, "no-cache, private"));
    for warning in &answer.warnings {
        builder.append_header((header::WARNING, warning_header(warning)));
    }
    let result = match answer.content {
        Content::Object(json) => object(kind, &json, form).map(|bytes| send(&mut builder, bytes, form)),
        Content::List(listing) if form.accepted.view == View::Plain && is_json(form) => {
            Ok(plain_list(&mut builder, listing, form))
        }
        Content::List(listing) => views::of_list(&listing, form.accepted.view, form.include)
            .and_then(|list| encode::value_document(&list, form.accepted.encoding, form.pretty))
            .map(|bytes| send(&mut builder, bytes, form)),
        Content::Watch(watch) => {
            let media_type = match form.accepted.encoding {
                Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
                _ => "application/json",
            };
            let frames = watching::frames(watch, form.accepted, form.include);
            let frames = frames.map(Ok::<Bytes, std::convert::Infallible>);
            Ok(builder.insert_header((header::CONTENT_TYPE, media_type)).streaming(frames))
        }
    };
    result.unwrap_or_else(|failure| error(&failure, form))
}

pub(super) fn error(failure: &StatusError, form: Form) -> HttpResponse {
    let code = StatusCode::from_u16(failure.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = HttpResponse::build(code);
    builder.insert_header((header::CACHE_CONTROL, "no-cache, private"));
    if let Some(seconds) = failure.retry_after_seconds() {
        builder.insert_header((header::RETRY_AFTER, seconds.to_string()));
    }
    let status = Bytes::from(failure.status().to_bytes());
    let encoding = form.accepted.encoding;
    match encode::document(&status, encoding, form.pretty) {
        Ok(bytes) => builder.insert_header((header::CONTENT_TYPE, encoding.media_type())).body(bytes),
        Err(_) => builder.insert_header((header::CONTENT_TYPE, "application/json")).body(status),
    }
}

fn is_json(form: Form) -> bool {
    form.accepted.encoding == Encoding::Json && !form.pretty
}

fn object(kind: &Kind, json: &Bytes, form: Form) -> Result<Bytes, StatusError> {
    if form.accepted.view == View::Plain {
        return encode::document(json, form.accepted.encoding, form.pretty);
    }
    let value: Value = serde_json::from_slice(json).map_err(StatusError::internal)?;
    let shown = views::of_object(kind, value, form.accepted.view, form.include, true);
    encode::value_document(&shown, form.accepted.encoding, form.pretty)
}

pub(super) fn send(builder: &mut HttpResponseBuilder, bytes: Bytes, form: Form) -> HttpResponse {
    builder.insert_header((header::CONTENT_TYPE, form.accepted.encoding.media_type()));
    if !form.gzip || bytes.len() < GZIP_FROM {
        return builder.body(bytes);
    }
    builder.insert_header((header::CONTENT_ENCODING, "gzip")).insert_header((header::VARY, "Accept-Encoding"));
    let chunks = futures::stream::once(async move { bytes });
    builder.streaming(body::gzip(chunks).map(Ok::<Bytes, std::convert::Infallible>))
}

fn plain_list(builder: &mut HttpResponseBuilder, listing: crate::cache::Listing, form: Form) -> HttpResponse {
    builder.insert_header((header::CONTENT_TYPE, "application/json"));
    let length = body::list_length(&listing);
    if form.gzip && length >= GZIP_FROM {
        builder.insert_header((header::CONTENT_ENCODING, "gzip")).insert_header((header::VARY, "Accept-Encoding"));
        let chunks = body::gzip(body::list_chunks(listing));
        return builder.streaming(chunks.map(Ok::<Bytes, std::convert::Infallible>));
    }
    if length <= ONE_PIECE {
        return builder.body(body::whole_list(&listing));
    }
    let chunks = body::list_chunks(listing).map(Ok::<Bytes, std::convert::Infallible>);
    // The length is known, so clients can make room at once.
    builder.no_chunking(length as u64).streaming(chunks)
}

/// `299 - "text"`, with what a header cannot carry taken out.
fn warning_header(text: &str) -> String {
    let safe: String = text
        .chars()
        .filter(|character| !character.is_control())
        .flat_map(|character| match character {
            '"' | '\\' => vec!['\\', character],
            other => vec![other],
        })
        .collect();
    format!("299 - \"{safe}\"")
}
