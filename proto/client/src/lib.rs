//! How a component talks to the API server: typed calls, caches that follow watches, work queues, leader election and
//! events. Everything goes through the gRPC door of `keelson_wire::api`, under mutual TLS.
//!
//! Start with [`Client`]; `client.namespaced::<Pod>("default")` gives an [`Api`], [`informer::Informer`] a cache that
//! stays current by one watch.

mod api;
mod client;
mod error;
pub mod events;
pub mod informer;
mod key;
mod kubeconfig;
pub mod leader;
mod object;
mod options;
pub mod trace;
mod transport;
mod watch;
pub mod workqueue;

pub use api::{Api, List};
pub use client::{Client, ClientOptions};
pub use error::Error;
pub use key::ObjectKey;
pub use kubeconfig::{Kubeconfig, KubeconfigError};
pub use object::{Cached, Object, PartialObject, Resource, key_of, reference};
pub use options::{DeleteOptions, ListOptions, Patch, Propagation, WatchOptions};
pub use watch::{WatchEvent, WatchStream};

/// The Lease that makes the caller a leader; each write can be made to depend on it.
pub use keelson_wire::api::LeaderGuard;
