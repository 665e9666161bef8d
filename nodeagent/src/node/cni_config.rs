//! The CNI configuration that the agent writes once it knows its pod CIDR, on a node that has none.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

const NAME: &str = "10-keelson.conflist";

/// A bridge of the node's own and addresses from its pod CIDR. What is given out is written down in `addresses`: nodes that
/// share a machine must not share the place, or one would go on where another left off, and give out again what has just
/// been freed.
fn document(bridge: &str, pod_cidr: &str, addresses: &Path) -> Value {
    json!({
        "cniVersion": "0.3.1",
        "name": "bridge",
        "plugins": [{
            "type": "bridge",
            "bridge": bridge,
            "isGateway": true,
            "ipMasq": true,
            "ipam": {
                "type": "host-local",
                "dataDir": addresses,
                "ranges": [[{"subnet": pod_cidr}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    })
}

/// Writes the configuration if the directory holds none but ours. Returns the path if something was written.
pub fn ensure(directory: &Path, bridge: &str, pod_cidr: &str, addresses: &Path) -> io::Result<Option<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(NAME);
    for entry in std::fs::read_dir(directory)? {
        let other = entry?.path();
        let is_configuration = other
            .extension()
            .is_some_and(|extension| ["conf", "conflist", "json"].iter().any(|known| extension == *known));
        if is_configuration && other != path {
            return Ok(None);
        }
    }
    let text = serde_json::to_vec_pretty(&document(bridge, pod_cidr, addresses))?;
    if std::fs::read(&path).is_ok_and(|known| known == text) {
        return Ok(None);
    }
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, &path)?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_once_and_never_beside_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let addresses = Path::new("/node/addresses");
        let ensure = |directory: &Path, cidr: &str| super::ensure(directory, "cnio0", cidr, addresses);
        let written = ensure(directory.path(), "10.244.1.0/24").expect("written");
        let text = std::fs::read_to_string(written.expect("a path")).expect("readable");
        assert!(text.contains("10.244.1.0/24") && text.contains("/node/addresses"), "{text}");
        assert_eq!(ensure(directory.path(), "10.244.1.0/24").expect("unchanged"), None);
        assert!(ensure(directory.path(), "10.244.2.0/24").expect("rewritten").is_some());

        let other = tempfile::tempdir().expect("a directory");
        std::fs::write(other.path().join("05-mine.conf"), "{}").expect("written");
        assert_eq!(ensure(other.path(), "10.244.1.0/24").expect("left alone"), None);
    }
}
