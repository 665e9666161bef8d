//! Reading ranges of keys, at the newest revision or at any that is not compacted.

use std::cmp::Ordering;

use bytes::Bytes;
use keelson_wire::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelson_wire::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use keelson_wire::mvccpb::KeyValue;

use super::index::{Keys, Seen};
use super::{State, Values};
use crate::disk;
use crate::refusal::Refusal;

/// Answers up to about this size are made without a thought to memory; a watch is cut into answers of it.
pub const MAX_RESPONSE_HINT: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// The keys that a request speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRange {
    One(Bytes),
    /// From the first on, before the second.
    Span(Bytes, Bytes),
    From(Bytes),
}

impl KeyRange {
    /// As etcd reads the pair: no end is the one key, an end of one zero byte is no end at all.
    pub fn new(key: Bytes, range_end: Bytes) -> Self {
        match range_end.as_ref() {
            [] => Self::One(key),
            [0] => Self::From(key),
            _ => Self::Span(key, range_end),
        }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Span(start, end) => key >= start.as_ref() && key < end.as_ref(),
            Self::From(start) => key >= start.as_ref(),
        }
    }

    /// The keys of the index that lie in the range.
    pub fn keys(&self, state: &State) -> Keys {
        match self {
            Self::One(key) => Keys::One(state.keys.get(key)),
            Self::Span(start, end) => state.keys.span(start.clone(), Some(end.clone())),
            Self::From(start) => state.keys.span(start.clone(), None),
        }
    }
}

/// Answers a range request from a picture. `values` may know more than the picture's database: the writer's does.
pub fn range(state: &State, values: &impl Values, request: &RangeRequest) -> Result<RangeResponse, Error> {
    let now = state.revision;
    // The newest, within a transaction also what it has changed itself.
    let at = if request.revision <= 0 { values.horizon() } else { request.revision };
    if request.revision > now {
        return Err(Refusal::FutureRevision.into());
    }
    if at < state.compacted {
        return Err(Refusal::Compacted.into());
    }
    let header = ResponseHeader { revision: now, ..Default::default() };
    let keys = KeyRange::new(request.key.clone(), request.range_end.clone()).keys(state);
    let alive = keys.iter().filter_map(|indexed| indexed.at(at).map(|seen| (indexed, seen)));
    if request.count_only {
        let count = alive.count() as i64;
        if state.keys.is_trimmed_beyond(at) {
            return Err(overtaken(state, at));
        }
        return Ok(RangeResponse { header: Some(header), count, ..Default::default() });
    }

    let plan = Plan::of(request);
    let mut count = 0;
    let mut kvs = Vec::new();
    for (indexed, seen) in alive {
        count += 1;
        // One more than the limit shows that there is more.
        if plan.stops_early && request.limit > 0 && kvs.len() as i64 > request.limit {
            continue;
        }
        let kv = match seen.described(indexed.key()) {
            Some(kv) if !plan.needs_values || !plan.admits(&kv) => kv,
            _ => match values.value(seen.revision)? {
                Some(kv) => kv,
                None => return Err(overtaken(state, at)),
            },
        };
        if plan.admits(&kv) {
            kvs.push(kv);
        }
    }
    if state.keys.is_trimmed_beyond(at) {
        return Err(overtaken(state, at));
    }
    if let Some(compare) = plan.compare {
        kvs.sort_by(|one, other| {
            let order = compare(one, other);
            if plan.descending { order.reverse() } else { order }
        });
    }
    let more = request.limit > 0 && kvs.len() as i64 > request.limit;
    if more {
        kvs.truncate(request.limit as usize);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    Ok(RangeResponse { header: Some(header), kvs, more, count })
}

/// What the picture had is gone: it was compacted after the picture was taken. Whoever wanted the newest asks the next
/// picture.
fn overtaken(state: &State, at: i64) -> Error {
    tracing::debug!(at, revision = state.revision, "a read was overtaken by a compaction");
    Refusal::Compacted.into()
}

impl Seen {
    /// All but the value, where the index alone knows it.
    pub fn described(&self, key: &Bytes) -> Option<KeyValue> {
        self.newest.map(|newest| KeyValue {
            key: key.clone(),
            create_revision: newest.create,
            mod_revision: newest.revision.main,
            version: newest.version,
            value: Bytes::new(),
            lease: newest.lease,
        })
    }
}

type Compare = fn(&KeyValue, &KeyValue) -> Ordering;

/// What a request asks for beyond its keys.
struct Plan<'a> {
    request: &'a RangeRequest,
    compare: Option<Compare>,
    descending: bool,
    needs_values: bool,
    /// The limit ends the reading: without an order and filters. As in etcd, a target without an order then sorts only
    /// what was read.
    stops_early: bool,
}

impl<'a> Plan<'a> {
    fn of(request: &'a RangeRequest) -> Self {
        let target = request.sort_target();
        let descending = request.sort_order() == SortOrder::Descend;
        // A target without an order means ascending; keys are ascending anyway.
        let compare: Option<Compare> = match target {
            SortTarget::Key if descending => Some(|one, other| one.key.cmp(&other.key)),
            SortTarget::Key => None,
            SortTarget::Version => Some(|one, other| one.version.cmp(&other.version)),
            SortTarget::Create => Some(|one, other| one.create_revision.cmp(&other.create_revision)),
            SortTarget::Mod => Some(|one, other| one.mod_revision.cmp(&other.mod_revision)),
            SortTarget::Value => Some(|one, other| one.value.cmp(&other.value)),
        };
        let filters = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        Self {
            compare,
            descending,
            needs_values: !request.keys_only || target == SortTarget::Value,
            stops_early: request.sort_order() == SortOrder::None && filters == [0; 4],
            request,
        }
    }

    fn admits(&self, kv: &KeyValue) -> bool {
        let request = self.request;
        let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
        within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
    }
}
