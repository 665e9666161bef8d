//! Where a container's output goes.
//!
//! A decision, and why: containers must go on running *and logging* while the agent is dead, and the log needs the
//! time at which each line was written. containerd's `file://` writes no times, so the format cannot be made when it
//! is read; FIFOs read by the agent fill up, and block the container, as soon as the agent is gone. So each container
//! has a logger of its own, `pause/logger.rs`: started by the shim (`binary://`), it reads the container's pipes and
//! writes the log, rotates it, and needs nobody. It is static and has no standard library: some tens of kilobytes.
//!
//! A shim offers no stdin beside `binary://`, unless there is a terminal. A container with a stdin and no terminal
//! gets FIFOs, which the same logger reads, started by the agent and left to itself.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::stat::Mode;
use sha2::Digest;

use super::record::ContainerRecord;
use super::{Error, Options};

const LOGGER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/logger"));

/// What containerd is told of a task's streams; to be kept until the task has started.
#[derive(Debug, Default)]
pub struct Streams {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    /// A reader of a pipe that never had a writer reads its end at once: ours is there until the shim has its own.
    _writers: Vec<File>,
}

/// Writes the logger where shims can start it. Its name has its digest: those that run keep theirs.
pub fn install_logger(data_dir: &Path) -> Result<PathBuf, Error> {
    let digest = hex::encode(sha2::Sha256::digest(LOGGER));
    let directory = data_dir.join("bin");
    let path = directory.join(format!("logger-{}", &digest[..12]));
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == LOGGER.len() as u64) {
        return Ok(path);
    }
    fs::create_dir_all(&directory).map_err(Error::io("creating", &directory))?;
    let staged = directory.join(format!(".logger-{}", std::process::id()));
    fs::write(&staged, LOGGER).map_err(Error::io("writing", &staged))?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o755)).map_err(Error::io("making executable", &staged))?;
    fs::rename(&staged, &path).map_err(Error::io("renaming", &staged))?;
    Ok(path)
}

/// Makes the log's directory, the FIFOs where there is a stdin, and starts the logger where no shim does.
pub fn streams(options: &Options, logger: &Path, id: &str, record: &ContainerRecord) -> Result<Streams, Error> {
    if let Some(directory) = record.log_path.parent() {
        fs::create_dir_all(directory).map_err(Error::io("creating", directory))?;
    }
    let arguments = arguments(options, record);
    if !record.stdin || record.tty {
        let uri = binary_uri(logger, &arguments);
        let stdin =
            if record.stdin { fifo(&directory(options, id), "stdin")?.display().to_string() } else { String::new() };
        let stderr = if record.tty { String::new() } else { uri.clone() };
        return Ok(Streams { stdin, stdout: uri, stderr, _writers: Vec::new() });
    }
    let directory = directory(options, id);
    let [stdin, stdout, stderr] =
        [fifo(&directory, "stdin")?, fifo(&directory, "stdout")?, fifo(&directory, "stderr")?];
    // Opened for both, which waits for nobody.
    let both = |path: &Path| OpenOptions::new().read(true).write(true).open(path).map_err(Error::io("opening", path));
    let _writers = vec![both(&stdout)?, both(&stderr)?];
    start_logger(logger, &arguments, &stdout, &stderr)?;
    let text = |path: PathBuf| path.display().to_string();
    Ok(Streams { stdin: text(stdin), stdout: text(stdout), stderr: text(stderr), _writers })
}

pub fn remove_streams(options: &Options, id: &str) -> Result<(), Error> {
    let directory = directory(options, id);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", directory)(error)),
        _ => Ok(()),
    }
}

pub fn directory(options: &Options, id: &str) -> PathBuf {
    options.state_dir.join("io").join(id)
}

pub fn fifo(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(directory).map_err(Error::io("creating", directory))?;
    let path = directory.join(name);
    match nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Err(errno) if errno != nix::errno::Errno::EEXIST => Err(Error::io("creating pipe", &path)(errno.into())),
        _ => Ok(path),
    }
}

fn arguments(options: &Options, record: &ContainerRecord) -> Vec<(&'static str, String)> {
    vec![
        ("path", record.log_path.display().to_string()),
        ("bytes", options.log_max_bytes.to_string()),
        ("files", options.log_max_files.to_string()),
        // Who attaches to it is to see the prompt that has no end of line yet.
        ("partial", if record.tty || record.stdin { "1" } else { "0" }.to_string()),
    ]
}

fn binary_uri(logger: &Path, arguments: &[(&str, String)]) -> String {
    let query: Vec<String> = arguments.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
    format!("binary://{}?{}", escape(&logger.display().to_string()), query.join("&"))
}

/// What may stand in a path and in a query stays, the rest is %-escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn start_logger(logger: &Path, arguments: &[(&str, String)], stdout: &Path, stderr: &Path) -> Result<(), Error> {
    let open = |path: &Path| -> Result<File, Error> {
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).map_err(Error::io("opening", path))
    };
    let descriptors = [open(stdout)?, open(stderr)?];
    let numbers = [descriptors[0].as_raw_fd(), descriptors[1].as_raw_fd()];
    let mut command = tokio::process::Command::new(logger);
    for (key, value) in arguments {
        command.arg(key).arg(value);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only system calls that are safe there are made.
    unsafe {
        command.pre_exec(move || {
            // Away from our terminal and our group: what ends us does not end it.
            nix::unistd::setsid()?;
            // First out of the way of the places that they go to.
            let mut moved = [0; 2];
            for (place, number) in moved.iter_mut().zip(numbers) {
                *place = nix::libc::fcntl(number, nix::libc::F_DUPFD, 10);
                if *place < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            for (target, source) in [(3, moved[0]), (4, moved[1])] {
                if nix::libc::dup2(source, target) < 0 {
                    return Err(io::Error::last_os_error());
                }
                nix::libc::close(source);
            }
            // Where a shim waits for it to be closed; nobody waits here, but it must not become the log's.
            if nix::libc::dup2(0, 5) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // Not waited for here: tokio reaps it when it ends, and init does where we are gone by then.
    command.spawn().map(drop).map_err(Error::io("starting", logger))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_carries_any_path() {
        let uri = binary_uri(Path::new("/opt/a b/logger"), &[("path", "/logs/x&y=z".into()), ("bytes", "5".into())]);
        assert_eq!(uri, "binary:///opt/a%20b/logger?path=/logs/x%26y%3Dz&bytes=5");
    }
}
