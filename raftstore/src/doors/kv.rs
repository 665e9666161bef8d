//! etcdserverpb.KV, one gRPC call a request: as a service, and message by message.

use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::etcdserverpb::kv_server;
use keelson_wire::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::Requests;
use super::body::framed;
use super::serving::MessageAnswer;

pub struct Kv(pub Arc<Requests>);

#[tonic::async_trait]
impl kv_server::Kv for Kv {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(self.0.range(request.get_ref()).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(self.0.put(request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(self.0.delete_range(request.into_inner()).await?))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(self.0.txn(request.into_inner()).await?))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(self.0.compact(request.into_inner()).await?))
    }
}

fn decoded<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

pub fn range(requests: Arc<Requests>, message: Bytes) -> MessageAnswer {
    Box::pin(async move { framed(&requests.range(&decoded(message)?).await?) })
}

pub fn put(requests: Arc<Requests>, message: Bytes) -> MessageAnswer {
    Box::pin(async move { framed(&requests.put(decoded(message)?).await?) })
}

pub fn delete_range(requests: Arc<Requests>, message: Bytes) -> MessageAnswer {
    Box::pin(async move { framed(&requests.delete_range(decoded(message)?).await?) })
}

pub fn txn(requests: Arc<Requests>, message: Bytes) -> MessageAnswer {
    Box::pin(async move { framed(&requests.txn(decoded(message)?).await?) })
}
