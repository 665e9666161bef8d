//! Which port on every node a service gets.

use rand::Rng;

/// Upstream's range, `--service-node-port-range`'s default.
pub const FIRST: i64 = 30_000;
pub const LAST: i64 = 32_767;
/// The lower part is for choosing by hand, as with addresses (KEP-3668).
const STATIC: i64 = 86;

pub fn draw(random: &mut impl Rng, is_taken: impl Fn(i64) -> bool) -> Option<i64> {
    let dynamic = FIRST + STATIC;
    for (from, to) in [(dynamic, LAST + 1), (FIRST, dynamic)] {
        let start = random.random_range(from..to);
        let found = (start..to).chain(from..start).find(|port| !is_taken(*port));
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_drawn_from_the_upper_part_first() {
        let port = draw(&mut rand::rng(), |_| false).unwrap();
        assert!((FIRST + STATIC..=LAST).contains(&port));
        let port = draw(&mut rand::rng(), |port| port >= FIRST + STATIC).unwrap();
        assert!((FIRST..FIRST + STATIC).contains(&port));
        assert_eq!(draw(&mut rand::rng(), |_| true), None);
    }
}
