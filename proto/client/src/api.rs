//! The verbs of one resource.

use std::marker::PhantomData;

use bytes::Bytes;
use keelson_wire::api::{self as wire, Verb};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::Call;
use crate::{Client, DeleteOptions, Error, ListOptions, Patch, Resource, WatchOptions, WatchStream};

/// A resource, in one namespace or in all. Cheap to clone.
pub struct Api<K> {
    client: Client,
    resource: Resource,
    namespace: String,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Api::new(self.client.clone(), self.resource.clone(), &self.namespace)
    }
}

/// A page of objects.
#[derive(Clone, Debug)]
pub struct List<K> {
    pub items: Vec<K>,
    /// The store's version that the list shows.
    pub resource_version: String,
    /// Empty on the last page.
    pub continue_token: String,
}

#[derive(Deserialize)]
struct ListBody<K> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<K>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_token: String,
}

fn decode<T: DeserializeOwned>(what: &'static str, body: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Decode { what, message: error.to_string() })
}

fn encode<T: Serialize + ?Sized>(what: &'static str, object: &T) -> Result<Bytes, Error> {
    let bytes = serde_json::to_vec(object).map_err(|error| Error::Encode { what, message: error.to_string() })?;
    Ok(bytes.into())
}

impl<K> Api<K> {
    pub(crate) fn new(client: Client, resource: Resource, namespace: &str) -> Api<K> {
        Api { client, resource, namespace: namespace.to_owned(), kind: PhantomData }
    }

    pub(crate) fn target(&self, name: &str, subresource: &str) -> wire::Target {
        wire::Target {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            resource: self.resource.resource.clone(),
            subresource: subresource.to_owned(),
            namespace: self.namespace.clone(),
            name: name.to_owned(),
        }
    }

    async fn send(&self, verb: Verb, name: &str, subresource: &str, body: Bytes) -> Result<Bytes, Error> {
        let target = self.target(name, subresource);
        let call = Call { verb, target, options: wire::Options::default(), body, content_type: "" };
        self.client.call(call).await
    }

    /// Deletes; done when this returns unless finalizers or a grace period hold the object.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<(), Error> {
        let body = encode("delete options", &options.body())?;
        self.send(Verb::Delete, name, "", body).await.map(drop)
    }

    pub async fn delete_collection(&self, which: &ListOptions, options: &DeleteOptions) -> Result<(), Error> {
        let call = Call {
            verb: Verb::DeleteCollection,
            target: self.target("", ""),
            options: list_options(which),
            body: encode("delete options", &options.body())?,
            content_type: "",
        };
        self.client.call(call).await.map(drop)
    }

    /// POSTs to a subresource: `binding`, `eviction`, `token`.
    pub async fn create_subresource<B, R>(&self, name: &str, subresource: &str, body: &B) -> Result<R, Error>
    where
        B: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let body = encode("a subresource", body)?;
        let answer = self.send(Verb::Create, name, subresource, body).await?;
        decode("a subresource", &answer)
    }

    pub async fn get_subresource<R: DeserializeOwned>(&self, name: &str, subresource: &str) -> Result<R, Error> {
        let answer = self.send(Verb::Get, name, subresource, Bytes::new()).await?;
        decode("a subresource", &answer)
    }

    pub async fn update_subresource<B, R>(&self, name: &str, subresource: &str, body: &B) -> Result<R, Error>
    where
        B: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let body = encode("a subresource", body)?;
        let answer = self.send(Verb::Update, name, subresource, body).await?;
        decode("a subresource", &answer)
    }
}

impl<K: Serialize + DeserializeOwned> Api<K> {
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        let answer = self.send(Verb::Get, name, "", Bytes::new()).await?;
        decode("an object", &answer)
    }

    /// The object, or `None` if there is none of the name.
    pub async fn find(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn list(&self, options: &ListOptions) -> Result<List<K>, Error> {
        let call = Call {
            verb: Verb::List,
            target: self.target("", ""),
            options: list_options(options),
            body: Bytes::new(),
            content_type: "",
        };
        let body: ListBody<K> = decode("a list", &self.client.call(call).await?)?;
        Ok(List {
            items: body.items,
            resource_version: body.metadata.resource_version,
            continue_token: body.metadata.continue_token,
        })
    }

    /// Creates; the answer is the object as it was stored.
    pub async fn create(&self, object: &K) -> Result<K, Error> {
        let answer = self.send(Verb::Create, "", "", encode("an object", object)?).await?;
        decode("an object", &answer)
    }

    /// Replaces the object if it still has the resourceVersion that `object` carries.
    pub async fn update(&self, name: &str, object: &K) -> Result<K, Error> {
        let answer = self.send(Verb::Update, name, "", encode("an object", object)?).await?;
        decode("an object", &answer)
    }

    pub async fn update_status(&self, name: &str, object: &K) -> Result<K, Error> {
        let answer = self.send(Verb::Update, name, "status", encode("an object", object)?).await?;
        decode("an object", &answer)
    }

    pub async fn patch(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.patch_subresource(name, "", patch).await
    }

    pub async fn patch_status(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.patch_subresource(name, "status", patch).await
    }

    pub async fn patch_subresource(&self, name: &str, subresource: &str, patch: &Patch) -> Result<K, Error> {
        let call = Call {
            verb: Verb::Patch,
            target: self.target(name, subresource),
            options: wire::Options::default(),
            body: encode("a patch", patch.body())?,
            content_type: patch.media_type(),
        };
        decode("an object", &self.client.call(call).await?)
    }
}

impl<K: DeserializeOwned> Api<K> {
    /// One watch stream; it ends when the server ends it. [`crate::informer`] keeps one up.
    pub async fn watch(&self, options: &WatchOptions) -> Result<WatchStream<K>, Error> {
        let timeout = options.timeout.map_or(0, |timeout| timeout.as_secs().max(1));
        let request = wire::WatchRequest {
            target: Some(self.target("", "")),
            options: Some(wire::Options {
                label_selector: options.label_selector.clone(),
                field_selector: options.field_selector.clone(),
                resource_version: options.resource_version.clone(),
                resource_version_match: if options.send_initial_events {
                    "NotOlderThan".to_owned()
                } else {
                    String::new()
                },
                ..wire::Options::default()
            }),
            send_initial_events: options.send_initial_events,
            allow_bookmarks: true,
            timeout_seconds: i64::try_from(timeout).unwrap_or(i64::MAX),
        };
        let stream = self.client.transport().watch(request).await?;
        Ok(WatchStream::new(self.client.clone(), stream))
    }
}

fn list_options(options: &ListOptions) -> wire::Options {
    wire::Options {
        label_selector: options.label_selector.clone(),
        field_selector: options.field_selector.clone(),
        resource_version: options.resource_version.clone(),
        limit: options.limit,
        continue_token: options.continue_token.clone(),
        ..wire::Options::default()
    }
}
