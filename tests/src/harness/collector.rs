//! An OTLP collector (gRPC) that remembers which services told it of which traces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::Result;

/// Services by the hexadecimal id of the trace.
type Seen = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// Listens until it is dropped, in the network namespace of the thread that started it.
pub struct Collector {
    address: SocketAddr,
    seen: Seen,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let seen = Seen::default();
        let service = TraceServiceServer::new(Receiver { seen: seen.clone() });
        let entered = runtime.enter();
        let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = incoming.local_addr()?;
        runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        drop(entered);
        Ok(Self { address, seen, _runtime: runtime })
    }

    /// What `--otlp-endpoint` takes.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The services that told of spans of a trace.
    pub fn services(&self, trace: &str) -> BTreeSet<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(trace).cloned().unwrap_or_default()
    }
}

struct Receiver {
    seen: Seen,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in request.into_inner().resource_spans {
            let service = service_name(&resource);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let trace = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
                seen.entry(trace).or_default().insert(service.clone());
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(spans: &ResourceSpans) -> String {
    let attributes = spans.resource.iter().flat_map(|resource| &resource.attributes);
    let mut names = attributes.filter(|attribute| attribute.key == "service.name");
    match names.next().and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}
