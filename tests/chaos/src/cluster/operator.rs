//! What an operator asks of the members, by etcd's API. Every call ends in a bounded time.

use std::time::Duration;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::cluster_client::ClusterClient;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::history::Revision;
use crate::{Error, Result};

const CONNECT: Duration = Duration::from_millis(500);
const CALL: Duration = Duration::from_secs(5);

/// A new connection.
pub async fn connect(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| Error::tried("use", url, error))?;
    let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
    let connected = tokio::time::timeout(CONNECT, endpoint.connect()).await;
    let connected = connected.map_err(|_| Error::new(format!("{url} does not take a connection")))?;
    connected.map_err(|error| Error::tried("connect to", url, error))
}

/// Speaks to one member.
pub struct Operator {
    channel: Channel,
}

async fn bounded<T>(call: impl Future<Output = std::result::Result<tonic::Response<T>, Status>>) -> Result<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::new(format!("{:?}: {}", status.code(), status.message()))),
        Err(_) => Err(Error::new("no answer")),
    }
}

impl Operator {
    pub async fn of(url: &str) -> Result<Self> {
        Ok(Self { channel: connect(url).await? })
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }

    pub async fn status(&self) -> Result<etcd::StatusResponse> {
        bounded(self.maintenance().status(etcd::StatusRequest {})).await
    }

    /// The store's revision, by a linearizable read.
    pub async fn revision(&self) -> Result<Revision> {
        let read = etcd::RangeRequest { key: "nothing".into(), ..Default::default() };
        let response = bounded(self.kv().range(read)).await?;
        response.header.map(|header| header.revision).ok_or_else(|| Error::new("an answer without a header"))
    }

    pub async fn compact(&self, revision: Revision) -> Result<()> {
        bounded(self.kv().compact(etcd::CompactionRequest { revision, physical: false })).await.map(drop)
    }

    pub async fn hash(&self, revision: Revision) -> Result<(u32, Revision)> {
        let response = bounded(self.maintenance().hash_kv(etcd::HashKvRequest { revision })).await?;
        Ok((response.hash, response.compact_revision))
    }

    pub async fn move_leader(&self, target_id: u64) -> Result<()> {
        bounded(self.maintenance().move_leader(etcd::MoveLeaderRequest { target_id })).await.map(drop)
    }

    pub async fn disarm(&self) -> Result<()> {
        let alarm = etcd::AlarmType::Nospace as i32;
        let request = etcd::AlarmRequest { action: AlarmAction::Deactivate as i32, member_id: 0, alarm };
        bounded(self.maintenance().alarm(request)).await.map(drop)
    }

    /// The members, by a linearizable list.
    pub async fn members(&self) -> Result<Vec<etcd::Member>> {
        let request = etcd::MemberListRequest { linearizable: true };
        Ok(bounded(self.cluster().member_list(request)).await?.members)
    }

    pub async fn remove(&self, id: u64) -> Result<()> {
        bounded(self.cluster().member_remove(etcd::MemberRemoveRequest { id })).await.map(drop)
    }

    /// As a learner.
    pub async fn add(&self, peer_url: &str) -> Result<()> {
        let request = etcd::MemberAddRequest { peer_ur_ls: vec![peer_url.to_owned()], is_learner: true };
        bounded(self.cluster().member_add(request)).await.map(drop)
    }

    pub async fn promote(&self, id: u64) -> Result<()> {
        bounded(self.cluster().member_promote(etcd::MemberPromoteRequest { id })).await.map(drop)
    }
}
