//! What a client asks next: chosen by its own seeded dice, and by what it has learnt.

use std::collections::HashMap;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::all_keys;
use crate::history::{Answer, Change, Guard, Record, Reply, Request, Revision, Span};

/// Few enough that clients meet on them.
const KEYS: usize = 12;

#[derive(Clone, Copy)]
enum Sort {
    Put,
    Delete,
    Swap,
    Transaction,
    Get,
    Range,
    ReadTransaction,
    Serializable,
    Past,
}

/// How often each is asked, in a hundred.
type Mix = &'static [(Sort, u32)];

const ALL: Mix = &[
    (Sort::Put, 26),
    (Sort::Delete, 7),
    (Sort::Swap, 15),
    (Sort::Transaction, 9),
    (Sort::Get, 20),
    (Sort::Range, 6),
    (Sort::ReadTransaction, 4),
    (Sort::Serializable, 10),
    (Sort::Past, 3),
];

/// A write that nobody answers keeps a client from asking on; who only reads goes on where a member is cut off.
const READS: Mix = &[(Sort::Get, 60), (Sort::Range, 25), (Sort::ReadTransaction, 15)];

pub struct Generator {
    client: u32,
    mix: Mix,
    dice: StdRng,
    written: u64,
    /// What this client believes of each key; it may be outdated, which is what guards are for.
    known: HashMap<String, Option<Record>>,
    revision: Revision,
}

impl Generator {
    pub fn new(client: u32, dice: StdRng) -> Self {
        Self { client, mix: ALL, dice, written: 0, known: HashMap::new(), revision: 0 }
    }

    /// Of one that changes nothing.
    pub fn reader(client: u32, dice: StdRng) -> Self {
        Self { mix: READS, ..Self::new(client, dice) }
    }

    pub fn dice(&mut self) -> &mut StdRng {
        &mut self.dice
    }

    pub fn request(&mut self) -> Request {
        let sort = self.mix.choose_weighted(&mut self.dice, |(_, weight)| *weight).map_or(Sort::Get, |(sort, _)| *sort);
        let read = |spans, revision, serializable| Request::Read { spans, revision, serializable };
        match sort {
            Sort::Put => Request::Write { guards: Vec::new(), changes: self.puts(1) },
            Sort::Delete => {
                let key = self.key();
                Request::Write { guards: Vec::new(), changes: vec![Change::Delete { key }] }
            }
            Sort::Swap => {
                let changes = self.puts(1);
                let guards = vec![self.guard(changes[0].key().to_owned())];
                Request::Write { guards, changes }
            }
            Sort::Transaction => {
                let count = self.dice.random_range(2..=4);
                let mut changes = self.puts(count);
                if self.dice.random_bool(0.3) {
                    changes[0] = Change::Delete { key: changes[0].key().to_owned() };
                }
                let guarded = if self.dice.random_bool(0.3) { vec![changes[1].key().to_owned()] } else { Vec::new() };
                let guards = guarded.into_iter().map(|key| self.guard(key)).collect();
                Request::Write { guards, changes }
            }
            Sort::Get => read(vec![Span::One(self.key())], None, false),
            Sort::Range => read(vec![all_keys()], None, false),
            Sort::ReadTransaction => {
                let keys = self.keys(3);
                read(keys.into_iter().map(Span::One).collect(), None, false)
            }
            Sort::Serializable => {
                let span = if self.dice.random_bool(0.5) { Span::One(self.key()) } else { all_keys() };
                read(vec![span], None, true)
            }
            Sort::Past => {
                let back = self.dice.random_range(0..100);
                let past = (self.revision - back).max(1);
                read(vec![all_keys()], Some(past), self.dice.random_bool(0.3))
            }
        }
    }

    /// Takes in what an answer tells.
    pub fn learn(&mut self, request: &Request, answer: &Answer) {
        self.revision = self.revision.max(answer.revision);
        match (request, &answer.reply) {
            (Request::Read { spans, revision: None, .. }, Reply::Read(found)) => {
                for (span, records) in spans.iter().zip(found) {
                    if let Span::One(key) = span {
                        self.known.insert(key.clone(), None);
                    }
                    self.known.extend(records.iter().map(|record| (record.key.clone(), Some(record.clone()))));
                }
            }
            (Request::Write { .. }, Reply::Guarded(found)) => self.known.extend(found.iter().cloned()),
            _ => {}
        }
    }

    fn key(&mut self) -> String {
        format!("k/{:02}", self.dice.random_range(0..KEYS))
    }

    /// Different ones.
    fn keys(&mut self, count: usize) -> Vec<String> {
        let places = rand::seq::index::sample(&mut self.dice, KEYS, count);
        places.into_iter().map(|place| format!("k/{place:02}")).collect()
    }

    /// Puts of values that nobody has used, to different keys.
    fn puts(&mut self, count: usize) -> Vec<Change> {
        let keys = self.keys(count);
        let put = |key| {
            self.written += 1;
            Change::Put { key, value: format!("{}-{}", self.client, self.written) }
        };
        keys.into_iter().map(put).collect()
    }

    fn guard(&mut self, key: String) -> Guard {
        let seen = self.known.get(&key).cloned().flatten();
        Guard { key, seen }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_seed_tells_all_and_values_are_never_used_twice() {
        let requests = |seed| {
            let mut generator = Generator::new(3, StdRng::seed_from_u64(seed));
            (0..2_000).map(|_| generator.request()).collect::<Vec<_>>()
        };
        assert_eq!(requests(1), requests(1));
        assert_ne!(requests(1), requests(2));
        let mut values = HashSet::new();
        for request in requests(1) {
            let Request::Write { changes, .. } = request else { continue };
            let keys: HashSet<&str> = changes.iter().map(Change::key).collect();
            assert_eq!(keys.len(), changes.len(), "a key is in one change at most");
            for change in &changes {
                if let Change::Put { value, .. } = change {
                    assert!(values.insert(value.clone()), "{value} is used twice");
                }
            }
        }
    }

    #[test]
    fn a_reader_writes_nothing() {
        let mut reader = Generator::reader(3, StdRng::seed_from_u64(1));
        assert!(
            (0..1_000).all(|_| matches!(reader.request(), Request::Read { revision: None, serializable: false, .. }))
        );
    }
}
