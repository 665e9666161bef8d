//! The two stores side by side, and what can be asked of both.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::cluster_client::ClusterClient;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use keelson_wire::etcdserverpb::lease_client::LeaseClient;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::compare::{Answer, Described};
use crate::harness::{Cluster, PATIENCE, own_loopback, own_port};

/// A real etcd of one member. It ends with the test.
pub struct Etcd {
    process: Child,
    pub client_url: String,
    _directory: tempfile::TempDir,
}

impl Etcd {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let url = || format!("http://{}:{}", own_loopback(), own_port());
        let (client_url, peer_url) = (url(), url());
        let log = std::fs::File::create(directory.path().join("log")).expect("a log file");
        let process = Command::new("etcd")
            .args(["--name", "etcd", "--data-dir"])
            .arg(directory.path().join("data"))
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("etcd={peer_url}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("etcd is installed (Debian: etcd-server)");
        Self { process, client_url, _directory: directory }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.client_url.clone()).expect("a URL");
        let started = Instant::now();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) => assert!(started.elapsed() < PATIENCE, "etcd does not answer: {error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is asked of both.
#[derive(Clone, Debug)]
pub enum Step {
    Range(etcd::RangeRequest),
    Put(etcd::PutRequest),
    DeleteRange(etcd::DeleteRangeRequest),
    Txn(etcd::TxnRequest),
    Compact(etcd::CompactionRequest),
    Grant(etcd::LeaseGrantRequest),
    Revoke(i64),
    KeepAlive(i64),
    TimeToLive(etcd::LeaseTimeToLiveRequest),
    Leases,
    HashKv(i64),
    Alarm(etcd::AlarmRequest),
    MoveLeader(u64),
    MemberAdd(etcd::MemberAddRequest),
    MemberRemove(u64),
    MemberUpdate(etcd::MemberUpdateRequest),
    MemberPromote(u64),
}

/// The clients of one of the two.
#[derive(Clone)]
pub struct Side {
    pub channel: Channel,
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    cluster: ClusterClient<Channel>,
    pub maintenance: MaintenanceClient<Channel>,
}

impl Side {
    fn new(channel: Channel) -> Self {
        Self {
            kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
            lease: LeaseClient::new(channel.clone()),
            cluster: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            channel,
        }
    }

    pub async fn ask(&mut self, step: &Step) -> Answer {
        let answered = tokio::time::timeout(PATIENCE, self.ask_once(step));
        answered.await.unwrap_or_else(|_| Answer { text: "no answer".to_owned(), revision: None })
    }

    async fn ask_once(&mut self, step: &Step) -> Answer {
        match step.clone() {
            Step::Range(request) => self.kv.range(request).await.described(),
            Step::Put(request) => self.kv.put(request).await.described(),
            Step::DeleteRange(request) => self.kv.delete_range(request).await.described(),
            Step::Txn(request) => self.kv.txn(request).await.described(),
            Step::Compact(request) => self.kv.compact(request).await.described(),
            Step::Grant(request) => self.lease.lease_grant(request).await.described(),
            Step::Revoke(id) => self.lease.lease_revoke(etcd::LeaseRevokeRequest { id }).await.described(),
            Step::KeepAlive(id) => self.keep_alive(id).await.described(),
            Step::TimeToLive(request) => self.lease.lease_time_to_live(request).await.described(),
            Step::Leases => self.lease.lease_leases(etcd::LeaseLeasesRequest {}).await.described(),
            Step::HashKv(revision) => self.maintenance.hash_kv(etcd::HashKvRequest { revision }).await.described(),
            Step::Alarm(request) => self.maintenance.alarm(request).await.described(),
            Step::MoveLeader(target_id) => {
                self.maintenance.move_leader(etcd::MoveLeaderRequest { target_id }).await.described()
            }
            Step::MemberAdd(request) => self.cluster.member_add(request).await.described(),
            Step::MemberRemove(id) => self.cluster.member_remove(etcd::MemberRemoveRequest { id }).await.described(),
            Step::MemberUpdate(request) => self.cluster.member_update(request).await.described(),
            Step::MemberPromote(id) => self.cluster.member_promote(etcd::MemberPromoteRequest { id }).await.described(),
        }
    }

    async fn keep_alive(&mut self, id: i64) -> Result<tonic::Response<etcd::LeaseKeepAliveResponse>, Status> {
        let once = tokio_stream::once(etcd::LeaseKeepAliveRequest { id });
        let mut answers = self.lease.lease_keep_alive(once).await?.into_inner();
        let answer = answers.message().await?;
        answer.map(tonic::Response::new).ok_or_else(|| Status::unknown("the stream ended without an answer"))
    }

    pub async fn own_id(&mut self) -> u64 {
        let status = self.maintenance.status(etcd::StatusRequest {}).await.expect("a status").into_inner();
        status.header.expect("a header").member_id
    }
}

pub struct Pair {
    pub etcd: Side,
    pub ours: Side,
    /// The revision that both have.
    pub revision: i64,
    _etcd: Etcd,
    _cluster: Cluster,
}

impl Pair {
    pub async fn started() -> Self {
        let etcd = Etcd::start();
        let mut cluster = Cluster::new(1);
        // etcd's shortest lease depends on the election timeout, so it must be etcd's.
        cluster.members[0].flags.extend(["--election-timeout=1000", "--heartbeat-interval=100"].map(str::to_owned));
        cluster.members[0].start();
        let mut pair = Self {
            etcd: Side::new(etcd.channel().await),
            ours: Side::new(cluster.members[0].channel().await),
            revision: 1,
            _etcd: etcd,
            _cluster: cluster,
        };
        // etcd opens its door before it has a leader.
        let ready = etcd::RangeRequest { key: "ready".into(), ..Default::default() };
        pair.judge(&Step::Range(ready), "ready").await;
        pair
    }

    /// Asks both and compares. Returns what they answered.
    pub async fn judge(&mut self, step: &Step, place: &str) -> Answer {
        let (theirs, ours) = tokio::join!(self.etcd.ask(step), self.ours.ask(step));
        assert_eq!(theirs.text, ours.text, "{place}: {step:?}: left is etcd's answer, right is raftstore's");
        self.revision = theirs.revision.unwrap_or(self.revision);
        theirs
    }
}
