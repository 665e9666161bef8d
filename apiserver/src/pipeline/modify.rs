//! The short way for handlers that change one object by rule (a binding, an eviction): no admission, no validation.

use std::sync::Arc;

use bytes::Bytes;
use keelson_objects::{
    meta,
    status::{GroupResource, StatusError},
};
use serde_json::Value;

use super::{Pipeline, Request, create::with_old_version, write::Written};
use crate::registry::Kind;

const ATTEMPTS: usize = 32;

impl Pipeline {
    pub(crate) async fn modify(
        &self,
        request: &Request,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Value) -> Result<(), StatusError> + Send,
    ) -> Result<Bytes, StatusError> {
        let resource: GroupResource<'_> = kind.as_group_resource();
        let missing = || StatusError::not_found(&resource, name);
        let mut current = self.current(kind, namespace, name).await?.ok_or_else(missing)?;
        for _ in 0..ATTEMPTS {
            let mut object = current.value.clone();
            if let Err(error) = change(&mut object) {
                if current.exact {
                    return Err(error);
                }
                current = self.exact(kind, namespace, name).await?.ok_or_else(missing)?;
                continue;
            }
            if object == current.value {
                return Ok(current.json);
            }
            meta::set_resource_version(&mut object, "");
            if request.options.dry_run {
                return Ok(with_old_version(&object, current.revision));
            }
            match self.commit(request, kind, (namespace, name), current.revision, Some(&object), Vec::new()).await? {
                Written::Done { json } => return Ok(json),
                Written::Changed(Some(newer)) => current = newer,
                Written::Changed(None) => return Err(missing()),
                Written::Companion => {}
            }
        }
        Err(StatusError::stale(&resource, name))
    }
}
