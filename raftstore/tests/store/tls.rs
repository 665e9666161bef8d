//! Mutual TLS: who has no certificate of the CA, or another name than those that may come in, is kept out.

use std::path::Path;

use keelson_wire::etcdserverpb::kv_client::KvClient;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::harness::{Cluster, PATIENCE, get, own_loopback, put};

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

#[tokio::test(flavor = "multi_thread")]
async fn only_the_names_on_the_list_come_in() {
    let mut cluster = Cluster::new(1);
    let authority = Authority::new();
    let [ca, certificate, key] = authority.write(cluster.directory.path(), "keelson:raftstore");
    let member = &mut cluster.members[0];
    let client_url = format!("https://{}:{}", own_loopback(), member.client_port);
    let peer_url = format!("https://{}:{}", own_loopback(), member.peer_port);
    member.flags = vec![
        format!("--listen-client-urls={client_url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--trusted-ca-file={ca}"),
        format!("--cert-file={certificate}"),
        format!("--key-file={key}"),
        format!("--peer-trusted-ca-file={ca}"),
        format!("--peer-cert-file={certificate}"),
        format!("--peer-key-file={key}"),
        "--client-cert-auth".to_owned(),
        "--client-cert-allowed-cn=keelson:apiserver,keelson:operator".to_owned(),
    ];
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
    let started = std::time::Instant::now();
    while let Err(status) = api.put(put("a", "1")).await {
        assert!(started.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
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
