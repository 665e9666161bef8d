//! Who belongs to the store.

use std::time::{Duration, Instant};

use clap::Subcommand;
use keelson_wire::etcdserverpb::cluster_client::ClusterClient;
use keelson_wire::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest,
};

use super::Endpoints;
use super::access::{Access, refused};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::layout::Layout;

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub enum Action {
    /// Show all members
    List,
    /// Announce a member, as a learner: it catches up and is promoted then
    Add {
        /// The name that it will be started with
        name: String,
        /// URLs at which the others will reach it
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
    },
    /// Let a learner that has caught up vote
    Promote {
        /// Its name or its id
        member: String,
    },
    /// Take a member out for good: it can come back only as a new one, with an empty data directory
    Remove {
        /// Its name or its id
        member: String,
    },
    /// Tell the others that a member is reached at other URLs
    Update {
        /// Its name or its id
        member: String,
        /// Its new peer URLs
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
    },
}

fn line(member: &Member) -> String {
    let name = if member.name.is_empty() { "(not started)" } else { &member.name };
    let role = if member.is_learner { "learner" } else { "voter" };
    let (peers, clients) = (member.peer_ur_ls.join(","), member.client_ur_ls.join(","));
    format!("{:<16x}  {name:<20} {role:<8} {peers:<32} {clients}", member.id)
}

pub async fn act(access: &Access, action: Action) -> Result<()> {
    match action {
        Action::List => {
            println!("{:<16}  {:<20} {:<8} {:<32} CLIENT URLS", "ID", "NAME", "ROLE", "PEER URLS");
            for member in access.members().await? {
                println!("{}", line(&member));
            }
        }
        Action::Add { name, peer_urls } => add(access, &name, peer_urls).await?,
        Action::Promote { member } => {
            let id = access.member(&member).await?.id;
            promote(access, id).await?;
            println!("{member} ({id:x}) votes now.");
        }
        Action::Remove { member } => {
            let id = access.member(&member).await?.id;
            let mut client = ClusterClient::new(access.any().await?);
            let removed = client.member_remove(MemberRemoveRequest { id }).await;
            removed.map_err(|status| refused("remove the member", &status))?;
            println!(
                "{member} ({id:x}) is no member any more. Stop it; to have it back, empty its data directory and\n\
                 announce it anew: keelson store member add {member} --peer-urls=..."
            );
        }
        Action::Update { member, peer_urls } => {
            let id = access.member(&member).await?.id;
            let mut client = ClusterClient::new(access.any().await?);
            let updated = client.member_update(MemberUpdateRequest { id, peer_ur_ls: peer_urls }).await;
            updated.map_err(|status| refused("update the member", &status))?;
            println!("{member} ({id:x}) is updated.");
        }
    }
    Ok(())
}

async fn promote(access: &Access, id: u64) -> Result<()> {
    let mut client = ClusterClient::new(access.any().await?);
    let promoted = client.member_promote(MemberPromoteRequest { id }).await;
    promoted.map(drop).map_err(|status| refused("promote the member", &status))
}

async fn announce(access: &Access, peer_ur_ls: Vec<String>) -> Result<MemberAddResponse> {
    let mut client = ClusterClient::new(access.any().await?);
    let added = client.member_add(MemberAddRequest { peer_ur_ls, is_learner: true }).await;
    added.map(tonic::Response::into_inner).map_err(|status| refused("add the member", &status))
}

async fn add(access: &Access, name: &str, peer_urls: Vec<String>) -> Result<()> {
    let added = announce(access, peer_urls.clone()).await?;
    let id = added.member.map_or(0, |member| member.id);
    let own = peer_urls.iter().map(|url| format!("{name}={url}"));
    let others = added.members.iter().filter(|member| member.id != id);
    let others = others.flat_map(|member| member.peer_ur_ls.iter().map(|url| format!("{}={url}", member.name)));
    let initial: Vec<String> = others.chain(own).collect();
    println!("{name} ({id:x}) is announced as a learner. Start it with an empty data directory and\n");
    println!("    --name={name} --initial-cluster-state=existing");
    println!("    --initial-advertise-peer-urls={}", peer_urls.join(","));
    println!("    --initial-cluster={}\n", initial.join(","));
    println!("and let it vote when it has caught up: keelson store member promote {id:x}");
    Ok(())
}

/// Adds those members of the cluster that the store does not know, and returns when all of them vote. What an earlier call
/// left undone is taken up.
pub async fn all_vote(layout: &Layout, cluster: &Cluster, limit: Duration) -> Result<()> {
    let later = cluster.founding_members()..cluster.members;
    if later.is_empty() {
        return Ok(());
    }
    let access = Access::new(layout, Endpoints::default())?;
    let started = Instant::now();
    for index in later {
        let url = cluster.peer_url(index);
        loop {
            match one_step(&access, &url).await {
                Ok(true) => break,
                Err(error) if started.elapsed() >= limit => return Err(error),
                Ok(false) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    Ok(())
}

/// Whether the member with this URL votes; if not, what comes next is done.
async fn one_step(access: &Access, url: &str) -> Result<bool> {
    let members = access.members().await?;
    match members.iter().find(|member| member.peer_ur_ls.iter().any(|own| own == url)) {
        Some(member) if !member.is_learner => Ok(true),
        Some(member) => promote(access, member.id).await.map(|()| true),
        None => announce(access, vec![url.to_owned()]).await.map(|_| false),
    }
}
