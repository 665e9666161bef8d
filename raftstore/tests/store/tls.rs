//! Mutual TLS: who has no certificate of the CA, or another name than those that may come in, is kept out.

use std::path::Path;

use keelson_wire::etcdserverpb::kv_client::KvClient;
use keelson_wire::raft::raft_client::RaftClient;
use keelson_wire::raft::{AppendRequest, IdentifyRequest, ProposeRequest, Vote, VoteRequest};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::harness::{Cluster, Member, PATIENCE, get, own_loopback, put};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    fn identity(&self, common_name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(vec![own_loopback().to_string()]).expect("parameters");
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, directory: &Path, common_name: &str) -> [String; 3] {
        let (certificate, key) = self.identity(common_name);
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).expect("written");
            path.to_string_lossy().into_owned()
        };
        [write("ca.pem", &self.pem), write("server.pem", &certificate), write("server.key", &key)]
    }
}

/// Both doors by TLS, with these files (CA, certificate, key). The URLs of clients and of peers.
fn secure(member: &mut Member, clients: &[String; 3], peers: &[String; 3]) -> (String, String) {
    let url = |port: u16| format!("https://{}:{port}", own_loopback());
    let (client_url, peer_url) = (url(member.client_port), url(member.peer_port));
    member.flags = vec![
        format!("--listen-client-urls={client_url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        "--client-cert-auth".to_owned(),
    ];
    for (prefix, [ca, certificate, key]) in [("", clients), ("peer-", peers)] {
        member.flags.extend([
            format!("--{prefix}trusted-ca-file={ca}"),
            format!("--{prefix}cert-file={certificate}"),
            format!("--{prefix}key-file={key}"),
        ]);
    }
    (client_url, peer_url)
}

/// As soon as the door is open.
async fn first_put(kv: &mut KvClient<Channel>) {
    let started = std::time::Instant::now();
    while let Err(status) = kv.put(put("a", "1")).await {
        assert!(started.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_names_on_the_list_come_in() {
    let mut cluster = Cluster::new(1);
    let authority = Authority::new();
    let files = authority.write(cluster.directory.path(), "keelson:raftstore");
    let member = &mut cluster.members[0];
    let (client_url, _) = secure(member, &files, &files);
    member.flags.push("--client-cert-allowed-cn=keelson:apiserver,keelson:operator".to_owned());
    member.start();
    let connect = async |ca: &str, identity: Option<(String, String)>| {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Channel::from_shared(client_url.clone()).expect("a URL").tls_config(tls).expect("TLS");
        KvClient::new(endpoint.connect_lazy())
    };
    let mut api = connect(&authority.pem, Some(authority.identity("keelson:apiserver"))).await;
    first_put(&mut api).await;
    let stranger = Authority::new();
    for (who, identity) in [
        ("another name", Some(authority.identity("system:node:one"))),
        ("another CA", Some(stranger.identity("keelson:apiserver"))),
        ("nobody", None),
    ] {
        let mut client = connect(&authority.pem, identity).await;
        client.range(get("a")).await.expect_err(who);
    }
    assert_eq!(api.range(get("a")).await.expect("read").into_inner().count, 1);
}

/// Clients and peers have CAs of their own, and a certificate of the one is worth nothing at the other's door.
#[tokio::test(flavor = "multi_thread")]
async fn two_authorities_and_another_clusters_peer() {
    let mut cluster = Cluster::new(1);
    let (clients, peers) = (Authority::new(), Authority::new());
    let directory = |name: &str| {
        let directory = cluster.directory.path().join(name);
        std::fs::create_dir(&directory).expect("made");
        directory
    };
    let client_files = clients.write(&directory("clients"), "keelson:raftstore");
    let peer_files = peers.write(&directory("peers"), "keelson:raftstore");
    let member = &mut cluster.members[0];
    let (client_url, peer_url) = secure(member, &client_files, &peer_files);
    member.start();
    let connect = |url: &str, of: &Authority, as_whom: &Authority| {
        let (certificate, key) = as_whom.identity("keelson:raftstore");
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&of.pem));
        let tls = tls.identity(Identity::from_pem(certificate, key));
        Channel::from_shared(url.to_owned()).expect("a URL").tls_config(tls).expect("TLS").connect_lazy()
    };
    let mut kv = KvClient::new(connect(&client_url, &clients, &clients));
    first_put(&mut kv).await;
    let mut wrong = KvClient::new(connect(&client_url, &clients, &peers));
    wrong.range(get("a")).await.expect_err("a peer's certificate at the clients' door");
    let mut wrong = RaftClient::new(connect(&peer_url, &peers, &clients));
    wrong.identify(IdentifyRequest { asker: 0 }).await.expect_err("a client's certificate at the peers' door");

    let mut peer = RaftClient::new(connect(&peer_url, &peers, &peers));
    let own = peer.identify(IdentifyRequest { asker: 0 }).await.expect("it says who it is").into_inner();
    let id = own.members[0].id;
    // Of another cluster, and sure to lead: nothing of it may be believed.
    let vote = Some(Vote { term: 1_000, node: 7, committed: true });
    let other = own.cluster_id ^ 1;
    let refused = |status: tonic::Status| {
        assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
        assert_eq!(status.message(), "cluster ID mismatch");
    };
    let ask = VoteRequest { cluster_id: other, target: id, vote, ..Default::default() };
    refused(peer.vote(ask).await.expect_err("a vote"));
    refused(peer.pre_vote(ask).await.expect_err("a pre-vote"));
    refused(peer.propose(ProposeRequest { cluster_id: other, ..Default::default() }).await.expect_err("a proposal"));
    let append = AppendRequest { cluster_id: other, target: id, vote, ..Default::default() };
    let mut answers = peer.append(futures::stream::iter([append])).await.expect("a stream").into_inner();
    assert!(!matches!(answers.message().await, Ok(Some(_))), "an append of another cluster is answered");
    assert_eq!(kv.put(put("a", "2")).await.expect("it still leads").into_inner().header.expect("a header").revision, 3);
}
