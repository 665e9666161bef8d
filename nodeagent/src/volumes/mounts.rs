//! volumeMounts of a container as mounts of host paths: subPath, propagation, read-only.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};

use crate::environment::{ConfigError, expansion};
use crate::pods::spec;
use crate::runtime::{Mount, MountPropagation};

/// The mounts of `container`; `environment` expands `subPathExpr`. Directories of sub-paths are made. Blocks.
pub fn resolve(
    pod_directory: &Path,
    pod: &Pod,
    container: &Container,
    environment: &[(String, String)],
) -> Result<Vec<Mount>, ConfigError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = spec::spec(pod).volumes.iter().flatten().find(|volume| volume.name == mount.name);
        let root = volume.and_then(|volume| super::path(pod_directory, volume)).ok_or_else(|| {
            ConfigError(format!("cannot find volume \"{}\" to mount into container \"{}\"", mount.name, container.name))
        })?;
        let source = match sub_path(mount, environment)? {
            None => root,
            Some(sub_path) => within(&root, &sub_path, volume, container)?,
        };
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::HostToContainer,
            Some("Bidirectional") => MountPropagation::Bidirectional,
            _ => MountPropagation::Private,
        };
        let made_by_us = volume.is_some_and(|volume| {
            volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some()
        });
        mounts.push(Mount {
            source: source.clone(),
            destination: absolute(&mount.mount_path),
            read_only: mount.read_only.unwrap_or(false) || made_by_us,
            propagation,
        });
        if !source.exists() {
            std::fs::create_dir_all(&source)
                .map_err(|error| ConfigError(format!("failed to create {}: {error}", source.display())))?;
        }
    }
    Ok(mounts)
}

fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

fn sub_path(mount: &VolumeMount, environment: &[(String, String)]) -> Result<Option<String>, ConfigError> {
    let sub_path = match (mount.sub_path_expr.as_deref(), mount.sub_path.as_deref()) {
        (Some(expression), _) if !expression.is_empty() => {
            let lookup =
                |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            expansion::expand(expression, lookup)
        }
        (_, Some(path)) if !path.is_empty() => path.to_owned(),
        _ => return Ok(None),
    };
    let components = Path::new(&sub_path).components();
    if Path::new(&sub_path).is_absolute() {
        return Err(ConfigError(format!("error SubPath `{sub_path}` must not be an absolute path")));
    }
    if components.into_iter().any(|component| component == Component::ParentDir) {
        return Err(ConfigError(format!("unable to provision SubPath `{sub_path}`: must not contain '..'")));
    }
    Ok(Some(sub_path))
}

/// A path below the volume, which must not lead out of it through a link.
fn within(root: &Path, sub_path: &str, volume: Option<&Volume>, container: &Container) -> Result<PathBuf, ConfigError> {
    let failed = |reason: String| {
        let volume = volume.map(|volume| volume.name.as_str()).unwrap_or_default();
        ConfigError(format!(
            "failed to prepare subPath for volumeMount \"{volume}\" of container \"{}\": {reason}",
            container.name
        ))
    };
    let path = root.join(sub_path);
    if !path.exists() {
        std::fs::create_dir_all(&path).map_err(|error| failed(error.to_string()))?;
    }
    let real_root = root.canonicalize().map_err(|error| failed(error.to_string()))?;
    let real = path.canonicalize().map_err(|error| failed(error.to_string()))?;
    if !real.starts_with(&real_root) {
        return Err(failed(format!("{} leads out of the volume", path.display())));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mounts(root: &Path, mount: serde_json::Value) -> Result<Vec<Mount>, String> {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "volumes": [{"name": "data", "emptyDir": {}}],
            "containers": [{"name": "c", "volumeMounts": [mount]}]
        }}))
        .expect("a pod");
        let environment = [("POD".to_owned(), "web-1".to_owned())];
        resolve(root, &pod, &spec::app_containers(&pod)[0], &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn sub_paths_stay_within_their_volume() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a path");
        let volume = root.join("volumes/kubernetes.io~empty-dir/data");
        std::fs::create_dir_all(&volume).expect("made");
        std::os::unix::fs::symlink("/etc", volume.join("out")).expect("linked");

        let source = |mount| mounts(&root, mount).map(|mounts| mounts[0].source.clone());
        assert_eq!(source(json!({"name": "data", "mountPath": "/d"})), Ok(volume.clone()));
        assert_eq!(source(json!({"name": "data", "mountPath": "/d", "subPath": "a/b"})), Ok(volume.join("a/b")));
        let expression = json!({"name": "data", "mountPath": "/d", "subPathExpr": "$(POD)"});
        assert_eq!(source(expression), Ok(volume.join("web-1")));
        for path in ["../x", "out", "/etc"] {
            assert!(source(json!({"name": "data", "mountPath": "/d", "subPath": path})).is_err(), "{path}");
        }
        assert!(source(json!({"name": "none", "mountPath": "/d"})).is_err());
    }
}
