//! Reads a container's log files: the current one, the rotated ones before it, and what is still being written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::log_format::Renderer;
use super::log_tail::offset_of_last;
use super::watch_file::DirectoryWatch;
use crate::context::Context;
use crate::runtime;

/// Bytes read from the file at once.
const READ: usize = 64 * 1024;
/// A line that is longer than this has lost its newline: it is dropped.
const LONGEST_LINE: usize = 1024 * 1024;

/// What to read.
pub struct Reading {
    pub container: runtime::Container,
    pub renderer: Renderer,
    pub tail: Option<u64>,
    pub follow: bool,
}

/// Reads to the end, or with `follow` until the container has ended and all it said was read. The channel's other end
/// is the reader; when it is gone, so is this.
pub async fn read(context: Context, reading: Reading, sink: mpsc::Sender<Bytes>) -> io::Result<()> {
    let Reading { container, mut renderer, tail, follow } = reading;
    let path = container.log_path.clone();
    // Watches from before the first look, so that no change falls between.
    let watch = match (follow, path.parent()) {
        (true, Some(directory)) => Some(DirectoryWatch::new(directory)?),
        _ => None,
    };
    let mut events = context.runtime.events();
    let mut pending = files(&path, tail)?;
    let mut open: Option<OpenFile> = None;
    loop {
        let ended = !is_running(&context, &container.id).await;
        loop {
            if open.is_none() {
                open = pending.pop_front().map(OpenFile::open).transpose()?.flatten();
            }
            let Some(current) = &mut open else { break };
            let more = pump(current, &mut renderer, &sink).await?;
            if renderer.is_full() || sink.is_closed() {
                return Ok(());
            }
            if more {
                continue;
            }
            if !pending.is_empty() {
                open = None;
                continue;
            }
            // The runtime moved the file away: what follows is in a new one of the same name.
            if current.is_rotated(&path) {
                pending.push_back((path.clone(), 0));
                open = None;
                continue;
            }
            break;
        }
        let Some(watch) = &watch else { return Ok(()) };
        if ended {
            return Ok(());
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            event = events.recv() => if event.is_none() { return Ok(()) },
            () = sink.closed() => return Ok(()),
        }
        if open.is_none() && pending.is_empty() && path.exists() {
            pending.push_back((path.clone(), 0));
        }
    }
}

async fn is_running(context: &Context, id: &str) -> bool {
    matches!(context.runtime.container(id).await, Ok(Some(container)) if container.is_running())
}

/// The files to read, oldest first, and where in each to begin.
fn files(path: &Path, tail: Option<u64>) -> io::Result<VecDeque<(PathBuf, u64)>> {
    let mut newest_first = vec![path.to_owned()];
    for number in 1.. {
        let rotated = PathBuf::from(format!("{}.{number}", path.display()));
        if !rotated.exists() {
            break;
        }
        newest_first.push(rotated);
    }
    let mut chosen = VecDeque::new();
    let mut wanted = tail;
    for file in newest_first {
        let Some(lines) = wanted else {
            chosen.push_front((file, 0));
            continue;
        };
        let (begin, found) = match File::open(&file) {
            Ok(mut open) => {
                let begin = offset_of_last(&mut open, lines)?;
                let found = if begin == 0 { count_lines(&mut open)? } else { lines };
                (begin, found)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (0, 0),
            Err(error) => return Err(error),
        };
        chosen.push_front((file, begin));
        let left = lines.saturating_sub(found);
        if left == 0 {
            break;
        }
        wanted = Some(left);
    }
    Ok(chosen)
}

fn count_lines(file: &mut File) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; READ];
    let mut lines = 0;
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(lines);
        }
        lines += buffer[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

struct OpenFile {
    file: Option<File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl OpenFile {
    /// `None` when there is no such file (yet).
    fn open((path, begin): (PathBuf, u64)) -> io::Result<Option<OpenFile>> {
        match File::open(&path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(begin))?;
                Ok(Some(OpenFile { file: Some(file), rest: Vec::new() }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_rotated(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let identity = |metadata: io::Result<std::fs::Metadata>| metadata.ok().map(|m| (m.dev(), m.ino()));
        let own = self.file.as_ref().and_then(|file| identity(file.metadata()));
        let named = identity(std::fs::metadata(path));
        named.is_some() && own.is_some() && named != own
    }
}

/// Reads one piece and hands on its whole lines; false at the end of the file.
async fn pump(open: &mut OpenFile, renderer: &mut Renderer, sink: &mpsc::Sender<Bytes>) -> io::Result<bool> {
    let Some(mut file) = open.file.take() else { return Ok(false) };
    let (file, piece) = tokio::task::spawn_blocking(move || -> io::Result<(File, Vec<u8>)> {
        let mut piece = vec![0; READ];
        let length = file.read(&mut piece)?;
        piece.truncate(length);
        Ok((file, piece))
    })
    .await
    .map_err(io::Error::other)??;
    open.file = Some(file);
    if piece.is_empty() {
        return Ok(false);
    }
    open.rest.extend_from_slice(&piece);
    let mut output = Vec::with_capacity(open.rest.len());
    let mut begin = 0;
    while let Some(length) = open.rest[begin..].iter().position(|byte| *byte == b'\n') {
        renderer.render(&open.rest[begin..begin + length], &mut output);
        begin += length + 1;
        if renderer.is_full() {
            break;
        }
    }
    open.rest.drain(..begin);
    if open.rest.len() > LONGEST_LINE {
        open.rest.clear();
    }
    if !output.is_empty() {
        // A reader that is gone is noticed by the caller.
        let _ = sink.send(Bytes::from(output)).await;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_reaches_back_into_rotated_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("0.log");
        std::fs::write(directory.path().join("0.log.2"), "a\nb\n").expect("written");
        std::fs::write(directory.path().join("0.log.1"), "c\nd\n").expect("written");
        std::fs::write(&path, "e\n").expect("written");
        let chosen = |tail| -> Vec<(String, u64)> {
            let files = files(&path, tail).expect("files");
            let name = |file: PathBuf| file.file_name().expect("a name").to_string_lossy().into_owned();
            files.into_iter().map(|(file, begin)| (name(file), begin)).collect()
        };
        let want = |files: &[(&str, u64)]| -> Vec<(String, u64)> {
            files.iter().map(|(name, begin)| ((*name).to_owned(), *begin)).collect()
        };
        assert_eq!(chosen(None), want(&[("0.log.2", 0), ("0.log.1", 0), ("0.log", 0)]));
        assert_eq!(chosen(Some(1)), want(&[("0.log", 0)]));
        assert_eq!(chosen(Some(2)), want(&[("0.log.1", 2), ("0.log", 0)]));
        assert_eq!(chosen(Some(4)), want(&[("0.log.2", 2), ("0.log.1", 0), ("0.log", 0)]));
    }
}
