//! A bounded map that forgets what was not used lately: two generations, of which the older is dropped whole.

use std::collections::HashMap;
use std::hash::Hash;

pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V: Default> Generations<K, V> {
    /// Holds at most `capacity` entries, and all of the last half of that many that were used.
    pub(super) fn new(capacity: usize) -> Generations<K, V> {
        Generations { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    /// The entry, made if there is none.
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        if !self.young.contains_key(&key) && self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        let carried = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| carried.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut map: Generations<u32, u32> = Generations::new(8);
        for number in 0..100 {
            *map.entry(number) = number;
            *map.entry(1000) += 1;
        }
        assert_eq!(*map.entry(1000), 100);
        assert_eq!(*map.entry(0), 0);
        assert!(map.young.len() + map.old.len() <= 8);
    }
}
