//! The flags that every process has for its logs and traces.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Clone, Debug)]
// Components flatten these flags into their own `Options`, whose name the group would share.
#[group(id = "telemetry")]
pub struct Options {
    /// What is logged: a level (error, warn, info, debug, trace), or directives such as info,apiserver=debug
    #[arg(long, default_value = "info", env = "KEELSON_LOG")]
    pub log_level: String,

    /// Verbosity in Kubernetes' numbers: 4 and 5 mean debug, 6 and more trace (none in a release build); wins over --log-level
    #[arg(short = 'v', long = "v", value_name = "LEVEL")]
    pub verbosity: Option<u8>,

    /// The form of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Directory in which the process keeps its newest spans, for `keelson trace`
    #[arg(long, value_name = "DIR")]
    pub trace_dir: Option<PathBuf>,

    /// OTLP collector that gets the spans too (gRPC), such as http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

impl Options {
    /// The log filter in tracing's directive language.
    pub fn filter(&self) -> &str {
        match self.verbosity {
            None => &self.log_level,
            Some(0..=3) => "info",
            Some(4..=5) => "debug",
            Some(_) => "trace",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            verbosity: None,
            log_format: LogFormat::Text,
            trace_dir: None,
            otlp_endpoint: None,
        }
    }
}
