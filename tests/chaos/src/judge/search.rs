//! Wing & Gong's search for an order of concurrent operations on one register, with Lowe's memory of what was tried.
//!
//! An operation may see what the register holds, may leave something in it, or both. Those that must be in the order
//! have an end; those without may be left out.

use std::collections::HashSet;

use crate::history::Moment;

/// What the register holds: values are numbered by the caller.
pub type Value = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub begins: Moment,
    /// `None`: it may take effect at any time after its beginning, or never.
    pub ends: Option<Moment>,
    /// The register must hold this.
    pub sees: Option<Value>,
    pub leaves: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is an order that explains all.
    Order,
    /// There is none; the search never got past this step.
    Nothing { stuck: usize },
    /// The search was not done within its budget.
    GaveUp,
}

/// No place in the list.
const NONE: usize = usize::MAX;

/// The beginnings and ends of steps by time, as a doubly linked list: place 0 is its head.
struct Timeline {
    next: Vec<usize>,
    before: Vec<usize>,
    /// For each place the step, and whether the place is its beginning.
    what: Vec<(usize, bool)>,
    /// For each step its beginning's and its end's place.
    places: Vec<(usize, Option<usize>)>,
}

impl Timeline {
    fn new(steps: &[Step]) -> Self {
        let mut moments: Vec<(Moment, usize, bool)> = Vec::with_capacity(2 * steps.len());
        for (number, step) in steps.iter().enumerate() {
            moments.push((step.begins, number, true));
            moments.extend(step.ends.map(|ends| (ends, number, false)));
        }
        // At one moment beginnings come first: the two are concurrent then.
        moments.sort_by_key(|(moment, number, begins)| (*moment, !begins, *number));
        let count = moments.len() + 1;
        let mut places = vec![(NONE, None); steps.len()];
        let mut what = vec![(NONE, false)];
        for (place, (_, number, begins)) in moments.into_iter().enumerate() {
            if begins {
                places[number].0 = place + 1;
            } else {
                places[number].1 = Some(place + 1);
            }
            what.push((number, begins));
        }
        let next = (1..=count).map(|place| if place == count { NONE } else { place }).collect();
        let before = (0..count).map(|place| place.wrapping_sub(1)).collect();
        Self { next, before, what, places }
    }

    fn unlink(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = next;
        if next != NONE {
            self.before[next] = before;
        }
    }

    fn relink(&mut self, place: usize) {
        let (before, next) = (self.before[place], self.next[place]);
        self.next[before] = place;
        if next != NONE {
            self.before[next] = place;
        }
    }

    fn lift(&mut self, step: usize) {
        let (begins, ends) = self.places[step];
        self.unlink(begins);
        if let Some(ends) = ends {
            self.unlink(ends);
        }
    }

    /// Undoes the newest lift.
    fn lower(&mut self, step: usize) {
        let (begins, ends) = self.places[step];
        if let Some(ends) = ends {
            self.relink(ends);
        }
        self.relink(begins);
    }
}

/// A number for each step; a set of steps is known by the sum of its numbers without carries. With 128 bits, two sets
/// that are mistaken for each other are not to be expected in the life of a machine.
fn mark(step: usize) -> u128 {
    let mix = |mut word: u64| {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let seed = (step as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(mix(seed)) << 64) | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d))
}

