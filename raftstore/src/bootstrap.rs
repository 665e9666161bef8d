//! Who this member is, and which cluster it belongs to: from its data, from the flags, or from the members that it joins.

use std::collections::BTreeMap;
use std::time::Duration;

use keelson_wire::raft as wire;
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::disk::{DataDirectory, Identity};
use crate::options::{InitialState, Options};
use crate::raft::{Dialer, Peer, PeerTls};

/// How this member begins.
pub struct Beginning {
    pub identity: Identity,
    /// The founding members, when this member is one of them.
    pub founders: Option<BTreeMap<u64, Peer>>,
    /// A founding member that has no data: nothing here tells whether it had some once.
    pub is_without_data: bool,
}

pub fn hash_id<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let sum = hash.finalize();
    let id = sum.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
    // 0 means "nobody" in etcd's API.
    id.max(1)
}

fn founding_member_id(peer: &Peer, token: &str) -> u64 {
    let mut urls: Vec<&str> = peer.urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    hash_id(urls.into_iter().chain([token]).map(str::as_bytes))
}

/// Every founding member writes the first entry of the log by itself, so all must write the same: with other names or URLs
/// it is another cluster.
fn founded_cluster_id(founders: &BTreeMap<u64, Peer>) -> u64 {
    let ids: Vec<[u8; 8]> = founders.keys().map(|id| id.to_be_bytes()).collect();
    let parts = founders.values().zip(&ids).flat_map(|(peer, id)| {
        let texts = std::iter::once(&peer.name).chain(&peer.urls).map(|text| text.as_bytes());
        std::iter::once(id.as_slice()).chain(texts)
    });
    hash_id(parts)
}

/// A new id at each call: a member that comes back without its data is another member.
pub fn joining_member_id(urls: &[String], cluster_id: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (cluster, now) = (cluster_id.to_be_bytes(), now.as_nanos().to_be_bytes());
    hash_id(urls.iter().map(|url| url.as_bytes()).chain([cluster.as_slice(), now.as_slice()]))
}

/// NAME=URL,NAME=URL: a name may stand more than once, with one URL each. Their order is no matter.
pub fn parse_initial_cluster(text: &str) -> Result<Vec<Peer>, Error> {
    let mut peers: Vec<Peer> = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let invalid = || Error::Options(format!("--initial-cluster: {part:?} is not NAME=URL"));
        let (name, url) = part.split_once('=').ok_or_else(invalid)?;
        if name.is_empty() || !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err(invalid());
        }
        match peers.iter_mut().find(|peer| peer.name == name) {
            Some(peer) => peer.urls.push(url.to_owned()),
            None => peers.push(Peer { name: name.to_owned(), urls: vec![url.to_owned()] }),
        }
    }
    if peers.is_empty() {
        return Err(Error::Options("--initial-cluster names no member".to_owned()));
    }
    peers.iter_mut().for_each(|peer| peer.urls.sort_unstable());
    Ok(peers)
}

/// What the data directory says wins over the flags, as in etcd.
pub async fn begin(options: &Options, data_dir: &std::path::Path, tls: Option<PeerTls>) -> Result<Beginning, Error> {
    let initial = match &options.initial_cluster {
        Some(text) => parse_initial_cluster(text)?,
        None => vec![Peer { name: options.name.clone(), urls: options.initial_advertise_peer_urls.clone() }],
    };
    let founders: BTreeMap<u64, Peer> =
        initial.iter().map(|peer| (founding_member_id(peer, &options.initial_cluster_token), peer.clone())).collect();
    if founders.len() != initial.len() {
        return Err(Error::Options("--initial-cluster: two members have the same URLs".to_owned()));
    }
    if let Some(identity) = DataDirectory::identity(data_dir)? {
        if identity.name != options.name {
            return Err(Error::Options(format!(
                "{} holds the data of member {:?}, but --name is {:?}: use its name, or another --data-dir",
                data_dir.display(),
                identity.name,
                options.name
            )));
        }
        let founders = founders.contains_key(&identity.member_id).then_some(founders);
        return Ok(Beginning { identity, founders, is_without_data: false });
    }
    let own = initial.iter().find(|peer| peer.name == options.name).ok_or_else(|| {
        Error::Options(format!("--initial-cluster has no member {:?}, which --name says this is", options.name))
    })?;
    if options.initial_cluster_state == InitialState::Existing {
        let others: Vec<Peer> = initial.iter().filter(|peer| peer.name != options.name).cloned().collect();
        let identity = identify(&Dialer::new(0, tls), own, &others).await?;
        return Ok(Beginning { identity, founders: None, is_without_data: false });
    }
    let identity = Identity {
        cluster_id: founded_cluster_id(&founders),
        member_id: founding_member_id(own, &options.initial_cluster_token),
        name: options.name.clone(),
    };
    Ok(Beginning { identity, founders: Some(founders), is_without_data: true })
}

/// Asks the members as whom this one was added. They may be starting too, so it asks for a while.
async fn identify(dialer: &Dialer, own: &Peer, others: &[Peer]) -> Result<Identity, Error> {
    let mut last = "no other member is named".to_owned();
    for _ in 0..30 {
        for other in others {
            let mut client = dialer.client(other).map_err(|status| Error::Options(status.message().to_owned()))?;
            let answer = match client.identify(wire::IdentifyRequest { asker: 0 }).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => {
                    last = format!("{}: {}", other.name, status.message());
                    continue;
                }
            };
            let same = |node: &&wire::Node| node.peer_urls.iter().any(|url| own.urls.contains(url));
            match answer.members.iter().find(same) {
                Some(node) => {
                    return Ok(Identity { cluster_id: answer.cluster_id, member_id: node.id, name: own.name.clone() });
                }
                None => last = format!("{} knows no member with the URLs {:?}: add it first", other.name, own.urls),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Err(Error::Options(format!("cannot join the cluster: {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_clusters_are_read_and_refused() {
        let peers = parse_initial_cluster("a=http://1:1,b=https://2:2,a=http://1:3").expect("two members");
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[0].urls, ["http://1:1", "http://1:3"]);
        for text in ["", "a", "=http://1:1", "a=ftp://1:1"] {
            assert!(parse_initial_cluster(text).is_err(), "{text}");
        }
    }

    #[test]
    fn founders_that_are_told_different_members_are_of_different_clusters() {
        let cluster_id = |text: &str| {
            let founders = parse_initial_cluster(text).expect("members");
            founded_cluster_id(&founders.into_iter().map(|peer| (founding_member_id(&peer, "token"), peer)).collect())
        };
        let own = cluster_id("a=http://a:1,b=http://b:1,b=http://b:2");
        assert_eq!(own, cluster_id("b=http://b:2,a=http://a:1,b=http://b:1"));
        assert_ne!(own, cluster_id("a=http://a:1,c=http://b:1,c=http://b:2"));
        assert_ne!(own, cluster_id("a=http://a:1,b=http://b:1"));
    }

    #[test]
    fn ids_depend_on_urls_and_token_and_not_on_the_order() {
        let peer = |urls: &[&str]| Peer { name: "a".into(), urls: urls.iter().map(ToString::to_string).collect() };
        let id = founding_member_id(&peer(&["http://1", "http://2"]), "token");
        assert_eq!(id, founding_member_id(&peer(&["http://2", "http://1"]), "token"));
        assert_ne!(id, founding_member_id(&peer(&["http://1", "http://2"]), "other"));
        let urls = ["http://1".to_owned()];
        assert_ne!(joining_member_id(&urls, 1), joining_member_id(&urls, 1));
    }
}
