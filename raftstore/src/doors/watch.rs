//! etcdserverpb.Watch.

use std::sync::Arc;

use keelson_wire::etcdserverpb::{WatchRequest, watch_server};
use tonic::{Request, Response, Status, Streaming};

use super::Requests;
use crate::watch::{AnswerStream, Settings, WatchStream, answer_channel};

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
    type WatchStream = AnswerStream;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = answer_channel(self.settings.patience);
        let machine = self.requests.machine().clone();
        tokio::spawn(WatchStream::run(machine, self.settings.clone(), request.into_inner(), answers));
        Ok(Response::new(stream))
    }
}
