//! What must be there, what is there, and what the watch showed: pure.

use std::collections::BTreeSet;

use super::watch::{Followed, Sight};
use super::writer::Written;
use crate::judge::{Kind, Violation};

/// `kept`: what the API server lists when all is quiet.
pub fn judge(written: &Written, kept: &BTreeSet<String>, followed: &Followed) -> Vec<Violation> {
    let Written { made, present, .. } = written;
    let mut found = Vec::new();
    let lost = present.difference(kept).map(|name| (Kind::LostWrite, format!("{name} was acknowledged and is gone")));
    let odd = kept.difference(present).map(|name| (Kind::Unexplained, format!("{name} is there and should not be")));
    found.extend(lost.chain(odd));
    found.extend(followed.failure.iter().map(|failure| (Kind::WatchStuck, failure.clone())));
    let (mut shown, mut ever) = (BTreeSet::new(), BTreeSet::new());
    let mut last = 0;
    for Sight { kind, name, version } in &followed.events {
        if *version <= last {
            found.push((Kind::WatchOrder, format!("{kind} {name} of version {version} after version {last}")));
        }
        last = *version;
        ever.insert(name);
        match kind.as_str() {
            "ADDED" if !shown.insert(name) => found.push((Kind::WatchTwice, format!("{name} was added twice"))),
            "DELETED" if !shown.remove(name) => {
                found.push((Kind::WatchWrong, format!("{name} was deleted and not there")));
            }
            "ADDED" | "DELETED" => {}
            _ => found.push((Kind::WatchWrong, format!("{kind} {name}, which nobody did"))),
        }
    }
    if followed.failure.is_none() {
        let unseen = made.iter().filter(|name| !ever.contains(name));
        found.extend(unseen.map(|name| (Kind::WatchGap, format!("{name} was made and not shown"))));
        let stale = shown.into_iter().filter(|name| !kept.contains(*name));
        found.extend(stale.map(|name| (Kind::WatchGap, format!("{name} was deleted and that was not shown"))));
    }
    found.into_iter().map(|(kind, text)| Violation::new(kind, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> BTreeSet<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// As "+name" and "-name", with versions that go up.
    fn watched(events: &str) -> Followed {
        let sight = |(at, event): (usize, &str)| {
            let (sign, name) = event.split_at(1);
            let kind = if sign == "+" { "ADDED" } else { "DELETED" };
            Sight { kind: kind.to_owned(), name: name.to_owned(), version: at as u64 + 1 }
        };
        let events = events.split_whitespace().enumerate().map(sight).collect();
        Followed { sessions: 1, events, failure: None }
    }

    fn kinds(present: &str, kept: &str, followed: &Followed) -> Vec<Kind> {
        let made = names(present).union(&names("a b")).cloned().collect();
        let written = Written { made, present: names(present), answered: 0, refused: 0 };
        judge(&written, &names(kept), followed).into_iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn what_is_as_it_should_be_is_found_good() {
        assert_eq!(kinds("b c", "b c", &watched("+a +b +c -a")), []);
    }

    #[test]
    fn each_broken_promise_is_found() {
        assert_eq!(kinds("a b", "a", &watched("+a +b -b")), [Kind::LostWrite]);
        assert_eq!(kinds("a", "a b", &watched("+a +b")), [Kind::Unexplained]);
        assert_eq!(kinds("a b", "a b", &watched("+a")), [Kind::WatchGap]);
        assert_eq!(kinds("a", "a", &watched("+a")), [Kind::WatchGap], "b was made and deleted, and neither was shown");
        assert_eq!(kinds("b", "b", &watched("+a +b")), [Kind::WatchGap]);
        assert_eq!(kinds("a b", "a b", &watched("+a +a +b")), [Kind::WatchTwice]);
        assert_eq!(kinds("a b", "a b", &watched("+a +b -c")), [Kind::WatchWrong]);
        let mut disordered = watched("+a +b");
        disordered.events[1].version = 1;
        assert_eq!(kinds("a b", "a b", &disordered), [Kind::WatchOrder]);
        let stuck = Followed { failure: Some("410".to_owned()), ..watched("+a") };
        assert_eq!(kinds("a b", "a b", &stuck), [Kind::WatchStuck]);
    }
}
