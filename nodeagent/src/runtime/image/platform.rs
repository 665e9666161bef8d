//! Manifests and configs as far as a node needs to understand them.

use serde::Deserialize;

pub const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
pub const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
    pub platform: Option<Platform>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

/// An index or a manifest: which fields there are says which.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    pub fn is_index(&self) -> bool {
        !self.manifests.is_empty() || INDEX_TYPES.contains(&self.media_type.as_str())
    }

    /// The manifest of this machine's platform: the exact variant where there is one, any other of the architecture.
    pub fn for_this_machine(&self) -> Option<&Descriptor> {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            other => (other, ""),
        };
        let suits = |descriptor: &&Descriptor| match &descriptor.platform {
            Some(platform) => platform.os == "linux" && platform.architecture == architecture,
            None => false,
        };
        let exact = |descriptor: &&Descriptor| {
            descriptor
                .platform
                .as_ref()
                .is_some_and(|platform| platform.variant.is_empty() || platform.variant == variant)
        };
        let candidates = || self.manifests.iter().filter(suits);
        candidates().find(exact).or_else(|| candidates().next()).or_else(|| {
            // A list of one without a platform is what some builders write.
            match self.manifests.as_slice() {
                [only] if only.platform.is_none() => Some(only),
                _ => None,
            }
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Config {
    pub config: Execution,
    pub rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RootFs {
    pub diff_ids: Vec<String>,
}

/// How the image wants to be run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    pub user: String,
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub stop_signal: String,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Option::<Vec<String>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Names of the snapshots that layers add up to; the last is the image's own.
/// <https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid>
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    use sha2::Digest;
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => format!("sha256:{}", hex::encode(sha2::Sha256::digest(format!("{parent} {diff_id}")))),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_manifest_is_chosen() {
        let architecture = if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" };
        let index: Manifest = serde_json::from_value(serde_json::json!({
            "manifests": [
                { "digest": "sha256:w", "platform": { "os": "windows", "architecture": architecture } },
                { "digest": "sha256:s", "platform": { "os": "linux", "architecture": "s390x" } },
                { "digest": "sha256:m", "platform": { "os": "linux", "architecture": architecture, "variant": "v9" } },
                { "digest": "sha256:e", "platform": { "os": "linux", "architecture": architecture } },
            ],
        }))
        .expect("index");
        assert!(index.is_index());
        assert_eq!(index.for_this_machine().map(|descriptor| descriptor.digest.as_str()), Some("sha256:e"));
    }

    #[test]
    fn configs_with_nulls_are_read() {
        let config: Config = serde_json::from_str(
            r#"{"config":{"Env":null,"Cmd":["/x"],"Entrypoint":null},"rootfs":{"diff_ids":["a"]}}"#,
        )
        .expect("config");
        assert_eq!(config.config.cmd, ["/x"]);
        assert!(config.config.env.is_empty());
    }

    #[test]
    fn a_chain_starts_with_its_first_layer() {
        let chain = chain_ids(&["sha256:a".into(), "sha256:b".into()]);
        assert_eq!(chain[0], "sha256:a");
        assert_eq!(chain[1].len(), "sha256:".len() + 64);
        assert!(chain_ids(&[]).is_empty());
    }
}
