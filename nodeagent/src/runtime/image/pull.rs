//! Pulling: manifest, config and layers into containerd's content store, then unpacked.
//!
//! Layers that are here already are not fetched again; the others are fetched side by side while the first ones are
//! applied. All under one lease, so that nothing of a half pulled image is collected, and all of it is when the pull
//! fails for good.

use std::collections::HashMap;
use std::sync::Arc;

use containerd_client::types::Descriptor as Target;
use futures::stream::{self, TryStreamExt};
use oci_client::manifest::OciDescriptor;
use oci_client::{Client, Reference};

use super::content::{Blob, Labels, WriteError};
use super::platform::{Config, Descriptor, INDEX_TYPES, MANIFEST_TYPES, Manifest, chain_ids};
use super::registry::{self, Refusal};
use super::store::{Images, describe, parse_manifest};
use super::{Unpacked, reference};
use crate::runtime::containerd::Lease;
use crate::runtime::{Error, Image, RegistryAuth};

/// Layers of one image fetched at once.
const PARALLEL_LAYERS: usize = 3;

impl Images {
    /// `auths` in order; without any, anonymously.
    pub async fn pull(&self, text: &str, auths: &[RegistryAuth]) -> Result<(Image, Arc<Unpacked>), Error> {
        let reference = reference::parse(text)?;
        let _permit = self.pulls.acquire().await.map_err(|_| Error::InvalidSpec("shutting down".into()))?;
        let lease = self.containerd.lease("pull").await?;
        let outcome = self.pull_anywhere(&reference, auths, &lease).await;
        self.containerd.release(lease).await;
        let name = reference::name(&reference);
        match outcome {
            Ok(pulled) => Ok(pulled),
            Err(Failure::Node(error)) => Err(Error::PullImage { reference: name, reason: error.to_string() }),
            Err(Failure::Registry(refusal)) => Err(refused(name, refusal)),
        }
    }

