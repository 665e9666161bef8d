//! etcdserverpb.Cluster: who belongs to the cluster, and changes of that.

use std::sync::Arc;

use keelson_wire::etcdserverpb::cluster_server;
use keelson_wire::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse, MemberPromoteRequest,
    MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse, MemberUpdateRequest, MemberUpdateResponse,
};
use keelson_wire::raft as wire;
use keelson_wire::raft::change_members_request::Change;
use tonic::{Request, Response, Status};

use super::Requests;
use crate::bootstrap::joining_member_id;
use crate::refusal::Refusal;

pub struct Cluster(pub Arc<Requests>);

impl Cluster {
    fn members(&self) -> Vec<Member> {
        let state = self.0.machine().state();
        let member = |(id, peer, is_learner): (u64, crate::raft::Peer, bool)| {
            let attributes = state.members.get(&id);
            Member {
                id,
                // A member that was never started has no name yet.
                name: attributes.map_or(peer.name, |attributes| attributes.name.clone()),
                peer_ur_ls: peer.urls,
                client_ur_ls: attributes.map(|attributes| attributes.client_urls.clone()).unwrap_or_default(),
                is_learner,
            }
        };
        self.0.consensus().members().into_iter().map(member).collect()
    }

    fn check_urls(urls: &[String]) -> Result<(), Status> {
        let valid = !urls.is_empty() && urls.iter().all(|url| is_peer_url(url));
        if valid { Ok(()) } else { Err(Refusal::BadMemberUrls.into()) }
    }
}

/// A scheme, a host and a port, and nothing else: a member that nobody can reach would count for the quorum all the same.
fn is_peer_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some((host, port)) = rest.and_then(|rest| rest.rsplit_once(':')) else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains(['/', ':', '?', '#', '@', ' ']),
    };
    is_host && port.parse::<u16>().is_ok()
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn member_add(&self, request: Request<MemberAddRequest>) -> Result<Response<MemberAddResponse>, Status> {
        let request = request.into_inner();
        Self::check_urls(&request.peer_ur_ls)?;
        let id = joining_member_id(&request.peer_ur_ls, self.0.consensus().cluster_id());
        let node = wire::Node { id, name: String::new(), peer_urls: request.peer_ur_ls.clone() };
        self.0.consensus().change_members(Change::Add(node), !request.is_learner).await?;
        let member =
            Member { id, peer_ur_ls: request.peer_ur_ls, is_learner: request.is_learner, ..Default::default() };
        let (header, members) = (self.0.header_now(), self.members());
        Ok(Response::new(MemberAddResponse { header, member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.0.consensus().change_members(Change::Remove(request.into_inner().id), false).await?;
        Ok(Response::new(MemberRemoveResponse { header: self.0.header_now(), members: self.members() }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        if self.0.consensus().peer(request.id).is_none() {
            return Err(Refusal::MemberNotFound.into());
        }
        Self::check_urls(&request.peer_ur_ls)?;
        let node = wire::Node { id: request.id, name: String::new(), peer_urls: request.peer_ur_ls };
        self.0.consensus().change_members(Change::Update(node), false).await?;
        Ok(Response::new(MemberUpdateResponse { header: self.0.header_now(), members: self.members() }))
    }

    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.0.consensus().read_barrier().await?;
        }
        Ok(Response::new(MemberListResponse { header: self.0.header_now(), members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.0.consensus().change_members(Change::Promote(request.into_inner().id), false).await?;
        Ok(Response::new(MemberPromoteResponse { header: self.0.header_now(), members: self.members() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_reached_at_a_host_and_a_port() {
        for url in ["http://127.0.0.1:2380", "https://name.example:1", "https://[::1]:2380"] {
            assert!(is_peer_url(url), "{url}");
        }
        let table =
            ["", "http://name", "ftp://a:1", "http://a:1/path", "http://:1", "http://a:x", "http://::1:5", "a:1"];
        for url in table {
            assert!(!is_peer_url(url), "{url}");
        }
    }
}
