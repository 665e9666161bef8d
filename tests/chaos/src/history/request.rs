//! What a client asks: reads of spans, and changes under guards.

use std::fmt;

use super::{Record, Revision};

/// Keys that a read or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    One(String),
    /// From the first up to, not including, the second.
    Range(String, String),
}

impl Span {
    /// All keys that begin with this.
    pub fn prefix(prefix: &str) -> Self {
        let mut end = prefix.to_owned();
        // The prefixes here are ASCII letters and slashes: the next one is a letter, too.
        let last = end.pop().map_or('\u{1}', |last| char::from_u32(last as u32 + 1).unwrap_or('~'));
        end.push(last);
        Self::Range(prefix.to_owned(), end)
    }

    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::One(own) => own == key,
            Self::Range(start, end) => start.as_str() <= key && key < end.as_str(),
        }
    }
}

/// A condition of a write: the key must stand as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub key: String,
    /// `None`: the key must not exist.
    pub seen: Option<Record>,
}

impl Guard {
    /// What the store is told to compare with; 0 is a key that is not there.
    pub fn mod_revision(&self) -> Revision {
        self.seen.as_ref().map_or(0, |record| record.mod_revision)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Values are never used twice in a run: a value tells who wrote it.
    Put {
        key: String,
        value: String,
    },
    Delete {
        key: String,
    },
}

impl Change {
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Read {
        spans: Vec<Span>,
        /// An exact revision of the past.
        revision: Option<Revision>,
        serializable: bool,
    },
    /// All changes at one revision if all guards hold, else none. A key is in one change at most.
    Write { guards: Vec<Guard>, changes: Vec<Change> },
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { spans, revision, serializable } => {
                write!(formatter, "{}read", if *serializable { "serializable " } else { "" })?;
                for span in spans {
                    match span {
                        Span::One(key) => write!(formatter, " {key}")?,
                        Span::Range(start, end) => write!(formatter, " {start}..{end}")?,
                    }
                }
                revision.map_or(Ok(()), |revision| write!(formatter, " at {revision}"))
            }
            Self::Write { guards, changes } => {
                write!(formatter, "write")?;
                for change in changes {
                    match change {
                        Change::Put { key, value } => write!(formatter, " {key}={value}")?,
                        Change::Delete { key } => write!(formatter, " -{key}")?,
                    }
                }
                for guard in guards {
                    write!(formatter, " if {} is at {}", guard.key, guard.mod_revision())?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_hold_what_they_say() {
        let keys = Span::prefix("k/");
        assert!(keys.contains("k/0") && keys.contains("k/") && keys.contains("k/zz"));
        assert!(!keys.contains("k") && !keys.contains("k0") && !keys.contains("l/"));
        assert!(Span::One("a".into()).contains("a") && !Span::One("a".into()).contains("ab"));
    }
}
