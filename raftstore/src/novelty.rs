//! Whether a founding member without data is new, or has lost what it had.
//!
//! The flags alone do not tell: both are started with the same ones, and both have the same id. But one that has lost its
//! vote and its entries must not take part under that id again: it could vote a second time in a term, and make a quorum
//! for a history without the entries that it acknowledged. So it asks the others first. (etcd asks, too, and goes on when
//! nobody answers.)
//!
//! It is new if a member with a history says so, after a look at what is committed; or if so many members are as young as
//! this one that all of them together are a quorum, for then no quorum has a history that this member was needed for.
//! What is not seen: a member that was lost within the moments between its first vote and its introduction to the others,
//! and one that is lost while another founding member, on which nothing was ever stored, comes for the first time and the
//! rest is away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keelson_wire::raft as wire;

use crate::Error;
use crate::disk::Identity;
use crate::raft::{Dialer, Peer};

const ANSWER: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log says what is waited for.
const REMINDER: Duration = Duration::from_secs(5);

/// What one of the others says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Young,
    Knows(bool),
    OtherCluster(u64),
    /// It does not answer, or cannot tell at present.
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    New,
    Wiped,
    OtherCluster(u64),
    AskAgain,
}

fn judge(founders: usize, answers: &[Answer]) -> Verdict {
    if answers.contains(&Answer::Knows(true)) {
        return Verdict::Wiped;
    }
    let other = |answer: &Answer| match answer {
        Answer::OtherCluster(id) => Some(*id),
        _ => None,
    };
    if let Some(id) = answers.iter().find_map(other) {
        return Verdict::OtherCluster(id);
    }
    let young = 1 + answers.iter().filter(|answer| **answer == Answer::Young).count();
    if answers.contains(&Answer::Knows(false)) || young > founders / 2 { Verdict::New } else { Verdict::AskAgain }
}

async fn ask(dialer: &Dialer, identity: &Identity, other: &Peer) -> Answer {
    let Ok(mut client) = dialer.client(other) else { return Answer::Nothing };
    let asked = client.identify(wire::IdentifyRequest { asker: identity.member_id });
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, asked).await else { return Answer::Nothing };
    let answer = answer.into_inner();
    match (answer.knows_asker, answer.is_young) {
        _ if answer.cluster_id != identity.cluster_id => Answer::OtherCluster(answer.cluster_id),
        (Some(knows), _) => Answer::Knows(knows),
        (None, true) => Answer::Young,
        (None, false) => Answer::Nothing,
    }
}

/// Returns when this member is known to be new. It asks until then: a founding member alone can do nothing anyway.
pub async fn assure(dialer: &Dialer, identity: &Identity, founders: &BTreeMap<u64, Peer>) -> Result<(), Error> {
    let others: Vec<&Peer> =
        founders.iter().filter(|(id, _)| **id != identity.member_id).map(|(_, peer)| peer).collect();
    let mut reminded = Instant::now();
    loop {
        let asked = others.iter().map(|other| ask(dialer, identity, other));
        let answers = futures::future::join_all(asked).await;
        match judge(founders.len(), &answers) {
            Verdict::New => return Ok(()),
            Verdict::Wiped => {
                let Identity { member_id, name, .. } = identity;
                return Err(Error::Options(format!(
                    "member {name} ({member_id:x}) has already been bootstrapped, and its data is gone: taking part again \
                     under its old id could cost the cluster acknowledged writes. Bring its data back; or remove it \
                     (keelson store member remove {member_id:x}), add it again (keelson store member add), and start it \
                     with --initial-cluster-state existing and an empty --data-dir"
                )));
            }
            Verdict::OtherCluster(other) => {
                return Err(Error::Options(format!(
                    "--initial-cluster and --initial-cluster-token make cluster {:x}, but a member that they name \
                     belongs to cluster {other:x}: to join that one, add this member there and start it with \
                     --initial-cluster-state existing",
                    identity.cluster_id
                )));
            }
            Verdict::AskAgain => {}
        }
        if reminded.elapsed() >= REMINDER {
            reminded = Instant::now();
            let names: Vec<&str> = others.iter().map(|other| other.name.as_str()).collect();
            tracing::info!(
                others = names.join(","),
                "no data here: waiting until the others tell whether this member is new"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_new_by_a_quorum_of_young_ones_or_by_the_word_of_one_with_a_history() {
        use Answer::*;
        let table: [(&str, usize, &[Answer], Verdict); 10] = [
            ("alone of three", 3, &[Nothing, Nothing], Verdict::AskAgain),
            ("two young ones of three", 3, &[Young, Nothing], Verdict::New),
            ("two young ones of five", 5, &[Young, Nothing, Nothing, Nothing], Verdict::AskAgain),
            ("three young ones of five", 5, &[Young, Young, Nothing, Nothing], Verdict::New),
            ("one of two", 2, &[Nothing], Verdict::AskAgain),
            ("late", 3, &[Knows(false), Nothing], Verdict::New),
            ("wiped", 3, &[Nothing, Knows(true)], Verdict::Wiped),
            ("wiped beside a young one", 3, &[Young, Knows(true)], Verdict::Wiped),
            ("of another cluster", 3, &[Young, OtherCluster(7)], Verdict::OtherCluster(7)),
            ("wiped, and another cluster", 3, &[OtherCluster(7), Knows(true)], Verdict::Wiped),
        ];
        for (name, founders, answers, expected) in table {
            assert_eq!(judge(founders, answers), expected, "{name}");
        }
    }
}