/// Looks for an order that begins with `initial`, looking at no more than `budget` places, however often the same.
pub fn search(initial: Value, steps: &[Step], budget: usize) -> Found {
    let mut timeline = Timeline::new(steps);
    let mut missing = steps.iter().filter(|step| step.ends.is_some()).count();
    let mut tried: HashSet<(u128, Value)> = HashSet::new();
    let mut path: Vec<(usize, Value)> = Vec::new();
    let (mut value, mut taken) = (initial, 0_u128);
    let mut place = timeline.next[0];
    let (mut fewest, mut stuck) = (usize::MAX, 0);
    let mut left = budget;
    while missing > 0 {
        left = match left.checked_sub(1) {
            Some(left) => left,
            None => return Found::GaveUp,
        };
        let (step, begins) = timeline.what[place];
        if begins {
            let candidate = steps[step];
            let fits = candidate.sees.is_none_or(|sees| sees == value);
            let leaves = candidate.leaves.unwrap_or(value);
            if fits && tried.insert((taken ^ mark(step), leaves)) {
                path.push((step, value));
                (value, taken) = (leaves, taken ^ mark(step));
                timeline.lift(step);
                missing -= usize::from(candidate.ends.is_some());
                place = timeline.next[0];
            } else {
                // While steps are missing, an end lies ahead.
                place = timeline.next[place];
            }
            continue;
        }
        // The step that ends here had to come before: what was taken last was wrong.
        if missing < fewest {
            (fewest, stuck) = (missing, step);
        }
        let Some((last, before)) = path.pop() else { return Found::Nothing { stuck } };
        (value, taken) = (before, taken ^ mark(last));
        timeline.lower(last);
        missing += usize::from(steps[last].ends.is_some());
        place = timeline.next[timeline.places[last].0];
    }
    Found::Order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(begins: Moment, ends: Moment, sees: Value) -> Step {
        Step { begins, ends: Some(ends), sees: Some(sees), leaves: None }
    }

    fn write(begins: Moment, ends: Moment, leaves: Value) -> Step {
        Step { begins, ends: Some(ends), sees: None, leaves: Some(leaves) }
    }

    fn swap(begins: Moment, ends: Moment, sees: Value, leaves: Value) -> Step {
        Step { begins, ends: Some(ends), sees: Some(sees), leaves: Some(leaves) }
    }

    fn open(begins: Moment, leaves: Value) -> Step {
        Step { begins, ends: None, sees: None, leaves: Some(leaves) }
    }

    #[test]
    fn registers_are_judged() {
        let table: [(&str, Vec<Step>, bool); 12] = [
            ("nothing", vec![], true),
            ("a read of the beginning", vec![read(1, 2, 0)], true),
            ("a write and its read", vec![write(1, 2, 5), read(3, 4, 5)], true),
            ("a stale read", vec![write(1, 2, 5), read(3, 4, 0)], false),
            ("a read beside the write sees either", vec![write(1, 4, 5), read(2, 3, 0), read(2, 3, 5)], true),
            ("and not first the new and then the old", vec![write(1, 6, 5), read(2, 3, 5), read(4, 5, 0)], false),
            ("a lost write", vec![write(1, 2, 5), write(3, 4, 6), read(5, 6, 5)], false),
            ("writes side by side in either order", vec![write(1, 4, 5), write(1, 4, 6), read(5, 6, 5)], true),
            ("an open write may never be", vec![open(1, 5), read(2, 3, 0), read(8, 9, 0)], true),
            ("an open write may come late", vec![open(1, 5), read(2, 3, 0), read(4, 5, 5)], true),
            ("but not before it was asked for", vec![read(1, 2, 5), open(3, 5)], false),
            ("only one of two swaps of the same", vec![swap(1, 4, 0, 5), swap(1, 4, 0, 6), read(5, 6, 5)], false),
        ];
        for (name, steps, expected) in table {
            let found = search(0, &steps, 10_000);
            assert_eq!(found == Found::Order, expected, "{name}: {found:?}");
        }
    }

    #[test]
    fn a_budget_is_kept() {
        let steps: Vec<Step> = (0..40).map(|value| write(1, 100, value + 1)).chain([read(101, 102, 99)]).collect();
        assert_eq!(search(0, &steps, 1_000), Found::GaveUp);
    }

    /// Tries every order.
    fn brute_force(value: Value, steps: &[Step], taken: u32) -> bool {
        let left = |number: usize| taken & (1 << number) == 0;
        if steps.iter().enumerate().all(|(number, step)| !left(number) || step.ends.is_none()) {
            return true;
        }
        steps.iter().enumerate().filter(|(number, _)| left(*number)).any(|(number, step)| {
            let overtakes = steps.iter().enumerate().any(|(other, earlier)| {
                other != number && left(other) && earlier.ends.is_some_and(|ends| ends < step.begins)
            });
            let fits = step.sees.is_none_or(|sees| sees == value);
            !overtakes && fits && brute_force(step.leaves.unwrap_or(value), steps, taken | 1 << number)
        })
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_trying_every_order(
            raw in prop::collection::vec((0_u64..12, 1_u64..8, any::<bool>(), prop::option::of(0_u32..3), prop::option::of(0_u32..3)), 0..7)
        ) {
            let steps: Vec<Step> = raw
                .into_iter()
                .map(|(begins, length, ends, sees, leaves)| Step { begins, ends: ends.then_some(begins + length), sees, leaves })
                .collect();
            let found = search(0, &steps, 1_000_000);
            prop_assert_eq!(found == Found::Order, brute_force(0, &steps, 0), "{:?}", found);
        }
    }
}
