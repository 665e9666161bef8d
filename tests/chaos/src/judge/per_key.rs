//! The history of each key by itself, for [`super::search`]: no revision is believed here.
//!
//! If a history of several keys is linearizable, so is what it shows of each key. A write that nobody was told of and
//! whose value nobody saw is left out: whatever comes after it does not look at what it left. One whose value was seen
//! must have been done before that was told. Only deletes stay open.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::search::{Found, Step, Value, search};
use super::{Evidence, Kind, Violation};
use crate::history::{Change, Moment, Operation, Record, Reply, Request, Span};

/// Places that the search may look at for one key: some hundred times what a right history of a round takes.
const BUDGET: usize = 5_000_000;
/// The value of a key that is not there.
const ABSENT: Value = 0;

#[derive(Debug, Default)]
pub struct Searched {
    pub violations: Vec<Violation>,
    pub undecided: usize,
}

/// The operations on one key.
struct KeyHistory<'a> {
    steps: Vec<Step>,
    authors: Vec<&'a Operation>,
    values: HashMap<&'a str, Value>,
    /// When each value was first told to somebody.
    told: HashMap<Value, Moment>,
    open: Vec<OpenWrite<'a>>,
}

struct OpenWrite<'a> {
    operation: &'a Operation,
    sees: Option<Value>,
    /// `None` is a delete.
    puts: Option<Value>,
}

pub fn check(evidence: &Evidence) -> Searched {
    let mut searched = Searched::default();
    for key in keys(evidence) {
        let mut history = KeyHistory {
            steps: Vec::new(),
            authors: Vec::new(),
            values: HashMap::new(),
            told: HashMap::new(),
            open: Vec::new(),
        };
        let initial = history.value(evidence.beginning.state.get(key));
        for operation in evidence.beginning.open.iter().chain(&evidence.operations) {
            history.add(key, operation);
        }
        history.close();
        match search(initial, &history.steps, BUDGET) {
            Found::Order => {}
            Found::GaveUp => searched.undecided += 1,
            Found::Nothing { stuck } => {
                let text = format!("no order explains {key}; the search ended at {}", history.authors[stuck]);
                searched.violations.push(Violation::new(Kind::NotLinearizable, text));
            }
        }
    }
    searched
}

/// Every key that anybody wrote or that was there.
fn keys(evidence: &Evidence) -> BTreeSet<&str> {
    let mut keys: BTreeSet<&str> = evidence.beginning.state.records.keys().map(String::as_str).collect();
    for operation in &evidence.operations {
        if let Request::Write { changes, .. } = &operation.request {
            keys.extend(changes.iter().map(Change::key));
        }
    }
    keys
}

/// What a read of these spans shows of a key; `None` if the key is in none of them.
fn shown<'a>(key: &str, spans: &[Span], found: &'a [Vec<Record>]) -> Option<Option<&'a Record>> {
    let place = spans.iter().position(|span| span.contains(key))?;
    Some(found.get(place).and_then(|records| records.iter().find(|record| record.key == key)))
}

impl<'a> KeyHistory<'a> {
    fn value(&mut self, record: Option<&'a Record>) -> Value {
        record.map_or(ABSENT, |record| self.number(&record.value))
    }

    fn number(&mut self, value: &'a str) -> Value {
        let next = self.values.len() as Value + 1;
        *self.values.entry(value).or_insert(next)
    }

    fn add(&mut self, key: &str, operation: &'a Operation) {
        match &operation.request {
            Request::Read { serializable: true, .. } | Request::Read { revision: Some(_), .. } => {}
            Request::Read { spans, .. } => {
                if let Some(Reply::Read(found)) = operation.answer().map(|answer| &answer.reply)
                    && let Some(record) = shown(key, spans, found)
                {
                    let sees = self.value(record);
                    self.push(operation, Some(sees), None);
                }
            }
            Request::Write { guards, changes } => {
                let guard = guards.iter().find(|guard| guard.key == key);
                let guarded = guard.map(|guard| self.value(guard.seen.as_ref()));
                let change = changes.iter().find(|change| change.key() == key);
                let puts = match change {
                    Some(Change::Put { value, .. }) => Some(self.number(value)),
                    Some(Change::Delete { .. }) => None,
                    None if guard.is_none() => return,
                    None => None,
                };
                let leaves = change.map(|_| puts.unwrap_or(ABSENT));
                let Some(answer) = operation.answer() else {
                    if operation.is_open() && change.is_some() {
                        self.open.push(OpenWrite { operation, sees: guarded, puts });
                    }
                    return;
                };
                match &answer.reply {
                    Reply::Written(taken) => {
                        let took = taken.iter().find(|(other, _)| other == key);
                        let took = took.map(|(_, record)| self.value(record.as_ref()));
                        if took.is_some() && guarded.is_some() && took != guarded {
                            // Contradicts itself: no register holds both.
                            self.push(operation, guarded, None);
                        }
                        self.push(operation, took.or(guarded), leaves);
                    }
                    Reply::Guarded(found) => {
                        if let Some((_, record)) = found.iter().find(|(other, _)| other == key) {
                            let sees = self.value(record.as_ref());
                            self.push(operation, Some(sees), None);
                        }
                    }
                    Reply::Read(_) => {}
                }
            }
        }
    }

    fn push(&mut self, operation: &'a Operation, sees: Option<Value>, leaves: Option<Value>) {
        let ends = operation.answered_at();
        if let (Some(sees), Some(ends)) = (sees, ends) {
            let told = self.told.entry(sees).or_insert(ends);
            *told = ends.min(*told);
        }
        self.steps.push(Step { begins: operation.invoked, ends, sees, leaves });
        self.authors.push(operation);
    }

    /// Adds the open writes that matter.
    fn close(&mut self) {
        let told: BTreeMap<Value, Moment> = self.told.iter().map(|(value, moment)| (*value, *moment)).collect();
        for open in std::mem::take(&mut self.open) {
            let begins = open.operation.invoked;
            let (ends, leaves) = match open.puts {
                None => (None, ABSENT),
                Some(value) => match told.get(&value) {
                    // Told before it was asked for: whoever saw it is not explained, and the search will say so.
                    Some(moment) if *moment < begins => continue,
                    Some(moment) => (Some(*moment), value),
                    None => continue,
                },
            };
            self.steps.push(Step { begins, ends, sees: open.sees, leaves: Some(leaves) });
            self.authors.push(open.operation);
        }
    }
}
