//! Puts the layers together once a process.

use std::path::PathBuf;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use super::span_file::SpanFile;
use super::{LogFormat, Options, TRACE};

/// Spans that wait for a file or a collector; more are dropped, and the exporter logs how many. The queue's memory
/// (near 400 bytes a span) is resident from the start.
const QUEUE: usize = 2048;
/// A trace can be read this long after its last span ended.
const DELAY: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--log-level is no filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("cannot keep spans in {path}: {source}")]
    SpanFile { path: PathBuf, source: std::io::Error },
    #[error("cannot export to the OTLP collector: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Holds what must be flushed before the process ends.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Writes out the spans that still wait.
    pub fn finish(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "spans were lost at the end");
        }
    }
}

/// Sets up the logs and traces of a process; called inside its runtime, once.
pub fn start(process: &'static str, options: &Options) -> Result<Telemetry, Error> {
    let filter = EnvFilter::try_new(options.filter())?;
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let logs: Box<dyn Layer<Registry> + Send + Sync> = match options.log_format {
        LogFormat::Text => format.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => format.json().with_filter(filter).boxed(),
    };
    let provider = tracer_provider(process, options)?;
    let traces = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("keelson");
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(filter_fn(|metadata| metadata.target() == TRACE))
    });
    tracing_subscriber::registry().with(logs).with(traces).try_init()?;
    Ok(Telemetry { provider })
}

fn tracer_provider(process: &'static str, options: &Options) -> Result<Option<SdkTracerProvider>, Error> {
    if options.trace_dir.is_none() && options.otlp_endpoint.is_none() {
        return Ok(None);
    }
    let batches = || BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(DELAY).build();
    let mut provider =
        SdkTracerProvider::builder().with_resource(Resource::builder().with_service_name(process).build());
    if let Some(directory) = &options.trace_dir {
        let file = SpanFile::create(directory, process)
            .map_err(|source| Error::SpanFile { path: directory.clone(), source })?;
        provider = provider.with_span_processor(BatchSpanProcessor::builder(file).with_batch_config(batches()).build());
    }
    if let Some(endpoint) = &options.otlp_endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        provider =
            provider.with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches()).build());
    }
    Ok(Some(provider.build()))
}
