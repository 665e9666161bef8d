//! A cluster of one, made of the member that is left after the quorum was lost.
//!
//! - Everything in the survivor's log is applied, also what it was not yet told to be committed: it may have been
//!   acknowledged. Only what was never sent to this member is gone with the others.
//! - Cluster and member get new ids: an old member that comes back is refused by it.
//! - It is refused while the member runs, while another member of the cluster answers, and while one may be alive behind
//!   a cut network, unless `--others-are-gone` says that it is not.
//! - The new state and log are made beside the old ones and take their place in one step; the old ones are kept.

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use keelson_process::identity::TlsFiles;
use keelson_wire::raft as wire;
use keelson_wire::raft::JournalFrame;
use keelson_wire::raft::command::Change;
use keelson_wire::raft::entry::Payload;
use prost::Message as _;
use tokio::net::TcpStream;

use super::id;
use crate::Error;
use crate::disk::{Batch, DataDirectory, Identity, Storage};
use crate::journal::Journal;
use crate::mvcc::{Key, State, Writer};
use crate::raft::{Dialer, Peer, PeerTls};

const CACHE: u64 = 24 << 20;
const TOGETHER: usize = 256;
const READ_BYTES: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args)]
pub struct Options {
    /// The survivor's data directory
    #[arg(long)]
    data_dir: PathBuf,
    /// The members that cannot be reached are gone for good, and not alive behind a cut network
    #[arg(long)]
    others_are_gone: bool,
    /// The name under which the survivor goes on [default: its own]
    #[arg(long)]
    name: Option<String>,
    /// Its peer URLs from now on [default: its own]
    #[arg(long, value_delimiter = ',')]
    initial_advertise_peer_urls: Vec<String>,
    /// The members' certificate, to ask the others
    #[arg(long)]
    peer_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    peer_key_file: Option<PathBuf>,
    /// The CA of the members' certificates
    #[arg(long)]
    peer_trusted_ca_file: Option<PathBuf>,
}

/// What is known of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    Answers,
    /// Nothing listens at its address, or a member of another cluster does.
    Down,
    Unknown,
}

/// Whether a cluster of one may be made.
fn judge(others: &[(String, Other)], others_are_gone: bool) -> Result<(), String> {
    let named = |state: Other| {
        let names = others.iter().filter(|(_, other)| *other == state).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let answering = others.iter().filter(|(_, other)| *other == Other::Answers).count();
    let members = others.len() + 1;
    let quorum = members / 2 + 1;
    if answering > 0 && answering + 1 >= quorum {
        return Err(format!(
            "{} answer(s), and with this member that is a quorum: nothing is lost. Start this member as before",
            named(Other::Answers)
        ));
    }
    if answering > 0 {
        return Err(format!(
            "{} still run(s) for this cluster. Stop it, and recover the one member of all whose raft index is highest",
            named(Other::Answers)
        ));
    }
    let unknown = named(Other::Unknown);
    if !unknown.is_empty() && !others_are_gone {
        return Err(format!(
            "{unknown} cannot be asked and may be alive behind a cut network; then there would be two clusters. If \
             they are gone for good, say so with --others-are-gone"
        ));
    }
    Ok(())
}

async fn look(dialer: &Dialer, cluster_id: u64, peer: &Peer) -> Other {
    let Some(address) = peer.urls.first().and_then(|url| url.split("://").nth(1)) else { return Other::Unknown };
    match tokio::time::timeout(PATIENCE, TcpStream::connect(address.trim_end_matches('/'))).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Other::Down,
        Ok(Ok(_)) => {}
        _ => return Other::Unknown,
    }
    let Ok(mut client) = dialer.client(peer) else { return Other::Unknown };
    match tokio::time::timeout(PATIENCE, client.identify(wire::IdentifyRequest { asker: 0 })).await {
        Ok(Ok(answer)) if answer.get_ref().cluster_id == cluster_id => Other::Answers,
        Ok(Ok(_)) => Other::Down,
        _ => Other::Unknown,
    }
}

fn ask(options: &Options, cluster_id: u64, others: &[Peer]) -> Result<(), Error> {
    let files = (&options.peer_trusted_ca_file, &options.peer_cert_file, &options.peer_key_file);
    let tls: Option<PeerTls> = match files {
        (Some(ca), Some(certificate), Some(key)) => {
            let mut config = TlsFiles::new(ca, certificate, key).client_config()?;
            config.alpn_protocols = vec![b"h2".to_vec()];
            Some(Arc::new(config))
        }
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Options(format!("cannot start: {error}")))?;
    let seen = runtime.block_on(async {
        let dialer = Dialer::new(cluster_id, tls);
        let looks = others.iter().map(|peer| look(&dialer, cluster_id, peer));
        futures::future::join_all(looks).await
    });
    let names = others.iter().map(|peer| format!("{} ({})", peer.name, peer.urls.join(",")));
    judge(&names.zip(seen).collect::<Vec<_>>(), options.others_are_gone)
        .map_err(|why| Error::Options(format!("not recovered, and nothing was changed: {why}")))
}

