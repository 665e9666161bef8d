//! Plain unary calls, for stores that do not have the pipelined stream (an etcd).

use bytes::Bytes;
use keelson_wire::{
    etcdserverpb::{RangeRequest, kv_client::KvClient},
    store::{ReadIndexResponse, answer, call},
};
use tonic::transport::Channel;

use super::Error;

pub(super) const MESSAGE_LIMIT: usize = 256 << 20;

pub(super) async fn call(channel: Channel, request: call::Request) -> Result<answer::Response, Error> {
    let mut client =
        KvClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT);
    let answered = match request {
        call::Request::Txn(txn) => client.txn(txn).await.map(|response| answer::Response::Txn(response.into_inner())),
        call::Request::Range(range) => {
            client.range(range).await.map(|response| answer::Response::Range(response.into_inner()))
        }
        call::Request::Put(put) => client.put(put).await.map(|response| answer::Response::Put(response.into_inner())),
        call::Request::DeleteRange(delete) => {
            client.delete_range(delete).await.map(|response| answer::Response::DeleteRange(response.into_inner()))
        }
        call::Request::ReadIndex(_) => {
            // Any linearizable range carries the revision in its header; this one finds nothing.
            let nothing = RangeRequest { key: Bytes::from_static(b"\0"), count_only: true, ..Default::default() };
            client
                .range(nothing)
                .await
                .map(|response| answer::Response::ReadIndex(ReadIndexResponse { header: response.into_inner().header }))
        }
    };
    answered.map_err(|status| Error::from_status(&status))
}
