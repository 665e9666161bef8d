//! `/openapi/v2` and `/openapi/v3`: the published schemas. Each document is made on first use and kept.

use actix_web::{HttpRequest, HttpResponse};

use crate::registry::Registry;

/// None: the path is no schema document.
pub(super) fn respond(_request: &HttpRequest, _registry: &Registry) -> Option<HttpResponse> {
    None
}
