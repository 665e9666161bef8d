//! hostPath: a path of the node, which has to be (or is made) what its type says.

use std::fs::{FileType, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt, OpenOptionsExt as _};
use std::path::Path;

/// Checks `path` against the volume's type, and makes it where the type says so. The error is upstream's text.
pub fn check(path: &Path, kind: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let found = match std::fs::metadata(path) {
        Ok(metadata) => Some(metadata.file_type()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if kind == "DirectoryOrCreate" && found.is_none() {
        return std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(failed);
    }
    if kind == "FileOrCreate" && found.is_none() {
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
        return made.map(drop).map_err(failed);
    }
    let (fits, name): (fn(&FileType) -> bool, &str) = match kind {
        "" => return Ok(()),
        "Directory" | "DirectoryOrCreate" => (FileType::is_dir, "directory"),
        "File" | "FileOrCreate" => (FileType::is_file, "file"),
        "Socket" => (FileTypeExt::is_socket, "socket"),
        "CharDevice" => (FileTypeExt::is_char_device, "character device"),
        "BlockDevice" => (FileTypeExt::is_block_device, "block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    match found {
        Some(found) if fits(&found) => Ok(()),
        _ => Err(format!("hostPath type check failed: {} is not a {name}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn the_type_decides_what_is_there_or_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let file = root.join("file");
        std::fs::write(&file, "x").expect("written");
        let missing = root.join("missing");
        assert_eq!(check(&file, ""), Ok(()));
        assert_eq!(check(&missing, ""), Ok(()));
        assert_eq!(check(&file, "File"), Ok(()));
        assert_eq!(check(root, "Directory"), Ok(()));
        for (path, kind, what) in [
            (&file, "Directory", "directory"),
            (&missing, "File", "file"),
            (&file, "Socket", "socket"),
            (&file, "CharDevice", "character device"),
        ] {
            let want = format!("hostPath type check failed: {} is not a {what}", path.display());
            assert_eq!(check(path, kind), Err(want), "{kind}");
        }
        assert_eq!(check(&root.join("made/deep"), "DirectoryOrCreate"), Ok(()));
        assert!(root.join("made/deep").is_dir());
        assert_eq!(check(&missing, "FileOrCreate"), Ok(()));
        assert!(missing.is_file());
    }
}
