//! The way to a store's members.

use std::path::Path;
use std::time::Duration;

use keelson_wire::etcdserverpb::cluster_client::ClusterClient;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;
use keelson_wire::etcdserverpb::{Member, MemberListRequest, StatusRequest, StatusResponse};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::Endpoints;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::Layout;

const CONNECT: Duration = Duration::from_secs(2);

pub struct Access {
    endpoints: Vec<String>,
    tls: Option<ClientTlsConfig>,
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::file("read", path, error))
}

impl Access {
    pub fn new(layout: &Layout, given: Endpoints) -> Result<Self> {
        if !given.endpoints.is_empty() {
            let tls = match (&given.cacert, &given.cert, &given.key) {
                (None, None, None) => None,
                (Some(ca), Some(certificate), Some(key)) => Some(tls(ca, certificate, key)?),
                _ => return Err(Error::new("--cacert, --cert and --key belong together").hint("give all three")),
            };
            let whole = |url: String| if url.contains("://") { url } else { format!("http://{url}") };
            return Ok(Self { endpoints: given.endpoints.into_iter().map(whole).collect(), tls });
        }
        let Some(cluster) = Cluster::load(layout)? else {
            return Err(Error::new(format!("there is no cluster below {}", layout.root().display()))
                .hint("name its directory with --root, or the members of a store with --endpoints"));
        };
        let endpoints = (0..cluster.members).map(|index| cluster.client_url(index)).collect();
        let (certificate, key) = (layout.pki_file("operator", "crt"), layout.pki_file("operator", "key"));
        Ok(Self { endpoints, tls: Some(tls(&layout.pki_file("ca", "crt"), &certificate, &key)?) })
    }

    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    pub async fn connect(&self, url: &str) -> Result<Channel> {
        let failed = |error: &dyn std::fmt::Display| Error::tried(format!("reach {url}"), error);
        let endpoint = Channel::from_shared(url.to_owned()).map_err(|error| failed(&error))?.connect_timeout(CONNECT);
        let endpoint = match &self.tls {
            Some(tls) if url.starts_with("https://") => {
                endpoint.tls_config(tls.clone()).map_err(|error| failed(&error))?
            }
            _ => endpoint,
        };
        endpoint.connect().await.map_err(|error| failed(&error))
    }

    /// The first member that answers.
    pub async fn any(&self) -> Result<Channel> {
        let mut last = None;
        for url in &self.endpoints {
            match self.connect(url).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = Some(error),
            }
        }
        let why = last.map_or_else(String::new, |error| format!(": {error}"));
        Err(Error::new(format!("no member answers{why}")).hint(
            "start the members (`keelson up`); if most of them are lost for good, see `keelson store recover --help`",
        ))
    }

    pub async fn members(&self) -> Result<Vec<Member>> {
        let mut client = ClusterClient::new(self.any().await?);
        let listed = client.member_list(MemberListRequest { linearizable: false }).await;
        listed.map(|listed| listed.into_inner().members).map_err(|status| refused("list the members", &status))
    }

    /// A member by its name or by its id.
    pub async fn member(&self, wanted: &str) -> Result<Member> {
        let members = self.members().await?;
        let is_wanted = |member: &&Member| member.name == wanted || format!("{:x}", member.id) == wanted;
        let known: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let found = members.iter().find(is_wanted).cloned();
        found.ok_or_else(|| {
            Error::new(format!("the store has no member {wanted}"))
                .hint(format!("it has {}; `keelson store member list` shows their ids", known.join(", ")))
        })
    }

    pub async fn status(&self, url: &str) -> Result<StatusResponse> {
        let answer = MaintenanceClient::new(self.connect(url).await?).status(StatusRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refused("ask the member", &status))
    }

    /// The endpoint that leads.
    pub async fn leader(&self) -> Result<String> {
        for url in &self.endpoints {
            if let Ok(status) = self.status(url).await
                && status.header.is_some_and(|header| header.member_id == status.leader)
            {
                return Ok(url.clone());
            }
        }
        Err(Error::new("none of the endpoints leads")
            .hint("name all members in --endpoints; without a quorum there is no leader: start the other members"))
    }
}

fn tls(ca: &Path, certificate: &Path, key: &Path) -> Result<ClientTlsConfig> {
    let identity = Identity::from_pem(read(certificate)?, read(key)?);
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)).identity(identity))
}

/// What the store said, with what a person can do about it.
pub fn refused(what: &str, status: &tonic::Status) -> Error {
    let error = Error::tried(what, status.message());
    let advice = [
        ("in sync with leader", "it is still catching up: try again in a moment"),
        ("not enough started members", "start the members that are down first: the change would cost the quorum"),
        (
            "no leader",
            "start enough members for a quorum; if they are lost for good, see `keelson store recover --help`",
        ),
        ("permission denied", "use a certificate whose name is in --client-cert-allowed-cn"),
        ("required revision has been compacted", "that history is gone already; there is nothing to do"),
        ("future revision", "`keelson store status` shows the present revision"),
        ("Peer URLs already exists", "remove the member that has these URLs first: keelson store member remove NAME"),
        ("can only promote a learner", "it is a voter already; there is nothing to do"),
    ];
    match advice.iter().find(|(words, _)| status.message().contains(words)) {
        Some((_, advice)) => error.hint(*advice),
        None => error,
    }
}