    /// Mirrors are tried in order; what the registry itself says is what counts in the end.
    async fn pull_anywhere(
        &self,
        reference: &Reference,
        auths: &[RegistryAuth],
        lease: &Lease,
    ) -> Result<(Image, Arc<Unpacked>), Failure> {
        let anonymous = [RegistryAuth::Anonymous];
        let auths = if auths.is_empty() { &anonymous } else { auths };
        let mut last = Refusal::NotFound;
        for candidate in registry::candidates(reference, &self.registries) {
            let is_mirror = candidate.resolve_registry() != reference.resolve_registry();
            for auth in auths {
                // Credentials are for the registry that they were given for.
                let auth = if is_mirror { &RegistryAuth::Anonymous } else { auth };
                match self.pull_from(reference, &candidate, auth, lease).await {
                    Ok(pulled) => return Ok(pulled),
                    Err(Failure::Registry(refusal @ Refusal::Unauthorized(_))) => last = refusal,
                    Err(Failure::Registry(refusal)) => {
                        last = refusal;
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
                if is_mirror {
                    break;
                }
            }
        }
        Err(Failure::Registry(last))
    }

    async fn pull_from(
        &self,
        reference: &Reference,
        source: &Reference,
        auth: &RegistryAuth,
        lease: &Lease,
    ) -> Result<(Image, Arc<Unpacked>), Failure> {
        let client = registry::client(source, &self.registries);
        let secret = registry::secret(auth);
        // Asked first, so that refused credentials are known as such.
        client.auth(source, &secret, oci_client::RegistryOperation::Pull).await?;
        let accepted: Vec<&str> = INDEX_TYPES.into_iter().chain(MANIFEST_TYPES).collect();
        let (document, digest) = client.pull_manifest_raw(source, &secret, &accepted).await?;
        let top = parse_manifest(&digest, &document)?;
        let target = Target {
            media_type: media_type(&top).to_string(),
            digest: digest.clone(),
            size: document.len() as i64,
            annotations: HashMap::new(),
        };

        let (manifest_digest, manifest, manifest_document) = if top.is_index() {
            let chosen = top.for_this_machine().cloned().ok_or_else(|| {
                Failure::Registry(Refusal::Other("no match for platform in manifest: not found".to_string()))
            })?;
            let of_platform = source.clone_with_digest(chosen.digest.clone());
            let (inner, inner_digest) = client.pull_manifest_raw(&of_platform, &secret, &MANIFEST_TYPES).await?;
            let manifest = parse_manifest(&inner_digest, &inner)?;
            let label = ("containerd.io/gc.ref.content.m.0".to_string(), inner_digest.clone());
            self.store_document(&digest, &document, [label].into(), lease).await?;
            (inner_digest, manifest, inner)
        } else {
            (digest.clone(), top, document)
        };
        self.store_document(&manifest_digest, &manifest_document, references(&manifest), lease).await?;
        let unpacked = self.fetch_and_unpack(&client, source, &manifest, lease).await?;

        let name = reference::name(reference);
        let by_digest = format!("{}@{digest}", reference::repository(reference));
        self.set_record(&by_digest, &target).await?;
        if name != by_digest {
            self.set_record(&name, &target).await?;
        }
        tracing::info!(image = name, digest, config = unpacked, "image pulled");
        let unpacked = self
            .understand(&target)
            .await?
            .ok_or_else(|| Error::InvalidSpec(format!("{name} went away while it was pulled")))?;
        Ok((describe(reference, &digest, &unpacked), unpacked))
    }

    /// The digest of the config.
    async fn fetch_and_unpack(
        &self,
        client: &Client,
        source: &Reference,
        manifest: &Manifest,
        lease: &Lease,
    ) -> Result<String, Failure> {
        self.fetch(client, source, &manifest.config, lease).await?;
        let digest = &manifest.config.digest;
        let missing = || Error::InvalidSpec(format!("config {digest} went away"));
        let document = self.containerd.read_document(digest).await?.ok_or_else(missing)?;
        let config: Config = serde_json::from_slice(&document)
            .map_err(|error| Error::InvalidSpec(format!("image config {digest}: {error}")))?;
        let chain = chain_ids(&config.rootfs.diff_ids);
        let unpacked_already = match chain.last() {
            Some(top) => self.containerd.has_snapshot(&self.snapshotter, top).await?,
            None => true,
        };
        if !unpacked_already {
            stream::iter(manifest.layers.iter().map(Ok))
                .try_for_each_concurrent(PARALLEL_LAYERS, |layer| self.fetch(client, source, layer, lease))
                .await?;
        }
        self.unpack(manifest, &config, &chain, lease).await?;
        Ok(digest.clone())
    }

    async fn fetch(
        &self,
        client: &Client,
        source: &Reference,
        blob: &Descriptor,
        lease: &Lease,
    ) -> Result<(), Failure> {
        if self.containerd.blob_info(&blob.digest).await?.is_some() {
            return Ok(());
        }
        let descriptor = OciDescriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: blob.size,
            ..OciDescriptor::default()
        };
        let stream = client.pull_blob_stream(source, &descriptor).await?;
        let target = Blob { digest: &blob.digest, size: blob.size, labels: Labels::new() };
        match self.containerd.write_blob_stream(target, stream.into_stream(), lease).await {
            Ok(()) => Ok(()),
            Err(WriteError::Store(error)) => Err(Failure::Node(error)),
            Err(WriteError::Source(error)) => {
                Err(Failure::Registry(Refusal::Unavailable(format!("reading {}: {error}", blob.digest))))
            }
        }
    }

    async fn store_document(&self, digest: &str, document: &[u8], labels: Labels, lease: &Lease) -> Result<(), Error> {
        let blob = Blob { digest, size: document.len() as i64, labels: labels.clone() };
        self.containerd.write_blob(blob, document.to_vec(), lease).await?;
        // One that was there already has the labels of another time.
        self.containerd.set_blob_labels(digest, labels).await
    }
}

/// What keeps an image's content from the garbage collector: each document points to what it names.
pub(super) fn references(manifest: &Manifest) -> Labels {
    let mut labels = Labels::new();
    labels.insert("containerd.io/gc.ref.content.config".into(), manifest.config.digest.clone());
    for (index, layer) in manifest.layers.iter().enumerate() {
        labels.insert(format!("containerd.io/gc.ref.content.l.{index}"), layer.digest.clone());
    }
    labels
}

fn media_type(manifest: &Manifest) -> &str {
    match (manifest.media_type.as_str(), manifest.is_index()) {
        ("", true) => INDEX_TYPES[0],
        ("", false) => MANIFEST_TYPES[0],
        (stated, _) => stated,
    }
}

enum Failure {
    /// The registry's answer: another one, or other credentials, may do better.
    Registry(Refusal),
    /// Of our own store: nothing else will.
    Node(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Node(error)
    }
}

impl From<oci_client::errors::OciDistributionError> for Failure {
    fn from(error: oci_client::errors::OciDistributionError) -> Self {
        Failure::Registry(error.into())
    }
}

/// In the words of upstream's runtimes, which is what people look for in events.
fn refused(name: String, refusal: Refusal) -> Error {
    let resolving = |reason: &str| format!("failed to resolve reference {name:?}: {reason}");
    match refusal {
        Refusal::NotFound => Error::PullImage { reason: resolving(&format!("{name}: not found")), reference: name },
        Refusal::Unauthorized(why) => {
            let reason = resolving(&format!(
                "pull access denied, repository does not exist or may require authorization: authorization failed: {why}"
            ));
            Error::PullImage { reason, reference: name }
        }
        Refusal::Unavailable(why) => {
            Error::RegistryUnavailable { reason: resolving(&format!("failed to do request: {why}")), reference: name }
        }
        Refusal::Other(why) => Error::PullImage { reason: resolving(&why), reference: name },
    }
}
