//! The pause image: made here from the helper that was built with the agent, imported, never pulled.

use std::sync::{Arc, OnceLock};

use serde_json::json;
use sha2::Digest;

use containerd_client::types::Descriptor as Target;

use super::content::{Blob, Labels};
use super::platform::MANIFEST_TYPES;
use super::pull::references;
use super::store::{Images, Unpacked, parse_manifest};
use crate::runtime::{Error, Image};

pub const REFERENCE: &str = "keelson.dev/pause:1";
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

pub(super) type Found = OnceLock<(Image, Arc<Unpacked>)>;

struct Document {
    digest: String,
    data: Vec<u8>,
}

impl Document {
    fn new(data: Vec<u8>) -> Self {
        Document { digest: format!("sha256:{}", hex::encode(sha2::Sha256::digest(&data))), data }
    }
}

impl Images {
    /// Asked for with every pod, so it is remembered.
    pub async fn pause(&self) -> Result<(Image, Arc<Unpacked>), Error> {
        if let Some(found) = self.pause.get() {
            return Ok(found.clone());
        }
        let found = match self.find(REFERENCE).await? {
            Some(found) => found,
            None => {
                self.import_pause().await?;
                self.find(REFERENCE).await?.ok_or_else(|| Error::ImageNotPresent(REFERENCE.into()))?
            }
        };
        Ok(self.pause.get_or_init(|| found).clone())
    }

    /// Nothing to do where this very image is there.
    pub async fn import_pause(&self) -> Result<(), Error> {
        let layer = Document::new(layer().map_err(Error::io("packing", "pause"))?);
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = Document::new(
            json!({
                "architecture": architecture, "os": "linux",
                "config": { "Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/" },
                "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
            })
            .to_string()
            .into_bytes(),
        );
        let manifest = Document::new(
            json!({
                "schemaVersion": 2, "mediaType": MANIFEST_TYPES[0],
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": config.digest, "size": config.data.len(),
                },
                "layers": [{
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer.digest, "size": layer.data.len(),
                }],
            })
            .to_string()
            .into_bytes(),
        );

        if let Some(record) = self.record(REFERENCE).await?
            && let Some(target) = record.target
            && target.digest == manifest.digest
            && self.understand(&target).await?.is_some()
        {
            return Ok(());
        }
        let labels = references(&parse_manifest(&manifest.digest, &manifest.data)?);
        let target = Target {
            media_type: MANIFEST_TYPES[0].to_string(),
            digest: manifest.digest.clone(),
            size: manifest.data.len() as i64,
            annotations: Default::default(),
        };
        let lease = self.containerd.lease("pause").await?;
        let outcome = async {
            for (document, labels) in [(layer, Labels::new()), (config, Labels::new()), (manifest, labels)] {
                let blob = Blob { digest: &document.digest, size: document.data.len() as i64, labels };
                self.containerd.write_blob(blob, document.data, &lease).await?;
            }
            self.set_record(REFERENCE, &target).await?;
            self.understand(&target).await?.ok_or_else(|| Error::ImageNotPresent(REFERENCE.into()))
        }
        .await;
        self.containerd.release(lease).await;
        outcome.map(|_| ())
    }
}

/// The same bytes each time, so that the digest says whether the program is the same.
fn layer() -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(PROGRAM.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, "pause", PROGRAM)?;
    archive.into_inner()
}
