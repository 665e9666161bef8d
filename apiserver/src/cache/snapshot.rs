//! All objects of a kind as of one revision.

use std::{ops::Bound, sync::Arc};

use imbl::OrdSet;

use super::{Entry, entry::Slot};

/// Immutable, and cheap to keep: snapshots share what did not change between them.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(super) slots: OrdSet<Slot>,
    /// The revision of the last change in it. It holds all changes of its kind up to here and none after.
    pub(super) revision: i64,
}

impl Snapshot {
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.slots.get(key).map(|slot| slot.0.clone())
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots.iter().map(|slot| &slot.0)
    }

    pub fn in_namespace<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        self.range(namespace, None)
    }

    /// The entries of a namespace (all for the empty one) from the key `start` on.
    pub fn range<'a>(&'a self, namespace: &str, start: Option<&str>) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let from = match start {
            Some(start) if start > prefix.as_str() => start.to_owned(),
            _ => prefix.clone(),
        };
        // '0' is the character after '/'.
        let to = if namespace.is_empty() { Bound::Unbounded } else { Bound::Excluded(format!("{namespace}0")) };
        let bounds: (Bound<&str>, Bound<&str>) = (Bound::Included(&from), to.as_ref().map(String::as_str));
        let empty = matches!(bounds, (Bound::Included(from), Bound::Excluded(to)) if from >= to);
        let range = (!empty).then(|| self.slots.range::<_, str>(bounds));
        range.into_iter().flatten().map(|slot| &slot.0)
    }
}
