//! One watch stream, decoded.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::Bytes;
use keelson_objects::status::StatusError;
use keelson_wire::api::watch_event::Type;
use keelson_wire::api::{self as wire, WatchResponse};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tonic::Streaming;

use crate::client::status_error;
use crate::{Client, Error};

/// The annotation on the bookmark that ends the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One change, or what the stream says of itself.
#[derive(Clone, Debug)]
pub enum WatchEvent<K> {
    Added(K),
    Modified(K),
    /// The object's last state.
    Deleted(K),
    /// All changes up to this version have been sent; `initial_end` marks the end of the initial events.
    Bookmark {
        resource_version: String,
        initial_end: bool,
    },
    /// The stream ends after this.
    Error(StatusError),
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// A watch stream. Events that the server sent together come out together by [`WatchStream::batch`].
pub struct WatchStream<K> {
    client: Client,
    stream: Streaming<WatchResponse>,
    waiting: VecDeque<wire::WatchEvent>,
    kind: PhantomData<fn() -> K>,
}

impl<K: DeserializeOwned> WatchStream<K> {
    pub(crate) fn new(client: Client, stream: Streaming<WatchResponse>) -> WatchStream<K> {
        WatchStream { client, stream, waiting: VecDeque::new(), kind: PhantomData }
    }

    /// The next event; `None` when the server ended the stream. An object that is not a `K` is an error, and the
    /// stream goes on after it.
    pub async fn next(&mut self) -> Result<Option<WatchEvent<K>>, Error> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                if let Some(event) = decode(event)? {
                    return Ok(Some(event));
                }
                continue;
            }
            match self.message().await? {
                Some(events) => self.waiting.extend(events),
                None => return Ok(None),
            }
        }
    }

    /// What came together, each decoded on its own; `None` when the server ended the stream.
    pub async fn batch(&mut self) -> Result<Option<Vec<Result<WatchEvent<K>, Error>>>, Error> {
        let mut events: Vec<wire::WatchEvent> = self.waiting.drain(..).collect();
        if events.is_empty() {
            match self.message().await? {
                Some(message) => events = message,
                None => return Ok(None),
            }
        }
        Ok(Some(events.into_iter().filter_map(|event| decode(event).transpose()).collect()))
    }

    async fn message(&mut self) -> Result<Option<Vec<wire::WatchEvent>>, Error> {
        match self.stream.message().await {
            Ok(Some(response)) => Ok(Some(response.events)),
            Ok(None) => Ok(None),
            Err(status) => Err(self.client.transport().stream_broke(&status)),
        }
    }
}

fn decode<K: DeserializeOwned>(event: wire::WatchEvent) -> Result<Option<WatchEvent<K>>, Error> {
    Ok(Some(match event.r#type() {
        Type::Added => WatchEvent::Added(object(&event.object)?),
        Type::Modified => WatchEvent::Modified(object(&event.object)?),
        Type::Deleted => WatchEvent::Deleted(object(&event.object)?),
        Type::Bookmark => {
            let bookmark: Bookmark = object(&event.object)?;
            let annotations = bookmark.metadata.annotations;
            WatchEvent::Bookmark {
                resource_version: bookmark.metadata.resource_version,
                initial_end: annotations.get(INITIAL_EVENTS_END).is_some_and(|value| value == "true"),
            }
        }
        Type::Error => WatchEvent::Error(status_error(&event.object, 500)),
        // A type of a later protocol: nothing that a client of this one can act on.
        Type::Unspecified => return Ok(None),
    }))
}

fn object<T: DeserializeOwned>(json: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::Decode { what: "a watch event", message: error.to_string() })
}
