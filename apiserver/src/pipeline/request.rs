//! What both doors hand to the pipeline, and what they get back.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::{
    authentication::User,
    cache::{Listing, WatchStream},
    registry::{Kind, Verb},
};

/// One request about one kind. Everything is decoded but the body.
#[derive(Clone)]
pub struct Request {
    pub user: Arc<User>,
    pub verb: Verb,
    pub kind: Arc<Kind>,
    /// Empty for the main resource.
    pub subresource: String,
    /// Empty for cluster-scoped kinds and for requests across namespaces.
    pub namespace: String,
    pub name: String,
    /// What follows `.../proxy/`, for connect subresources.
    pub rest: String,
    pub options: Options,
    pub body: Body,
    pub guard: Option<LeaderGuard>,
    /// W3C trace context of the caller.
    pub traceparent: Option<String>,
    pub user_agent: String,
}

/// The query options of the API, under their own names.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub label_selector: String,
    pub field_selector: String,
    pub resource_version: String,
    pub resource_version_match: String,
    pub limit: i64,
    pub continue_token: String,
    pub send_initial_events: Option<bool>,
    pub allow_watch_bookmarks: bool,
    pub timeout_seconds: i64,
    pub dry_run: bool,
    pub field_manager: String,
    pub force: bool,
    pub field_validation: String,
    pub grace_period_seconds: Option<i64>,
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
}

#[derive(Debug, Clone, Default)]
pub struct Body {
    pub bytes: Bytes,
    /// Media type without parameters; empty means JSON.
    pub content_type: String,
}

/// The Lease that makes the caller a leader: the write commits only while it is held so.
#[derive(Debug, Clone)]
pub struct LeaderGuard {
    pub namespace: String,
    pub name: String,
    pub holder: String,
    pub transitions: i64,
}

/// A successful answer. Refusals are `StatusError`.
pub struct Answer {
    pub code: u16,
    pub content: Content,
    /// Texts for the Warning header.
    pub warnings: Vec<String>,
}

pub enum Content {
    /// One object in JSON, with its resourceVersion.
    Object(Bytes),
    /// A list over shared buffers.
    List(Listing),
    Watch(Box<WatchStream>),
}

impl Answer {
    /// An object that is not served from shared buffers.
    pub fn value(code: u16, value: &Value) -> Answer {
        let bytes = serde_json::to_vec(value).expect("a JSON value always serializes");
        Answer { code, content: Content::Object(bytes.into()), warnings: Vec::new() }
    }

    pub fn bytes(code: u16, bytes: Bytes) -> Answer {
        Answer { code, content: Content::Object(bytes), warnings: Vec::new() }
    }
}
