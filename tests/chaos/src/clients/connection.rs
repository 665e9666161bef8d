//! One connection of one client to one member.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::translate::{self, Malformed};
use crate::cluster::connect;
use crate::history::{Answer, Change, Record, Reply, Request};

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// It was not done and will not be.
    Refused(String),
    /// Nobody knows.
    Lost(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = format!("{:?}: {}", status.code(), status.message());
        match status.code() {
            // What the store says when it has looked at the request and did not begin it.
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unimplemented => Self::Refused(text),
            _ => Self::Lost(text),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Lost(malformed.to_string())
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

#[derive(Clone)]
pub struct Connection {
    pub id: u64,
    /// Which member it leads to.
    pub place: usize,
    pub channel: Channel,
}

impl Connection {
    pub async fn open(place: usize, url: &str) -> crate::Result<Self> {
        let channel = connect(url).await?;
        Ok(Self { id: NEXT.fetch_add(1, Ordering::Relaxed), place, channel })
    }

    /// The answer, and the term in which it was given.
    pub async fn ask(&self, request: &Request, patience: Duration) -> Result<(Answer, u64), Failure> {
        match tokio::time::timeout(patience, self.call(request)).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::Lost(format!("no answer within {patience:?}"))),
        }
    }

    /// By the plainest call that can say it.
    async fn call(&self, request: &Request) -> Result<(Answer, u64), Failure> {
        let mut kv = KvClient::new(self.channel.clone());
        match request {
            Request::Read { spans, revision, serializable } if spans.len() == 1 => {
                let response = kv.range(translate::range(&spans[0], *revision, *serializable)).await?.into_inner();
                let records: Vec<Record> = response.kvs.iter().map(translate::record).collect();
                if response.count != records.len() as i64 || response.more {
                    return Err(Malformed("count").into());
                }
                with_header(response.header, Reply::Read(vec![records]))
            }
            Request::Write { guards, changes } if guards.is_empty() && changes.len() == 1 => match &changes[0] {
                Change::Put { key, value } => {
                    let response = kv.put(translate::put(key, value)).await?.into_inner();
                    with_header(response.header, Reply::Written(Vec::new()))
                }
                Change::Delete { key } => {
                    let response = kv.delete_range(translate::delete(key)).await?.into_inner();
                    let taken = translate::taken_by(&response)?;
                    with_header(response.header, Reply::Written(vec![(key.clone(), taken)]))
                }
            },
            request => {
                let mut response = kv.txn(translate::transaction(request)).await?.into_inner();
                let header = response.header.take();
                with_header(header, translate::reply(request, response)?)
            }
        }
    }
}

fn with_header(header: Option<etcd::ResponseHeader>, reply: Reply) -> Result<(Answer, u64), Failure> {
    let header = header.ok_or(Malformed("header"))?;
    Ok((Answer { revision: header.revision, reply }, header.raft_term))
}
