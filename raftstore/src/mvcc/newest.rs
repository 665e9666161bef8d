//! A key's newest revision, which its readers look at without a lock.
//!
//! A range reads thousands of them, from as many places in memory. A lock is a barrier behind which the processor does not
//! look ahead: with one for each key, each key's memory is waited for alone.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering, fence};

use super::{Newest, Revision};

/// Written by one at a time, who counts its writes: the count is odd meanwhile. A reader that finds another count behind
/// its reading than before reads again.
pub struct SharedNewest {
    main: AtomicI64,
    sub: AtomicU32,
    writes: AtomicU32,
    create: AtomicI64,
    version: AtomicI64,
    lease: AtomicI64,
}

impl SharedNewest {
    pub fn new(newest: Newest) -> Self {
        Self {
            main: newest.revision.main.into(),
            sub: newest.revision.sub.into(),
            writes: 0.into(),
            create: newest.create.into(),
            version: newest.version.into(),
            lease: newest.lease.into(),
        }
    }

    pub fn get(&self) -> Newest {
        loop {
            let before = self.writes.load(Ordering::Acquire);
            let newest = Newest {
                revision: Revision { main: self.main.load(Ordering::Relaxed), sub: self.sub.load(Ordering::Relaxed) },
                create: self.create.load(Ordering::Relaxed),
                version: self.version.load(Ordering::Relaxed),
                lease: self.lease.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.writes.load(Ordering::Relaxed) == before {
                return newest;
            }
            spin_loop();
        }
    }

    /// By the one who writes.
    pub fn set(&self, newest: Newest) {
        let writes = self.writes.load(Ordering::Relaxed);
        self.writes.store(writes.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.main.store(newest.revision.main, Ordering::Relaxed);
        self.sub.store(newest.revision.sub, Ordering::Relaxed);
        self.create.store(newest.create, Ordering::Relaxed);
        self.version.store(newest.version, Ordering::Relaxed);
        self.lease.store(newest.lease, Ordering::Relaxed);
        self.writes.store(writes.wrapping_add(2), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn newest(number: i64) -> Newest {
        let revision = Revision { main: number, sub: number as u32 };
        Newest { revision, create: number, version: number, lease: number }
    }

    #[test]
    fn no_reader_sees_a_half_of_one_and_a_half_of_another() {
        let shared = SharedNewest::new(newest(0));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut last = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let seen = shared.get();
                    assert_eq!(seen, newest(seen.version));
                    assert!(seen.version >= last);
                    last = seen.version;
                }
            });
            (1..500_000).for_each(|number| shared.set(newest(number)));
            is_over.store(true, Ordering::Relaxed);
            reader.join().expect("what it saw was whole");
        });
        assert_eq!(shared.get(), newest(499_999));
    }
}
