//! `/openapi/v2` and `/openapi/v3`: the published schemas, for client-side validation and `kubectl explain`.
//!
//! Documents are made on first demand, aside from the workers, and kept compressed.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use keelson_objects::openapi::{Document, Documents, Resource, Subresource, V2_PROTOBUF, V2_PROTOBUF_ANSWER};

use super::discovery::header_text;
use crate::registry::{Kind, Registry, Verb};

pub(super) fn documents(registry: &Registry, version: &str) -> Arc<Documents> {
    let resources = registry.kinds().iter().map(|kind| resource(kind)).collect();
    Arc::new(Documents::new(resources, version))
}

fn names(verbs: &[Verb]) -> Vec<String> {
    verbs.iter().map(|verb| verb.name().to_owned()).collect()
}

fn resource(kind: &Kind) -> Resource {
    let subresources = kind.subresources.iter().map(|subresource| {
        let (group, version, name) = subresource.kind.unwrap_or((&kind.group, &kind.version, &kind.kind));
        Subresource {
            name: subresource.name.to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            kind: name.to_owned(),
            verbs: names(subresource.verbs),
        }
    });
    Resource {
        group: kind.group.to_string(),
        version: kind.version.to_string(),
        kind: kind.kind.to_string(),
        resource: kind.resource.to_string(),
        namespaced: kind.namespaced(),
        verbs: names(kind.verbs),
        subresources: subresources.collect(),
        custom_schema: None,
    }
}

/// None: the path is no schema document.
pub(super) async fn respond(request: &HttpRequest, documents: &Arc<Documents>) -> Option<HttpResponse> {
    match request.path().trim_end_matches('/') {
        "/openapi/v3" => Some(HttpResponse::Ok().json(documents.v3_index())),
        "/openapi/v2" => {
            let protobuf = header_text(request, header::ACCEPT).contains(V2_PROTOBUF);
            let content_type = if protobuf { V2_PROTOBUF_ANSWER } else { "application/json" };
            let documents = documents.clone();
            let make = move || if protobuf { documents.v2_protobuf() } else { documents.v2_json() };
            Some(send(request, web::block(make).await.ok()?, content_type))
        }
        path => {
            let group = path.strip_prefix("/openapi/v3/")?.to_owned();
            let documents = documents.clone();
            let document = web::block(move || documents.v3_group(&group)).await.ok()??;
            Some(send(request, document, "application/json"))
        }
    }
}

fn send(request: &HttpRequest, document: Arc<Document>, content_type: &str) -> HttpResponse {
    let known = header_text(request, header::IF_NONE_MATCH);
    if known == document.etag {
        return HttpResponse::NotModified().insert_header((header::ETAG, document.etag.clone())).finish();
    }
    let mut builder = HttpResponse::Ok();
    builder
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::ETAG, document.etag.clone()))
        .insert_header((header::VARY, "Accept, Accept-Encoding"));
    if header_text(request, header::ACCEPT_ENCODING).contains("gzip") {
        return builder.insert_header((header::CONTENT_ENCODING, "gzip")).body(document.gzip.clone());
    }
    match document.body() {
        Ok(body) => builder.body(body),
        Err(error) => {
            tracing::error!(%error, "a schema document cannot be inflated");
            HttpResponse::InternalServerError().finish()
        }
    }
}
