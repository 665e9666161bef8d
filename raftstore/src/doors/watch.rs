//! etcdserverpb.Watch.

use std::sync::Arc;

use keelson_wire::etcdserverpb::watch_server;
use keelson_wire::etcdserverpb::{WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Requests;
use crate::watch::{Settings, WatchStream};

/// Answers that wait for the client's HTTP/2 window; the stream waits beyond that.
const WAITING_ANSWERS: usize = 8;

pub struct Watch {
    requests: Arc<Requests>,
    settings: Settings,
}

impl Watch {
    pub fn new(requests: Arc<Requests>, settings: Settings) -> Self {
        Self { requests, settings }
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Watch {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (responses, stream) = mpsc::channel(WAITING_ANSWERS);
        let machine = self.requests.machine().clone();
        tokio::spawn(WatchStream::run(machine, self.settings.clone(), request.into_inner(), responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