/// The state with everything that the log has, in the database that will be the next.
fn replay(next: Arc<dyn Storage>, journal: &Journal) -> Result<(Writer, u64), Error> {
    let mut writer = Writer::new(State::load(next)?);
    let reader = journal.reader();
    let mut replayed = 0;
    loop {
        let from = writer.state().position.applied.map_or(0, |applied| applied.index + 1);
        let entries = reader.read(from, u64::MAX, READ_BYTES)?;
        if entries.is_empty() {
            return Ok((writer, replayed));
        }
        for entry in entries {
            let Some(id) = entry.log_id else { continue };
            match entry.payload {
                Some(Payload::Command(encoded)) => {
                    let command = wire::Command::decode(encoded).map_err(crate::disk::Error::from)?;
                    writer.apply(&command)?;
                    replayed += u64::from(!matches!(command.change, None | Some(Change::Member(_))));
                }
                Some(Payload::Membership(membership)) => {
                    writer.membership(wire::StoredMembership { log_id: Some(id), membership: Some(membership) });
                }
                None => {}
            }
            writer.applied(id);
        }
        writer.finish()?;
    }
}

pub fn recover(options: &Options) -> Result<String, Error> {
    let mut directory = DataDirectory::take(&options.data_dir)?
        .ok_or_else(|| Error::Options(format!("{} is no member's data directory", options.data_dir.display())))?;
    let old = directory.owner().clone();
    // Its lock keeps a member away, and shows one that runs.
    let current = directory.open_state(CACHE).map_err(|error| match error {
        crate::disk::Error::InUse { .. } => {
            Error::Options(format!("the member runs on {}: stop it first", options.data_dir.display()))
        }
        error => error.into(),
    })?;
    let journal = Journal::open(&directory.log_path())?;
    let (_, next) = directory.begin_state(CACHE)?;
    let next: Arc<dyn Storage> = Arc::new(next);
    let mut batch = Batch::default();
    for record in current.scan(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = record?;
        batch.put(key.to_vec(), value);
        if batch.len() >= TOGETHER {
            next.write(std::mem::take(&mut batch))?;
        }
    }
    next.write(batch)?;
    let (mut writer, replayed) = replay(next.clone(), &journal)?;
    let membership = writer.state().position.membership.membership.clone().unwrap_or_default();
    let peer = |node: &wire::Node| Peer { name: node.name.clone(), urls: node.peer_urls.clone() };
    let voters: Vec<u64> = membership.voters.iter().flat_map(|set| set.ids.iter().copied()).collect();
    let others: Vec<Peer> = membership
        .nodes
        .iter()
        .filter(|node| node.id != old.member_id && voters.contains(&node.id))
        .map(peer)
        .collect();
    ask(options, old.cluster_id, &others)?;

    let own = membership.nodes.iter().find(|node| node.id == old.member_id).cloned().unwrap_or_default();
    let given = &options.initial_advertise_peer_urls;
    let urls = if given.is_empty() { own.peer_urls } else { given.clone() };
    let name = options.name.clone().unwrap_or(old.name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_be_bytes();
    let (old_cluster, old_member) = (old.cluster_id.to_be_bytes(), old.member_id.to_be_bytes());
    let cluster_id = id(&[b"recovered cluster", &old_cluster, &old_member, &now]);
    let member_id = id(&[b"recovered member", &old_cluster, &old_member, &now]);

    // As if this member had been elected in a term of its own and had committed that it is alone.
    let applied = writer.state().position.applied.unwrap_or_default();
    let term = journal.head().vote.map_or(0, |vote| vote.term).max(applied.term) + 1;
    let alone = wire::LogId { term, index: applied.index + 1 };
    let node = wire::Node { id: member_id, name: name.clone(), peer_urls: urls };
    let membership = wire::Membership { voters: vec![wire::VoterSet { ids: vec![member_id] }], nodes: vec![node] };
    writer.membership(wire::StoredMembership { log_id: Some(alone), membership: Some(membership) });
    writer.applied(alone);
    let state = writer.finish()?.state;
    let mut batch = Batch::default();
    state.alarms.iter().for_each(|(member, alarm)| batch.remove(Key::Alarm(*member, *alarm).encode()));
    state.members.keys().for_each(|member| batch.remove(Key::Member(*member).encode()));
    next.write(batch)?;
    next.sync()?;
    let mut log = Journal::open(&directory.next_log_path()?)?;
    let vote = wire::Vote { term, node: member_id, committed: false };
    log.write(JournalFrame { vote: Some(vote), committed: Some(alone), purged: Some(alone), ..Default::default() })?;
    let kept = directory.become_another(Identity { cluster_id, member_id, name: name.clone() })?;
    Ok(format!(
        "{name} is now the one member {member_id:x} of the new cluster {cluster_id:x}, at revision {} ({replayed} \
         change(s) of its log were applied). What it was before is in {}.\nWhat to do next: start it, look at your data, \
         and add members again (member add). Never start the old members on their old data.",
        state.revision,
        kept.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_of_one_is_made_only_when_there_can_be_no_other() {
        use Other::{Answers, Down, Unknown};
        // The others, whether they are said to be gone, and whether it may be.
        let table: [(&[Other], bool, bool); 10] = [
            (&[], false, true),
            (&[Down, Down], false, true),
            (&[Down, Unknown], false, false),
            (&[Down, Unknown], true, true),
            (&[Answers, Down], false, false),
            (&[Answers, Unknown], true, false),
            (&[Down, Down, Down, Down], false, true),
            (&[Answers, Down, Down, Down], true, false),
            (&[Answers, Answers, Down, Down], true, false),
            (&[Answers], true, false),
        ];
        for (others, gone, allowed) in table {
            let named: Vec<_> = others.iter().enumerate().map(|(at, other)| (format!("m{at}"), *other)).collect();
            assert_eq!(judge(&named, gone).is_ok(), allowed, "{others:?}, gone: {gone}");
        }
        let message = judge(&[("m2".to_owned(), Answers), ("m3".to_owned(), Down)], false).expect_err("a quorum");
        assert!(message.contains("Start this member as before"), "{message}");
    }
}
