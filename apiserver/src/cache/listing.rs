//! Lists: which snapshot answers, which entries are in the page, and what the page says about itself.

use std::sync::Arc;

use bytes::Bytes;
use keelson_objects::status::StatusError;
use keelson_wire::etcdserverpb::RangeRequest;

use super::{Cache, Entry, Selection, Snapshot, decode::decode, entry::Slot, token, token::Token};
use crate::{
    pipeline::Options,
    registry::Kind,
    storage::{Error, Store},
};

const PAGE: i64 = 1000;

/// A page of a list. The entries are shared with the cache.
pub struct Listing {
    pub kind: Arc<Kind>,
    pub entries: Vec<Arc<Entry>>,
    pub revision: i64,
    /// Empty: this is the last page.
    pub continue_token: String,
    pub remaining: Option<usize>,
}

impl Listing {
    /// Everything up to the first item, and everything after the last, of the list in JSON.
    pub fn envelope(&self) -> (String, &'static str) {
        let mut head = format!(
            r#"{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{}""#,
            self.kind.list_kind,
            self.kind.api_version(),
            self.revision
        );
        if !self.continue_token.is_empty() {
            head.push_str(&format!(r#","continue":"{}""#, self.continue_token));
        }
        if let Some(remaining) = self.remaining.filter(|remaining| *remaining > 0) {
            head.push_str(&format!(r#","remainingItemCount":{remaining}"#));
        }
        head.push_str(r#"},"items":["#);
        (head, "]}\n")
    }

    /// An item of the list in JSON, behind the brace that opens it: the list tells what it is of.
    pub fn item<'a>(&self, entry: &'a Entry) -> &'a [u8] {
        &entry.json()[self.kind.opening.len()..]
    }
}

/// What resourceVersion and resourceVersionMatch ask for.
enum State {
    Consistent,
    Any,
    NotOlderThan(i64),
    Exact(i64),
}

impl Cache {
    pub async fn list(
        &self,
        store: &Store,
        kind: &Arc<Kind>,
        selection: &Selection,
        options: &Options,
    ) -> Result<Listing, StatusError> {
        let token = match options.continue_token.as_str() {
            "" => None,
            text => Some(Token::decode(text)?),
        };
        let state = state(options, token.as_ref())?;
        let (snapshot, revision) = match state {
            State::Consistent => {
                self.caught_up(store).await?;
                self.newest(kind)
            }
            State::Any => self.newest(kind),
            State::NotOlderThan(revision) => {
                self.reached(revision).await?;
                self.newest(kind)
            }
            State::Exact(revision) => {
                self.reached(revision).await?;
                let snapshot = self.exact(store, kind, revision).await.map_err(|error| match (&error, &token) {
                    (Error::Refused { .. }, Some(token)) if error.is_compacted() => token::expired(&token.start),
                    (Error::Refused { .. }, None) if error.is_compacted() => StatusError::expired(format!(
                        "The resourceVersion for the provided list is too old: {revision}"
                    )),
                    _ => error.into(),
                })?;
                (snapshot, revision)
            }
        };
        let start = token.as_ref().map(|token| token.start.as_str());
        Ok(self.page(kind, selection, options.limit, start, &snapshot, revision))
    }

    /// The present snapshot and the revision that a list of it carries.
    fn newest(&self, kind: &Kind) -> (Arc<Snapshot>, i64) {
        // The revision first: the snapshot then holds all of its kind up to it, or is newer itself.
        let revision = self.revision();
        let snapshot = self.snapshot(kind);
        let revision = revision.max(snapshot.revision);
        (snapshot, revision)
    }

    fn page(
        &self,
        kind: &Arc<Kind>,
        selection: &Selection,
        limit: i64,
        start: Option<&str>,
        snapshot: &Arc<Snapshot>,
        revision: i64,
    ) -> Listing {
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        let mut more = false;
        let mut remaining = None;
        if let Some(key) = selection.single_key(kind) {
            entries.extend(snapshot.get(&key).filter(|entry| selection.matches(entry)));
        } else {
            let mut range = snapshot.range(&selection.namespace, start);
            for entry in &mut range {
                if !selection.matches(entry) {
                    continue;
                }
                if entries.len() == limit {
                    more = true;
                    break;
                }
                entries.push(entry.clone());
            }
            if more && selection.is_everything() {
                remaining = Some(range.count() + 1);
            }
        }
        let mut continue_token = String::new();
        if more && let Some(last) = entries.last() {
            continue_token = Token::after(revision, last.key()).encode();
            self.of(kind).keep(snapshot, revision);
        }
        Listing { kind: kind.clone(), entries, revision, continue_token, remaining }
    }

    /// The state at an exact revision: the present one, a kept one, or the store's history.
    async fn exact(&self, store: &Store, kind: &Arc<Kind>, revision: i64) -> Result<Arc<Snapshot>, Error> {
        let (present, present_revision) = self.newest(kind);
        if present_revision == revision || present.revision <= revision && revision <= present_revision {
            return Ok(present);
        }
        if let Some(kept) = self.of(kind).kept(revision) {
            return Ok(kept);
        }
        let snapshot = Arc::new(historic(store, kind, revision).await?);
        self.of(kind).keep(&snapshot, revision);
        Ok(snapshot)
    }
}

fn state(options: &Options, token: Option<&Token>) -> Result<State, StatusError> {
    let given = &options.resource_version;
    let parse = |text: &str| {
        text.parse::<i64>()
            .ok()
            .filter(|revision| *revision >= 0)
            .ok_or_else(|| StatusError::bad_request(format!("invalid resource version: {text:?}")))
    };
    if let Some(token) = token {
        if !given.is_empty() && given != "0" {
            return Err(StatusError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Ok(if token.revision == -1 { State::Consistent } else { State::Exact(token.revision) });
    }
    match (given.as_str(), options.resource_version_match.as_str()) {
        ("", _) => Ok(State::Consistent),
        (text, "Exact") => Ok(State::Exact(parse(text)?)),
        ("0", _) => Ok(State::Any),
        (text, "NotOlderThan") => Ok(State::NotOlderThan(parse(text)?)),
        (text, _) if options.limit > 0 => Ok(State::Exact(parse(text)?)),
        (text, _) => Ok(State::NotOlderThan(parse(text)?)),
    }
}

async fn historic(store: &Store, kind: &Kind, revision: i64) -> Result<Snapshot, Error> {
    let prefix = kind.storage_prefix.as_bytes();
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let mut snapshot = Snapshot { revision, ..Snapshot::default() };
    let mut start = Bytes::copy_from_slice(prefix);
    loop {
        let range_end = Bytes::copy_from_slice(&end);
        let request = RangeRequest { key: start, range_end, limit: PAGE, revision, ..Default::default() };
        let page = store.range(request).await?;
        for pair in &page.kvs {
            let Some(relative) =
                std::str::from_utf8(&pair.key).ok().and_then(|key| key.strip_prefix(&*kind.storage_prefix))
            else {
                continue;
            };
            if let Ok(entry) = decode(kind, relative, &pair.value, pair.mod_revision) {
                snapshot.slots.insert(Slot(Arc::new(entry)));
            }
        }
        let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(snapshot) };
        let mut next = last.key.to_vec();
        next.push(0);
        start = next.into();
    }
}
