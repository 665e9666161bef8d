//! Spans in files: one JSON line a span, `<dir>/<process>.jsonl`, with one older file beside it.
//!
//! Processes of one kind on one machine each have a directory of their own. A file survives the process, so a trace shows what a killed process did. Together the two files of a process stay
//! under [`LIMIT`] × 2 bytes; what no longer fits is the oldest.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::Status;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Bytes after which a file is set aside and a new one begun.
const LIMIT: u64 = 8 << 20;

/// A finished span as it stands in the file. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpanRecord {
    pub trace: String,
    pub span: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    pub process: String,
    pub name: String,
    pub start: u64,
    pub end: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Reads the spans of one trace that any process left in `directory` and the directories below it, by their start.
/// Half-written last lines are passed over.
pub fn read_spans(directory: &Path, trace: &str) -> std::io::Result<Vec<SpanRecord>> {
    let mut spans = Vec::new();
    collect_spans(directory, trace, &mut spans)?;
    spans.sort_by_key(|span| (span.start, span.end));
    Ok(spans)
}

fn collect_spans(directory: &Path, trace: &str, spans: &mut Vec<SpanRecord>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect_spans(&path, trace, spans)?;
            continue;
        }
        let is_span_file = path.extension().is_some_and(|extension| extension == "jsonl" || extension == "old");
        if !is_span_file {
            continue;
        }
        for line in BufReader::new(File::open(&path)?).lines() {
            let line = line?;
            // A cheap look before the parse: most lines belong to other traces.
            if !line.contains(trace) {
                continue;
            }
            if let Ok(span) = serde_json::from_str::<SpanRecord>(&line)
                && span.trace == trace
            {
                spans.push(span);
            }
        }
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct SpanFile {
    process: String,
    path: PathBuf,
    file: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl SpanFile {
    pub(super) fn create(directory: &Path, process: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{process}.jsonl"));
        let file = Mutex::new(open(&path)?);
        Ok(Self { process: process.to_owned(), path, file })
    }

    fn write(&self, batch: &[SpanData]) -> std::io::Result<()> {
        let mut lines = Vec::with_capacity(batch.len() * 256);
        for span in batch {
            serde_json::to_writer(&mut lines, &self.record(span))?;
            lines.push(b'\n');
        }
        let mut open_file = self.file.lock();
        if open_file.size > LIMIT {
            std::fs::rename(&self.path, self.path.with_extension("old"))?;
            *open_file = open(&self.path)?;
        }
        open_file.file.write_all(&lines)?;
        open_file.size += lines.len() as u64;
        Ok(())
    }

    fn record(&self, span: &SpanData) -> SpanRecord {
        let parent = span.parent_span_id;
        SpanRecord {
            trace: span.span_context.trace_id().to_string(),
            span: span.span_context.span_id().to_string(),
            parent: (parent != opentelemetry::SpanId::INVALID).then(|| parent.to_string()),
            process: self.process.clone(),
            name: span.name.to_string(),
            start: nanoseconds(span.start_time),
            end: nanoseconds(span.end_time),
            attributes: span
                .attributes
                .iter()
                .filter(|attribute| !is_of_the_code(attribute.key.as_str()))
                .map(|attribute| (attribute.key.to_string(), attribute.value.to_string()))
                .collect(),
            error: match &span.status {
                Status::Error { description } => Some(description.to_string()),
                Status::Ok | Status::Unset => None,
            },
        }
    }
}

/// Attributes that the tracing bridge adds about the code, and that say nothing about the cluster.
fn is_of_the_code(key: &str) -> bool {
    key.starts_with("code.") || key.starts_with("thread.") || key == "busy_ns" || key == "idle_ns" || key == "target"
}

fn open(path: &Path) -> std::io::Result<Open> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok(Open { file, size })
}

fn nanoseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl SpanExporter for SpanFile {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.write(&batch).map_err(|error| OTelSdkError::InternalFailure(format!("{}: {error}", self.path.display())))
    }
}
