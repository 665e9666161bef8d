//! Images that are here: what a reference stands for, and the snapshot and settings that containers start from.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use containerd_client::services::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image as Record, ListImagesRequest, UpdateImageRequest,
};
use containerd_client::types::Descriptor as Target;
use oci_client::Reference;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::Code;

use super::platform::{Config, Execution, Manifest, chain_ids};
use super::reference;
use crate::runtime::containerd::{Containerd, Lease, failed, missing_is_fine};
use crate::runtime::{Error, Image, Registries};

/// Bound of the cache of understood images; each is a few hundred bytes.
const CACHE_LIMIT: usize = 512;

pub struct Images {
    pub(super) containerd: Containerd,
    pub(super) snapshotter: String,
    pub(super) registries: Registries,
    pub(super) pulls: Semaphore,
    pub(super) pause: super::pause::Found,
    /// By digest of what a reference names: content never changes, so neither does what is known of it.
    cache: Mutex<HashMap<String, Arc<Unpacked>>>,
}

/// An image of this machine's platform, unpacked.
#[derive(Debug)]
pub struct Unpacked {
    pub config_digest: String,
    /// The snapshot that its layers add up to; empty for an image without layers.
    pub chain_id: String,
    pub execution: Execution,
    pub size: u64,
}

impl Images {
    pub fn new(containerd: Containerd, snapshotter: String, registries: Registries, parallel_pulls: usize) -> Self {
        Images {
            containerd,
            snapshotter,
            registries,
            pulls: Semaphore::new(parallel_pulls.max(1)),
            pause: super::pause::Found::new(),
            cache: Mutex::new(HashMap::new()),
        }
    }

    /// Present and ready to run, or `None`.
    pub async fn find(&self, text: &str) -> Result<Option<(Image, Arc<Unpacked>)>, Error> {
        let reference = reference::parse(text)?;
        let Some(record) = self.record(&reference::name(&reference)).await? else { return Ok(None) };
        let target = record.target.unwrap_or_default();
        let Some(unpacked) = self.understand(&target).await? else { return Ok(None) };
        let image = describe(&reference, &target.digest, &unpacked);
        Ok(Some((image, unpacked)))
    }

    pub(super) async fn record(&self, name: &str) -> Result<Option<Record>, Error> {
        let request = self.containerd.request(GetImageRequest { name: name.to_string() });
        let answer = missing_is_fine(self.containerd.images().get(request).await, "looking for image")?;
        Ok(answer.and_then(|answer| answer.into_inner().image))
    }

    /// Reads manifest and config of what `target` names; unpacks layers that were imported but never unpacked.
    /// `None` where something of it is missing, so that it has to be pulled.
    pub(super) async fn understand(&self, target: &Target) -> Result<Option<Arc<Unpacked>>, Error> {
        if let Some(unpacked) = self.cache.lock().get(&target.digest) {
            return Ok(Some(unpacked.clone()));
        }
        let Some(manifest) = self.manifest(&target.digest).await? else { return Ok(None) };
        let Some(config) = self.containerd.read_document(&manifest.config.digest).await? else { return Ok(None) };
        let config: Config = serde_json::from_slice(&config)
            .map_err(|error| Error::InvalidSpec(format!("image config {}: {error}", manifest.config.digest)))?;
        let chain = chain_ids(&config.rootfs.diff_ids);
        let chain_id = chain.last().cloned().unwrap_or_default();
        if !chain_id.is_empty() && !self.containerd.has_snapshot(&self.snapshotter, &chain_id).await? {
            for layer in &manifest.layers {
                if self.containerd.blob_info(&layer.digest).await?.is_none() {
                    return Ok(None);
                }
            }
            let lease = self.containerd.lease("unpack").await?;
            let outcome = self.unpack(&manifest, &config, &chain, &lease).await;
            self.containerd.release(lease).await;
            outcome?;
        }
        let unpacked = Arc::new(Unpacked {
            size: [&manifest.config].into_iter().chain(&manifest.layers).map(|blob| blob.size.max(0) as u64).sum(),
            config_digest: manifest.config.digest,
            chain_id,
            execution: config.config,
        });
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_LIMIT {
            cache.clear();
        }
        cache.insert(target.digest.clone(), unpacked.clone());
        Ok(Some(unpacked))
    }

    async fn manifest(&self, digest: &str) -> Result<Option<Manifest>, Error> {
        let Some(document) = self.containerd.read_document(digest).await? else { return Ok(None) };
        let manifest = parse_manifest(digest, &document)?;
        if !manifest.is_index() {
            return Ok(Some(manifest));
        }
        let Some(chosen) = manifest.for_this_machine() else { return Ok(None) };
        let Some(document) = self.containerd.read_document(&chosen.digest).await? else { return Ok(None) };
        parse_manifest(&chosen.digest, &document).map(Some)
    }

    /// Applies what is not there yet, in order; the config's label keeps the snapshots from the garbage collector.
    pub(super) async fn unpack(
        &self,
        manifest: &Manifest,
        config: &Config,
        chain: &[String],
        lease: &Lease,
    ) -> Result<(), Error> {
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(Error::InvalidSpec("mismatched image rootfs and manifest layers".into()));
        }
        let mut parent = "";
        for ((layer, diff_id), chain_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids).zip(chain) {
            if !self.containerd.has_snapshot(&self.snapshotter, chain_id).await? {
                self.containerd.unpack_layer(&self.snapshotter, layer, diff_id, parent, chain_id, lease).await?;
            }
            parent = chain_id;
        }
        let label = format!("containerd.io/gc.ref.snapshot.{}", self.snapshotter);
        self.containerd.set_blob_labels(&manifest.config.digest, [(label, parent.to_string())].into()).await
    }

    /// Lets `name` stand for `target`, whatever it stood for before.
    pub(super) async fn set_record(&self, name: &str, target: &Target) -> Result<(), Error> {
        let record = Record { name: name.to_string(), target: Some(target.clone()), ..Record::default() };
        let create = CreateImageRequest { image: Some(record.clone()), ..CreateImageRequest::default() };
        match self.containerd.images().create(self.containerd.request(create)).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                let mask = prost_types::FieldMask { paths: vec!["target".into()] };
                let update = UpdateImageRequest {
                    image: Some(record),
                    update_mask: Some(mask),
                    ..UpdateImageRequest::default()
                };
                self.containerd
                    .images()
                    .update(self.containerd.request(update))
                    .await
                    .map_err(failed("updating image"))?;
                Ok(())
            }
            Err(status) => Err(failed("creating image")(status)),
        }
    }

    /// One entry for each image, with all its names.
    pub async fn list(&self) -> Result<Vec<Image>, Error> {
        let request = self.containerd.request(ListImagesRequest { filters: Vec::new() });
        let answer = self.containerd.images().list(request).await.map_err(failed("listing images"))?;
        let mut images: BTreeMap<String, Image> = BTreeMap::new();
        for record in answer.into_inner().images {
            let target = record.target.unwrap_or_default();
            let Ok(reference) = reference::parse(&record.name) else { continue };
            if record.name == super::PAUSE {
                continue;
            }
            // An image of another platform, or one half pulled by somebody else, is nothing that a pod can use.
            let Ok(Some(unpacked)) = self.understand(&target).await else { continue };
            let image = images
                .entry(unpacked.config_digest.clone())
                .or_insert_with(|| describe(&reference, &target.digest, &unpacked));
            for name in [format!("{}@{}", reference::repository(&reference), target.digest), record.name] {
                if !image.names.contains(&name) {
                    image.names.push(name);
                }
            }
        }
        Ok(images.into_values().collect())
    }

    /// By any of its names; all names of the same content go.
    pub async fn remove(&self, text: &str) -> Result<(), Error> {
        let Some((image, _)) = self.find(text).await? else { return Ok(()) };
        let request = self.containerd.request(ListImagesRequest { filters: Vec::new() });
        let answer = self.containerd.images().list(request).await.map_err(failed("listing images"))?;
        for record in answer.into_inner().images {
            if record.target.is_some_and(|target| target.digest == image.digest) {
                let request = DeleteImageRequest { name: record.name, ..DeleteImageRequest::default() };
                missing_is_fine(
                    self.containerd.images().delete(self.containerd.request(request)).await,
                    "removing image",
                )?;
            }
        }
        self.cache.lock().remove(&image.digest);
        Ok(())
    }
}

pub(super) fn parse_manifest(digest: &str, document: &[u8]) -> Result<Manifest, Error> {
    serde_json::from_slice(document).map_err(|error| Error::InvalidSpec(format!("manifest {digest}: {error}")))
}

pub(super) fn describe(reference: &Reference, digest: &str, unpacked: &Unpacked) -> Image {
    let name = reference::name(reference);
    let image_id = format!("{}@{digest}", reference::repository(reference));
    let mut names = vec![image_id.clone()];
    if name != image_id {
        names.push(name.clone());
    }
    Image {
        reference: name,
        image_id,
        digest: digest.to_string(),
        config_digest: unpacked.config_digest.clone(),
        names,
        size: unpacked.size,
    }
}
